"""U-Net (Ronneberger et al. 2015): down to where the whole is seen, and up again beside
the details.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.batch_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.batch_norm(self.conv(x)))


class Double(nn.Module):
    def __init__(self, in_channels: int, channels: int, middle: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList([Conv(in_channels, middle), Conv(middle, channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.conv[1](self.conv[0](x))


class Level(nn.Module):
    def __init__(self, in_channels: int, widths: list[int]) -> None:
        super().__init__()
        self.widths = widths
        self.down = Double(in_channels, widths[0], widths[0])
        if len(widths) != 1:
            self.inner = Level(widths[0], widths[1:])
            self.wider = nn.ConvTranspose2d(widths[1], widths[0], 2, stride=2)
            self.up = Double(2 * widths[0], widths[0], widths[0])

    def forward(self, x: Tensor) -> Tensor:
        top = self.down(x)  # [N, widths[0], H, W]
        if len(self.widths) == 1:
            x = top  # [N, widths[0], H, W]
        else:
            low = self.wider(self.inner(F.max_pool2d(top, 2)))
            x = self.up(torch.cat([top, low], dim=1))  # [N, widths[0], H, W]
        return x


class UNet(nn.Module):
    """What is added makes up for height and width: here with learnt windows."""

    def __init__(self, in_channels: int, widths: list[int], classes: int = 2) -> None:
        super().__init__()
        self.body = Level(in_channels, widths)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        h, w = image.shape[2:]
        if h % 16 != 0:
            raise ValueError(f"UNet needs H % 16 == 0; H is {h}")
        if w % 16 != 0:
            raise ValueError(f"UNet needs W % 16 == 0; W is {w}")
        return self.head(self.body(image))


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: UNet


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = UNet(in_channels=3, widths=[64, 128, 256, 512, 1024])
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
