"""Inception v3 (Szegedy et al. 2015): a window of 7 x 7 is a row of seven, then a column
of seven.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Module):
    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: tuple[int, ...],
        stride: int = 1,
        padding: tuple[int, ...] = (0, 0),
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, channels, kernel, stride=stride, padding=padding, bias=False
        )
        self.batch_norm = nn.BatchNorm2d(channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.batch_norm(self.conv(x)))


class Pooled(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = Conv(in_channels, channels, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.avg_pool2d(x, 3, stride=1, padding=1))


class Square(nn.Module):
    def __init__(self, in_channels: int, pooled: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            [
                Conv(in_channels, 64, (1, 1)),
                Conv(in_channels, 48, (1, 1)),
                Conv(48, 64, (5, 5), padding=(2, 2)),
                Conv(in_channels, 64, (1, 1)),
                Conv(64, 96, (3, 3), padding=(1, 1)),
                Conv(96, 96, (3, 3), padding=(1, 1)),
            ]
        )
        self.pooled = Pooled(in_channels, pooled)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv[0](x)  # [N, 64, H, W]
        z = self.conv[2](self.conv[1](x))  # [N, 64, H, W]
        u = self.conv[5](self.conv[4](self.conv[3](x)))  # [N, 96, H, W]
        return torch.cat([y, z, u, self.pooled(x)], dim=1)


class ReduceSquare(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            [
                Conv(in_channels, 384, (3, 3), stride=2),
                Conv(in_channels, 64, (1, 1)),
                Conv(64, 96, (3, 3), padding=(1, 1)),
                Conv(96, 96, (3, 3), stride=2),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv[0](x)  # [N, 384, (H + 1) // 2 - 1, (W + 1) // 2 - 1]
        z = self.conv[3](self.conv[2](self.conv[1](x)))
        return torch.cat([y, z, F.max_pool2d(x, 3, stride=2)], dim=1)


class Factored(nn.Module):
    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            [
                Conv(in_channels, 192, (1, 1)),
                Conv(in_channels, width, (1, 1)),
                Conv(in_channels, width, (1, 1)),
            ]
        )
        self.row = nn.ModuleList(
            [
                Conv(width, width, (1, 7), padding=(0, 3)),
                Conv(width, width, (1, 7), padding=(0, 3)),
                Conv(width, 192, (1, 7), padding=(0, 3)),
            ]
        )
        self.column = nn.ModuleList(
            [
                Conv(width, 192, (7, 1), padding=(3, 0)),
                Conv(width, width, (7, 1), padding=(3, 0)),
                Conv(width, width, (7, 1), padding=(3, 0)),
            ]
        )
        self.pooled = Pooled(in_channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv[0](x)  # [N, 192, H, W]
        z = self.column[0](self.row[0](self.conv[1](x)))  # [N, 192, H, W]
        u = self.row[1](self.column[1](self.conv[2](x)))  # [N, width, H, W]
        u = self.row[2](self.column[2](u))  # [N, 192, H, W]
        return torch.cat([y, z, u, self.pooled(x)], dim=1)


class ReduceFactored(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            [
                Conv(in_channels, 192, (1, 1)),
                Conv(192, 320, (3, 3), stride=2),
                Conv(in_channels, 192, (1, 1)),
                Conv(192, 192, (3, 3), stride=2),
            ]
        )
        self.row = Conv(192, 192, (1, 7), padding=(0, 3))
        self.column = Conv(192, 192, (7, 1), padding=(3, 0))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv[1](self.conv[0](x))  # [N, 320, (H + 1) // 2 - 1, (W + 1) // 2 - 1]
        z = self.column(self.row(self.conv[2](x)))  # [N, 192, H, W]
        return torch.cat([y, self.conv[3](z), F.max_pool2d(x, 3, stride=2)], dim=1)


class Split(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.row = Conv(in_channels, channels, (1, 3), padding=(0, 1))
        self.column = Conv(in_channels, channels, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        y = self.row(x)  # [N, channels, H, W]
        return torch.cat([y, self.column(x)], dim=1)


class Wide(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            [
                Conv(in_channels, 320, (1, 1)),
                Conv(in_channels, 384, (1, 1)),
                Conv(in_channels, 448, (1, 1)),
                Conv(448, 384, (3, 3), padding=(1, 1)),
            ]
        )
        self.split = nn.ModuleList([Split(384, 384), Split(384, 384)])
        self.pooled = Pooled(in_channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv[0](x)  # [N, 320, H, W]
        z = self.split[0](self.conv[1](x))  # [N, 768, H, W]
        u = self.split[1](self.conv[3](self.conv[2](x)))  # [N, 768, H, W]
        return torch.cat([y, z, u, self.pooled(x)], dim=1)


class Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            [
                Conv(3, 32, (3, 3), stride=2),
                Conv(32, 32, (3, 3)),
                Conv(32, 64, (3, 3), padding=(1, 1)),
                Conv(64, 80, (1, 1)),
                Conv(80, 192, (3, 3)),
            ]
        )
        self.square = nn.ModuleList([Square(192, 32), Square(256, 64), Square(288, 64)])
        self.reduce_square = ReduceSquare(288)
        self.factored = nn.ModuleList(
            [Factored(768, 128), Factored(768, 160), Factored(768, 160), Factored(768, 192)]
        )
        self.reduce_factored = ReduceFactored(768)
        self.wide = nn.ModuleList([Wide(1280), Wide(2048)])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv[2](self.conv[1](self.conv[0](image)))
        x = self.conv[4](self.conv[3](F.max_pool2d(x, 3, stride=2)))
        x = self.square[1](self.square[0](F.max_pool2d(x, 3, stride=2)))
        middle = self.reduce_square(self.square[2](x))
        for factored in self.factored:
            middle = factored(middle)
        return self.wide[1](self.wide[0](self.reduce_factored(middle))), middle


class InceptionV3(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.head = nn.Linear(2048, classes)

    def forward(self, image: Tensor) -> Tensor:
        h, w = image.shape[2:]
        if h < 75:
            raise ValueError(f"InceptionV3 needs H >= 75; H is {h}")
        if w < 75:
            raise ValueError(f"InceptionV3 needs W >= 75; W is {w}")
        top, _ = self.trunk(image)  # [N, 2048, (H + 21) // 32 - 2, (W + 21) // 32 - 2]
        return self.head(F.dropout(top.mean((2, 3)), 0.5, self.training))


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: InceptionV3


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = InceptionV3().to(dtype=getattr(torch, dtype), memory_format=torch.channels_last)
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
    outputs = predict(init(), image=rng.standard_normal((8, 3, 224, 224)))
    print(outputs.shape)
