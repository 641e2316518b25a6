"""shared"""

import copy
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Step(nn.Module):
    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.dense = nn.Linear(in_features, in_features)

    def forward(self, h: Tensor, mix: nn.Module) -> Tensor:
        return h + torch.tanh(mix(self.dense(h)))


class Shared(nn.Module):
    def __init__(self, width: int = 16, depth: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.dense = nn.Linear(8, width)
        self.mix = nn.Linear(width, width)
        self.step = nn.ModuleList(Step(width) for _ in range(depth))
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.mix(self.dense(x))  # [N, width]
        for step in self.step:
            h = step(h, self.mix)
        return self.head(F.dropout(self.mix(h), 0.25, self.training))


Arrays = dict[str, np.ndarray]
Metrics = dict[str, Tensor]


class State(NamedTuple):
    net: Shared
    optimizer: torch.optim.Optimizer


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = Shared().to(dtype=getattr(torch, dtype))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.0, fused=True)
    return State(net, optimizer)


def losses(net: Shared, batch: Arrays) -> Metrics:
    dtype = next(net.parameters()).dtype
    x = torch.as_tensor(batch["x"], dtype=dtype)
    label = torch.as_tensor(batch["label"], dtype=torch.int64)
    logits = net(x)  # [N, 4]
    x = (logits.argmax(-1).to(torch.int64) == label).to(dtype)  # [N]
    return {"loss": F.cross_entropy(logits, label), "accuracy": x.mean()}


def train_step(
    state: State, batch: Arrays, lr: float, *, seed: int = 0, step: int = 0
) -> tuple[State, Metrics]:
    torch.manual_seed(seed * 1_000_003 + step)
    state.net.train().zero_grad()
    metrics = losses(state.net, batch)
    metrics["loss"].backward()
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.step()
    return state, {name: value.detach() for name, value in metrics.items()}


@torch.inference_mode()
def evaluate(state: State, batch: Arrays) -> Metrics:
    return losses(state.net.eval(), batch)


@torch.inference_mode()
def predict(state: State, **inputs: np.ndarray) -> np.ndarray:
    net = state.net.eval()
    dtype = next(net.parameters()).dtype
    x = torch.as_tensor(inputs["x"], dtype=dtype)
    return net(x).cpu().numpy()


def gradients(
    state: State, batch: Arrays, *, seed: int = 0, step: int = 0
) -> tuple[Metrics, Arrays]:
    torch.manual_seed(seed * 1_000_003 + step)
    net = copy.deepcopy(state.net).train()
    metrics = losses(net, batch)
    grads = torch.autograd.grad(metrics["loss"], [*net.parameters()], materialize_grads=True)
    named = zip(net.named_parameters(), grads, strict=True)
    arrays = {name: g.cpu().numpy() for (name, _), g in named}
    return {name: value.detach() for name, value in metrics.items()}, arrays


def export_weights(state: State) -> Arrays:
    return {name: w.cpu().numpy().copy() for name, w in state.net.state_dict().items()}


def import_weights(state: State, weights: Arrays) -> State:
    state.net.load_state_dict({name: torch.as_tensor(w) for name, w in weights.items()})
    return state


def export_optimizer(state: State) -> Arrays:
    arrays = {"step": np.array(0)}
    for name, parameter in state.net.named_parameters():
        for kind, slot in state.optimizer.state.get(parameter, {}).items():
            key = "step" if kind == "step" else f"{kind.removesuffix('_buffer')}/{name}"
            arrays[key] = slot.cpu().numpy().copy()
    return arrays


@torch.no_grad()
def import_optimizer(state: State, arrays: Arrays) -> State:
    for name, parameter in state.net.named_parameters():
        if "exp_avg/" + name in arrays:
            slots = state.optimizer.state[parameter]
            slots["exp_avg"] = torch.zeros_like(parameter).copy_(
                torch.as_tensor(arrays["exp_avg/" + name])
            )
            slots["exp_avg_sq"] = torch.zeros_like(parameter).copy_(
                torch.as_tensor(arrays["exp_avg_sq/" + name])
            )
            slots["step"] = torch.tensor(float(arrays["step"]))
    return state


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((8, 8)), "label": rng.integers(4, size=(8,))}
    state = init()
    for step in range(5):
        state, metrics = train_step(state, batch, 0.01, step=step)
        print(step, {name: round(value.item(), 4) for name, value in metrics.items()})
