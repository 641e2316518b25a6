"""mnist"""

import copy
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeNet5(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5, padding=2)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.f5 = nn.Linear(400, 120)
        self.f6 = nn.Linear(120, 84)
        self.head = nn.Linear(84, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = F.max_pool2d(torch.tanh(self.c1(image)), 2)  # [N, 6, 14, 14]
        x = F.max_pool2d(torch.tanh(self.c3(x)), 2)  # [N, 16, 5, 5]
        x = torch.tanh(self.f5(x.flatten(1)))  # [N, 120]
        return self.head(torch.tanh(self.f6(x)))


Arrays = dict[str, np.ndarray]
Metrics = dict[str, Tensor]


class State(NamedTuple):
    net: LeNet5
    optimizer: torch.optim.Optimizer


def init(seed: int = 0, dtype: str = "float32") -> State:
    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    torch.manual_seed(seed)
    net = LeNet5().to(dtype=getattr(torch, dtype), memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9, fused=True)
    return State(net, optimizer)


def losses(net: LeNet5, batch: Arrays) -> Metrics:
    dtype = next(net.parameters()).dtype
    image = torch.as_tensor(batch["image"], dtype=dtype).contiguous(
        memory_format=torch.channels_last
    )
    label = torch.as_tensor(batch["label"], dtype=torch.int64)
    logits = net(image)  # [N, 10]
    x = (logits.argmax(-1).to(torch.int64) == label).to(dtype)  # [N]
    return {"loss": F.cross_entropy(logits, label), "accuracy": x.mean()}


def train_step(
    state: State, batch: Arrays, lr: float, *, seed: int = 0, step: int = 0
) -> tuple[State, Metrics]:
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
    image = torch.as_tensor(inputs["image"], dtype=dtype).contiguous(
        memory_format=torch.channels_last
    )
    return net(image).cpu().numpy()


def gradients(
    state: State, batch: Arrays, *, seed: int = 0, step: int = 0
) -> tuple[Metrics, Arrays]:
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
        if "momentum/" + name in arrays:
            slots = state.optimizer.state[parameter]
            slots["momentum_buffer"] = torch.zeros_like(parameter).copy_(
                torch.as_tensor(arrays["momentum/" + name])
            )
    return state


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    batch = {"image": rng.standard_normal((8, 1, 28, 28)), "label": rng.integers(10, size=(8,))}
    state = init()
    for step in range(5):
        state, metrics = train_step(state, batch, 0.01, step=step)
        print(step, {name: round(value.item(), 4) for name, value in metrics.items()})
