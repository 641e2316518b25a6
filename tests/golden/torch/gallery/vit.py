"""ViT-B/16 (Dosovitskiy et al. 2020): an image is a sentence of patches."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.d = d
        self.heads = heads
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        n, t = x.shape[:2]
        part, part2, part3 = self.qkv(x).chunk(3, dim=-1)  # [N, T, D], [N, T, D], [N, T, D]
        q = part.reshape(n, t, self.heads, self.d // self.heads).transpose(1, -2)
        k = part2.reshape(n, t, self.heads, self.d // self.heads).transpose(1, -2)
        v = part3.reshape(n, t, self.heads, self.d // self.heads).transpose(1, -2)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, -2).reshape(n, t, self.d)
        return self.out(y)


class Layer(nn.Module):
    def __init__(self, d: int, heads: int, hidden: int, p: float) -> None:
        super().__init__()
        self.p = p
        self.layer_norm = nn.ModuleList([nn.LayerNorm(d, eps=1e-06), nn.LayerNorm(d, eps=1e-06)])
        self.attention = Attention(d, heads)
        self.dense = nn.ModuleList([nn.Linear(d, hidden), nn.Linear(hidden, d)])

    def forward(self, x: Tensor) -> Tensor:
        y = F.dropout(self.attention(self.layer_norm[0](x)), self.p, self.training)  # [N, T, D]
        h = x + y  # [N, T, D]
        x = F.gelu(self.dense[0](self.layer_norm[1](h)))  # [N, T, hidden]
        x = F.dropout(self.dense[1](F.dropout(x, self.p, self.training)), self.p, self.training)
        return h + x


class ViT(nn.Module):
    def __init__(
        self,
        size: int = 224,
        patch: int = 16,
        depth: int = 12,
        heads: int = 12,
        width: int = 768,
        hidden: int = 3072,
        p: float = 0.0,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.size = size
        self.patch = patch
        self.width = width
        self.p = p
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.empty(1, (size // patch) ** 2 + 1, width))
        nn.init.normal_(self.places, 0.0, 0.02)
        self.layer = nn.ModuleList(Layer(width, heads, hidden, p) for _ in range(depth))
        self.final = nn.LayerNorm(width, eps=1e-06)
        self.head = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        n = image.shape[0]
        patches = (
            self.patches(image)
            .permute(0, 2, 3, 1)
            .reshape(n, (self.size // self.patch) ** 2, self.width)
        )
        x = torch.cat([self.class_token.expand(n, 1, self.width), patches], dim=1)
        x = F.dropout(x + self.places, self.p, self.training)
        for layer in self.layer:
            x = layer(x)
        y = self.final(x)  # [N, (size // patch) ** 2 + 1, width]
        return self.head(y[:, :1].squeeze((1,)))


Arrays = dict[str, np.ndarray]


class State(NamedTuple):
    net: ViT


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = ViT().to(dtype=getattr(torch, dtype), memory_format=torch.channels_last)
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
    outputs = predict(init(), image=rng.standard_normal((8, 3, 224, 224)))
    print(outputs.shape)
