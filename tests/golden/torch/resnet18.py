"""ResNet18"""

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


class Basic(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = channels
        self.stride = stride
        self.conv_norm = nn.ModuleList(
            [ConvNorm(in_channels, channels, 3, stride=stride), ConvNorm(channels, channels, 3)]
        )
        if stride != 1 or in_channels != channels:
            self.conv_norm.append(ConvNorm(in_channels, channels, 1, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        main = self.conv_norm[1](F.relu(self.conv_norm[0](x)))
        skip = x if self.stride == 1 and self.in_channels == self.channels else self.conv_norm[2](x)
        return F.relu(main + skip)


class Stage(nn.Module):
    def __init__(self, in_channels: int, channels: int, depth: int, stride: int) -> None:
        super().__init__()
        self.basic = nn.ModuleList(
            [
                Basic(in_channels, channels, stride=stride),
                *(Basic(channels, channels) for _ in range(depth - 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for basic in self.basic:
            x = basic(x)
        return x


class ResNet18(nn.Module):
    def __init__(self, depths: list[int], classes: int = 1000) -> None:
        super().__init__()
        self.conv_norm = ConvNorm(3, 64, 7, stride=2)
        self.stage = nn.ModuleList(
            [
                Stage(64, 64, depths[0], 1),
                Stage(64, 128, depths[1], 2),
                Stage(128, 256, depths[2], 2),
                Stage(256, 512, depths[3], 2),
            ]
        )
        self.head = nn.Linear(512, classes)

    def forward(self, image: Tensor) -> Tensor:
        stem = F.max_pool2d(F.relu(self.conv_norm(image)), 3, stride=2, padding=1)
        body = stem  # [N, 64, (H + 3) // 4, (W + 3) // 4]
        for stage in self.stage:
            body = stage(body)
        return self.head(body.mean((2, 3)))


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: ResNet18


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = ResNet18(depths=[2, 2, 2, 2])
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
