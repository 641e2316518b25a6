"""AlexNet (Krizhevsky et al. 2012): as printed, with two groups and response
normalisation; and
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
        kernel: int,
        padding: int,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, channels, kernel, stride=stride, padding=padding, groups=groups
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class Response(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.local_response_norm(x, 5, alpha=0.0005, beta=0.75, k=2.0)


class Pool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=2)


class Classifier(nn.Module):
    def __init__(self, in_channels: int, h: int, w: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList(
            [
                nn.Linear(in_channels * h * w, hidden),
                nn.Linear(hidden, hidden),
                nn.Linear(hidden, classes),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.dense[0](F.dropout(x.flatten(1), 0.5, self.training))  # [N, hidden]
        x = self.dense[1](F.dropout(F.relu(x), 0.5, self.training))  # [N, hidden]
        return self.dense[2](F.relu(x))


class AlexNet2012(nn.Module):
    """The network of the paper."""

    def __init__(self, hidden: int = 4096, classes: int = 1000) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            [
                Conv(3, 96, 11, 0, stride=4),
                Conv(96, 256, 5, 2, groups=2),
                Conv(256, 384, 3, 1),
                Conv(384, 384, 3, 1, groups=2),
                Conv(384, 256, 3, 1, groups=2),
            ]
        )
        self.response = nn.ModuleList([Response(), Response()])
        self.pool = nn.ModuleList([Pool(), Pool(), Pool()])
        self.classifier = Classifier(256, 6, 6, classes, hidden)

    def forward(self, image: Tensor) -> Tensor:
        x = self.pool[0](self.response[0](self.conv[0](image)))  # [N, 96, 27, 27]
        x = self.pool[1](self.response[1](self.conv[1](x)))  # [N, 256, 13, 13]
        x = self.conv[4](self.conv[3](self.conv[2](x)))  # [N, 256, 13, 13]
        return self.classifier(self.pool[2](x))


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: AlexNet2012


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = AlexNet2012().to(dtype=getattr(torch, dtype), memory_format=torch.channels_last)
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
    outputs = predict(init(), image=rng.standard_normal((8, 3, 227, 227)))
    print(outputs.shape)
