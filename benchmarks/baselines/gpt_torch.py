"""A GPT of 6 pre-norm layers, as a competent PyTorch user trains it: SDPA, fused AdamW."""

import torch
import torch.nn.functional as F
from torch import nn

VOCAB, D, HEADS, DEPTH, CONTEXT = 256, 384, 6, 6, 256


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(D, 3 * D)
        self.out = nn.Linear(D, D)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(x).split(D, dim=-1)
        q, k, v = (p.view(n, t, HEADS, D // HEADS).transpose(1, 2) for p in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(n, t, D))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.attention = Attention()
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(VOCAB, D)
        self.places = nn.Parameter(0.02 * torch.randn(CONTEXT, D))
        self.layers = nn.ModuleList(Layer() for _ in range(DEPTH))
        self.final = nn.LayerNorm(D)
        self.head = nn.Linear(D, VOCAB, bias=False)

    def forward(self, tokens):
        x = self.words(tokens) + self.places[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.head(self.final(x))


def init(seed=0, optimizer="adamw"):
    torch.manual_seed(seed)
    model = GPT()
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)


def train_step(state, batch, lr):
    model, optimizer = state
    tokens, labels = torch.from_numpy(batch["tokens"]), torch.from_numpy(batch["next"])
    optimizer.param_groups[0]["lr"] = lr
    loss = F.cross_entropy(model(tokens).flatten(0, 1), labels.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return state, {"loss": loss.detach()}
