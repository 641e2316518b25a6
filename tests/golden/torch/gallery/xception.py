"""Xception (Chollet 2017): Inception taken to its end, each map convolved alone, then all
mixed.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pad_same(x, kernel, stride, value=0.0):
    """x with borders, so that windows give ceil(n / stride) places; an odd one is at the end."""
    rank = x.ndim - 2
    sizes = kernel if isinstance(kernel, tuple) else (kernel,) * rank
    steps = stride if isinstance(stride, tuple) else (stride,) * rank
    borders = []
    for n, k, s in reversed([*zip(x.shape[2:], sizes, steps, strict=True)]):
        total = max(0, (n - 1) // s * s + k - n)
        borders += [total // 2, total - total // 2]
    return F.pad(x, borders, value=value)


class Norm(nn.Module):
    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride=stride, bias=False)
        self.batch_norm = nn.BatchNorm2d(channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return self.batch_norm(self.conv(x))


class Separable(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.batch_norm = nn.BatchNorm2d(channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return self.batch_norm(self.pointwise(self.depthwise(x)))


class Bent(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.separable = Separable(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.separable(F.relu(x))


class Shrinking(nn.Module):
    def __init__(self, in_channels: int, channels: int, middle: int) -> None:
        super().__init__()
        self.bent = nn.ModuleList([Bent(in_channels, middle), Bent(middle, channels)])
        self.skip = Norm(in_channels, channels, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        main = F.max_pool2d(
            pad_same(self.bent[1](self.bent[0](x)), 3, 2, value=float("-inf")), 3, stride=2
        )
        return main + self.skip(x)


class Middle(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.bent = nn.ModuleList(Bent(in_channels, in_channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = x  # [N, C, H, W]
        for bent in self.bent:
            y = bent(y)
        return x + y


class Xception(nn.Module):
    def __init__(self, depth: int = 8, classes: int = 1000) -> None:
        super().__init__()
        self.norm = nn.ModuleList([Norm(3, 32, 3, stride=2), Norm(32, 64, 3)])
        self.entry = nn.ModuleList(
            [Shrinking(64, 128, 128), Shrinking(128, 256, 256), Shrinking(256, 728, 728)]
        )
        self.middle = nn.ModuleList(Middle(728) for _ in range(depth))
        self.exit = Shrinking(728, 1024, 728)
        self.separable = nn.ModuleList([Separable(1024, 1536), Separable(1536, 2048)])
        self.head = nn.Linear(2048, classes)

    def forward(self, image: Tensor) -> Tensor:
        h, w = image.shape[2:]
        if h < 7:
            raise ValueError(f"Xception needs H >= 7; H is {h}")
        if w < 7:
            raise ValueError(f"Xception needs W >= 7; W is {w}")
        x = self.norm[1](F.relu(self.norm[0](image)))  # [N, 64, (H + 1) // 2 - 3, (W + 1) // 2 - 3]
        x = self.entry[1](self.entry[0](F.relu(x)))  # [N, 256, (H + 1) // 8, (W + 1) // 8]
        x = self.entry[2](x)  # [N, 728, (H + 9) // 16, (W + 9) // 16]
        for middle in self.middle:
            x = middle(x)
        x = F.relu(self.separable[0](self.exit(x)))  # [N, 1536, (H + 25) // 32, (W + 25) // 32]
        x = F.relu(self.separable[1](x)).mean((2, 3))  # [N, 2048]
        return self.head(x)


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: Xception


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = Xception().to(dtype=getattr(torch, dtype), memory_format=torch.channels_last)
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
