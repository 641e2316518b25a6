"""DenseNet-121 (Huang et al. 2017): each layer sees the maps of all layers before it."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Pre(nn.Module):
    def __init__(self, in_channels: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.batch_norm(x)))


class Grow(nn.Module):
    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.pre = nn.ModuleList([Pre(in_channels, 4 * growth, 1), Pre(4 * growth, growth, 3)])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.pre[1](self.pre[0](x))], dim=1)


class Transition(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.pre = Pre(in_channels, in_channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.pre(x), 2)


class DenseNet(nn.Module):
    def __init__(self, growth: int = 32, classes: int = 1000) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2 * growth, 7, stride=2, padding=3, bias=False)
        self.batch_norm = nn.ModuleList([nn.BatchNorm2d(2 * growth), nn.BatchNorm2d(32 * growth)])
        self.grow = nn.ModuleList(
            [
                *(Grow((i + 2) * growth, growth) for i in range(6)),
                *(Grow((i + 4) * growth, growth) for i in range(12)),
                *(Grow((i + 8) * growth, growth) for i in range(24)),
                *(Grow((i + 16) * growth, growth) for i in range(16)),
            ]
        )
        self.transition = nn.ModuleList(
            [Transition(8 * growth), Transition(16 * growth), Transition(32 * growth)]
        )
        self.head = nn.Linear(32 * growth, classes)

    def forward(self, image: Tensor) -> Tensor:
        h, w = image.shape[2:]
        if h < 29:
            raise ValueError(f"DenseNet needs H >= 29; H is {h}")
        if w < 29:
            raise ValueError(f"DenseNet needs W >= 29; W is {w}")
        x = F.relu(self.batch_norm[0](self.conv(image)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # [N, 2 * growth, (H + 3) // 4, (W + 3) // 4]
        for grow in self.grow[:6]:
            x = grow(x)
        x = self.transition[0](x)  # [N, 4 * growth, (H + 3) // 8, (W + 3) // 8]
        for grow in self.grow[6:18]:
            x = grow(x)
        x = self.transition[1](x)  # [N, 8 * growth, (H + 3) // 16, (W + 3) // 16]
        for grow in self.grow[18:42]:
            x = grow(x)
        x = self.transition[2](x)  # [N, 16 * growth, (H + 3) // 32, (W + 3) // 32]
        for grow in self.grow[42:]:
            x = grow(x)
        x = F.relu(self.batch_norm[1](x)).mean((2, 3))  # [N, 32 * growth]
        return self.head(x)


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: DenseNet


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = DenseNet().to(dtype=getattr(torch, dtype), memory_format=torch.channels_last)
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
