"""MobileNetV2 (Sandler et al. 2018): blocks that are wide inside and narrow where they are
added.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Norm(nn.Module):
    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        self.batch_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.batch_norm(self.conv(x))


class Inverted(nn.Module):
    def __init__(self, in_channels: int, channels: int, expand: int, stride: int = 1) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = channels
        self.expand = expand
        self.stride = stride
        self.depthwise = Norm(
            in_channels * expand,
            in_channels * expand,
            3,
            stride=stride,
            groups=in_channels * expand,
        )
        self.projection = Norm(in_channels * expand, channels, 1)
        if expand != 1:
            self.expansion = Norm(in_channels, in_channels * expand, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand == 1 else F.relu6(self.expansion(x))  # [N, C * expand, H, W]
        y = self.projection(F.relu6(self.depthwise(wide)))
        return x + y if self.stride == 1 and self.in_channels == self.channels else y


class MobileNetV2(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = Norm(3, 32, 3, stride=2)
        self.inverted = nn.ModuleList(
            [
                Inverted(32, 16, 1),
                Inverted(16, 24, 6, stride=2),
                *(Inverted(24, 24, 6) for _ in range(1)),
                Inverted(24, 32, 6, stride=2),
                *(Inverted(32, 32, 6) for _ in range(2)),
                Inverted(32, 64, 6, stride=2),
                *(Inverted(64, 64, 6) for _ in range(3)),
                Inverted(64, 96, 6),
                *(Inverted(96, 96, 6) for _ in range(2)),
                Inverted(96, 160, 6, stride=2),
                *(Inverted(160, 160, 6) for _ in range(2)),
                Inverted(160, 320, 6),
            ]
        )
        self.last = Norm(320, 1280, 1)
        self.head = nn.Linear(1280, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu6(self.stem(image))  # [N, 32, (H + 1) // 2, (W + 1) // 2]
        for inverted in self.inverted:
            x = inverted(x)
        x = F.relu6(self.last(x)).mean((2, 3))  # [N, 1280]
        return self.head(F.dropout(x, 0.2, self.training))


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: MobileNetV2


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = MobileNetV2().to(dtype=getattr(torch, dtype), memory_format=torch.channels_last)
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
