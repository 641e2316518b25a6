"""VGG (Simonyan and Zisserman 2014): nothing but 3 x 3 convolutions, wider after each
pooling.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList([nn.Conv2d(in_channels, channels, 3, padding=1)])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv[0](x))


class Stage(nn.Module):
    def __init__(self, in_channels: int, channels: int, depth: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            [Conv(in_channels, channels), *(Conv(channels, channels) for _ in range(depth - 1))]
        )

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.conv:
            x = conv(x)
        return F.max_pool2d(x, 2)


class VGG(nn.Module):
    def __init__(self, depths: list[int], width: int = 4096, classes: int = 1000) -> None:
        super().__init__()
        self.stage = nn.ModuleList(
            [
                Stage(3, 64, depths[0]),
                Stage(64, 128, depths[1]),
                Stage(128, 256, depths[2]),
                Stage(256, 512, depths[3]),
                Stage(512, 512, depths[4]),
            ]
        )
        self.dense = nn.ModuleList([nn.Linear(25088, width), nn.Linear(width, width)])
        self.head = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        h, w = image.shape[2:]
        if h < 32:
            raise ValueError(f"VGG needs H >= 32; H is {h}")
        if w < 32:
            raise ValueError(f"VGG needs W >= 32; W is {w}")
        x = image  # [N, 3, H, W]
        for stage in self.stage:
            x = stage(x)
        x = self.dense[0](F.adaptive_avg_pool2d(x, 7).flatten(1))  # [N, width]
        x = self.dense[1](F.dropout(F.relu(x), 0.5, self.training))  # [N, width]
        return self.head(F.dropout(F.relu(x), 0.5, self.training))


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: VGG


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = VGG(depths=[2, 2, 3, 3, 3])
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
