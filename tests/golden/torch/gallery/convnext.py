"""ConvNeXt-Tiny (Liu et al. 2022): a convolutional network with all that transformers
taught.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Norm(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(in_channels, eps=1e-06)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    def __init__(self, in_channels: int, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.depthwise = nn.Conv2d(in_channels, in_channels, 7, padding=3, groups=in_channels)
        self.layer_norm = nn.LayerNorm(in_channels, eps=1e-06)
        self.up = nn.Linear(in_channels, 4 * in_channels)
        self.down = nn.Linear(4 * in_channels, in_channels)
        self.size = nn.Parameter(torch.empty(in_channels))
        nn.init.constant_(self.size, 1e-06)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        dtype = x.dtype
        y = self.layer_norm(self.depthwise(x).permute(0, 2, 3, 1))  # [N, H, W, C]
        y = self.down(F.gelu(self.up(y)))  # [N, H, W, C]
        z = F.dropout(torch.full((n, 1, 1, 1), 1.0, dtype=dtype), self.drop, self.training)
        return x + (y * self.size).permute(0, 3, 1, 2) * z


class Stage(nn.Module):
    def __init__(self, in_channels: int, depth: int, drop: float) -> None:
        super().__init__()
        self.block = nn.ModuleList(Block(in_channels, drop) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return x


class Shrink(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.norm = Norm(in_channels)
        self.conv = nn.Conv2d(in_channels, channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


class ConvNeXt(nn.Module):
    def __init__(
        self, depths: list[int], widths: list[int], drop: float = 0.1, classes: int = 1000
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 4, stride=4)
        self.norm = Norm(widths[0])
        self.stage = nn.ModuleList(
            [
                Stage(widths[0], depths[0], drop),
                Stage(widths[1], depths[1], drop),
                Stage(widths[2], depths[2], drop),
                Stage(widths[3], depths[3], drop),
            ]
        )
        self.shrink = nn.ModuleList(
            [
                Shrink(widths[0], widths[1]),
                Shrink(widths[1], widths[2]),
                Shrink(widths[2], widths[3]),
            ]
        )
        self.layer_norm = nn.LayerNorm(widths[3], eps=1e-06)
        self.head = nn.Linear(widths[3], classes)

    def forward(self, image: Tensor) -> Tensor:
        h, w = image.shape[2:]
        if h < 32:
            raise ValueError(f"ConvNeXt needs H >= 32; H is {h}")
        if w < 32:
            raise ValueError(f"ConvNeXt needs W >= 32; W is {w}")
        x = self.norm(self.stem(image))  # [N, widths[0], H // 4, W // 4]
        x = self.stage[0](x)  # [N, widths[0], H // 4, W // 4]
        x = self.shrink[0](x)  # [N, widths[1], H // 8, W // 8]
        x = self.stage[1](x)  # [N, widths[1], H // 8, W // 8]
        x = self.shrink[1](x)  # [N, widths[2], H // 16, W // 16]
        x = self.stage[2](x)  # [N, widths[2], H // 16, W // 16]
        x = self.shrink[2](x)  # [N, widths[3], H // 32, W // 32]
        x = self.stage[3](x)  # [N, widths[3], H // 32, W // 32]
        return self.head(self.layer_norm(x.mean((2, 3))))


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: ConvNeXt


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = ConvNeXt(depths=[3, 3, 9, 3], widths=[96, 192, 384, 768])
    net.to(dtype=getattr(torch, dtype), memory_format=torch.channels_last)
    return State(net)


@torch.inference_mode()
def predict(state: State, **inputs: np.ndarray) -> np.ndarray:
    net = state.net.eval()
    dtype = next(net.parameters()).dtype
    image = torch.as_tensor(inputs["image"], dtype=dtype).contiguous(
        memory_format=torch.channels_last
    )
    return net(image).cpu().numpy()


def export_weights(state: State) -> Arrays:
    return {name: w.cpu().numpy().copy() for name, w in state.net.state_dict().items()}


def import_weights(state: State, weights: Arrays) -> State:
    state.net.load_state_dict({name: torch.as_tensor(w) for name, w in weights.items()})
    return state


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    outputs = predict(init(), image=rng.standard_normal((8, 3, 32, 32)))
    print(outputs.shape)
