"""SqueezeNet 1.0 (Iandola et al. 2016): AlexNet's accuracy with a fiftieth of its weights."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Module):
    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class Pool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=2, ceil_mode=True)


class Fire(nn.Module):
    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            [
                Conv(in_channels, squeeze, 1),
                Conv(squeeze, expand, 1),
                Conv(squeeze, expand, 3, padding=1),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv[0](x)  # [N, squeeze, H, W]
        return torch.cat([self.conv[1](x), self.conv[2](x)], dim=1)


class SqueezeNet(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv = nn.ModuleList([Conv(3, 96, 7, stride=2), Conv(512, classes, 1)])
        self.pool = nn.ModuleList([Pool(), Pool(), Pool()])
        self.fire = nn.ModuleList(
            [
                Fire(96, 16, 64),
                Fire(128, 16, 64),
                Fire(128, 32, 128),
                Fire(256, 32, 128),
                Fire(256, 48, 192),
                Fire(384, 48, 192),
                Fire(384, 64, 256),
                Fire(512, 64, 256),
            ]
        )

    def forward(self, image: Tensor) -> Tensor:
        h, w = image.shape[2:]
        if h < 29:
            raise ValueError(f"SqueezeNet needs H >= 29; H is {h}")
        if w < 29:
            raise ValueError(f"SqueezeNet needs W >= 29; W is {w}")
        x = self.fire[0](self.pool[0](self.conv[0](image)))
        x = self.pool[1](self.fire[2](self.fire[1](x)))
        for fire in self.fire[3:7]:
            x = fire(x)
        x = F.dropout(self.fire[7](self.pool[2](x)), 0.5, self.training)
        return self.conv[1](x).mean((2, 3))


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: SqueezeNet


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = SqueezeNet().to(dtype=getattr(torch, dtype), memory_format=torch.channels_last)
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
