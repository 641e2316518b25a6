"""A two-layer LSTM language model, as a competent PyTorch user trains it: nn.LSTM, fused Adam."""

import torch
import torch.nn.functional as F
from torch import nn

VOCAB, HIDDEN, DEPTH = 256, 256, 2


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(VOCAB, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, DEPTH, batch_first=True)
        self.head = nn.Linear(HIDDEN, VOCAB)

    def forward(self, tokens):
        y, _ = self.lstm(self.words(tokens))
        return self.head(y)


def init(seed=0, optimizer="adam"):
    torch.manual_seed(seed)
    model = LanguageModel()
    return model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)


def train_step(state, batch, lr):
    model, optimizer = state
    tokens, labels = torch.from_numpy(batch["tokens"]), torch.from_numpy(batch["next"])
    optimizer.param_groups[0]["lr"] = lr
    loss = F.cross_entropy(model(tokens).flatten(0, 1), labels.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return state, {"loss": loss.detach()}
