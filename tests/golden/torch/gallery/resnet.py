"""ResNet 18 to 152 (He et al. 2015): each block learns what to add to its input."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.batch_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.batch_norm(self.conv(x))


class Bottleneck(nn.Module):
    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.width = width
        self.stride = stride
        self.conv_norm = nn.ModuleList(
            [
                ConvNorm(in_channels, width, 1),
                ConvNorm(width, width, 3, stride=stride),
                ConvNorm(width, 4 * width, 1),
            ]
        )
        if stride != 1 or in_channels != 4 * width:
            self.project = ConvNorm(in_channels, 4 * width, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_norm[1](F.relu(self.conv_norm[0](x)))
        main = self.conv_norm[2](F.relu(y))
        skip = x if self.stride == 1 and self.in_channels == 4 * self.width else self.project(x)
        return F.relu(main + skip)


class Stage(nn.Module):
    def __init__(self, in_channels: int, width: int, depth: int, stride: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            [
                Bottleneck(in_channels, width, stride=stride),
                *(Bottleneck(4 * width, width) for _ in range(depth - 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return x


class ResNet50(nn.Module):
    def __init__(self, depths: list[int], width: int = 64, classes: int = 1000) -> None:
        super().__init__()
        self.stem = ConvNorm(3, width, 7, stride=2)
        self.stage = nn.ModuleList(
            [
                Stage(width, width, depths[0], 1),
                Stage(4 * width, 2 * width, depths[1], 2),
                Stage(8 * width, 4 * width, depths[2], 2),
                Stage(16 * width, 8 * width, depths[3], 2),
            ]
        )
        self.head = nn.Linear(32 * width, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(image)), 3, stride=2, padding=1)
        for stage in self.stage:
            x = stage(x)
        return self.head(x.mean((2, 3)))


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: ResNet50


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = ResNet50(depths=[3, 4, 6, 3])
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
    return {
        name: w.cpu().numpy().copy()
        for name, w in state.net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def import_weights(state: State, weights: Arrays) -> State:
    state.net.load_state_dict({name: torch.as_tensor(w) for name, w in weights.items()})
    return state


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    outputs = predict(init(), image=rng.standard_normal((8, 3, 32, 32)))
    print(outputs.shape)
