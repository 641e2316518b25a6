"""Optimizers beside torch's own, or beside one written here where torch has none."""

from __future__ import annotations

from typing import Any

import torch

from dlspec.ops.optimizers import (
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lamb,
    Lion,
    NAdam,
    Optimizer,
    RAdam,
    RmsProp,
    Sgd,
)


class LionReference(torch.optim.Optimizer):
    """Algorithm 2 of Chen et al. 2023."""

    def __init__(self, params: Any, lr: float, betas: Any, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr})
        self.betas, self.weight_decay = betas, weight_decay

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        beta1, beta2 = self.betas
        for group in self.param_groups:
            for w in group["params"]:
                m = self.state[w].get("m", torch.zeros_like(w))
                c = m.lerp(w.grad, 1 - beta1)
                w.copy_(w - group["lr"] * (torch.sgn(c) + self.weight_decay * w))
                self.state[w]["m"] = m.lerp(w.grad, 1 - beta2)


class LambReference(torch.optim.Optimizer):
    """Algorithm 2 of You et al. 2020, with the identity for phi."""

    def __init__(self, params: Any, lr: float, weight_decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr})
        self.weight_decay = weight_decay

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for w in group["params"]:
                state = self.state[w]
                t = state["t"] = state.get("t", 0) + 1
                state["m"] = state.get("m", 0) * 0.9 + 0.1 * w.grad
                state["v"] = state.get("v", 0) * 0.999 + 0.001 * w.grad**2
                r = (state["m"] / (1 - 0.9**t)) / ((state["v"] / (1 - 0.999**t)).sqrt() + 1e-6)
                u = r + self.weight_decay * w
                sizes = w.norm(), u.norm()
                ratio = sizes[0] / sizes[1] if sizes[0] > 0 and sizes[1] > 0 else 1.0
                w -= group["lr"] * ratio * u


class NAdamReference(torch.optim.NAdam):
    """torch's with the product of the mus in float64; it keeps it in the default type."""

    def step(self) -> None:  # type: ignore[override]
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        super().step()
        torch.set_default_dtype(before)


CASES: list[tuple[Optimizer, Any, dict[str, Any]]] = [
    (Sgd(), torch.optim.SGD, {}),
    (Sgd(weight_decay=0.1), torch.optim.SGD, {"weight_decay": 0.1}),
    (Sgd(momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    (
        Sgd(momentum=0.9, nesterov=True, weight_decay=0.01),
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ),
    (
        Sgd(momentum=0.9, dampening=0.3, weight_decay=0.01),
        torch.optim.SGD,
        {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01},
    ),
    (Adam(), torch.optim.Adam, {}),
    (
        Adam(beta1=0.5, beta2=0.9, eps=1e-4, weight_decay=0.1),
        torch.optim.Adam,
        {"betas": (0.5, 0.9), "eps": 1e-4, "weight_decay": 0.1},
    ),
    (Adam(beta2=0.5, amsgrad=True), torch.optim.Adam, {"betas": (0.9, 0.5), "amsgrad": True}),
    (AdamW(), torch.optim.AdamW, {}),
    (AdamW(weight_decay=0.2), torch.optim.AdamW, {"weight_decay": 0.2}),
    (AdamW(weight_decay=0.0), torch.optim.AdamW, {"weight_decay": 0.0}),
    (
        AdamW(beta2=0.5, weight_decay=0.1, amsgrad=True),
        torch.optim.AdamW,
        {"betas": (0.9, 0.5), "weight_decay": 0.1, "amsgrad": True},
    ),
    (NAdam(), NAdamReference, {}),
    (
        NAdam(beta1=0.8, weight_decay=0.1, momentum_decay=0.05),
        NAdamReference,
        {"betas": (0.8, 0.999), "weight_decay": 0.1, "momentum_decay": 0.05},
    ),
    (
        NAdam(weight_decay=0.1, decoupled=True),
        NAdamReference,
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    (RAdam(), torch.optim.RAdam, {}),
    (RAdam(weight_decay=0.1), torch.optim.RAdam, {"weight_decay": 0.1}),
    (Adamax(), torch.optim.Adamax, {}),
    (
        Adamax(beta1=0.8, beta2=0.7, weight_decay=0.1),
        torch.optim.Adamax,
        {"betas": (0.8, 0.7), "weight_decay": 0.1},
    ),
    (RmsProp(), torch.optim.RMSprop, {}),
    (
        RmsProp(alpha=0.9, eps=1e-6, momentum=0.8, centered=True, weight_decay=0.1),
        torch.optim.RMSprop,
        {"alpha": 0.9, "eps": 1e-6, "momentum": 0.8, "centered": True, "weight_decay": 0.1},
    ),
    (Adagrad(), torch.optim.Adagrad, {}),
    (
        Adagrad(lr_decay=0.1, weight_decay=0.1),
        torch.optim.Adagrad,
        {"lr_decay": 0.1, "weight_decay": 0.1},
    ),
    (Adadelta(), torch.optim.Adadelta, {}),
    (Adadelta(rho=0.7, weight_decay=0.1), torch.optim.Adadelta, {"rho": 0.7, "weight_decay": 0.1}),
    (Lion(), LionReference, {"betas": (0.9, 0.99)}),
    (
        Lion(beta1=0.8, beta2=0.95, weight_decay=0.1),
        LionReference,
        {"betas": (0.8, 0.95), "weight_decay": 0.1},
    ),
    (Lamb(), LambReference, {}),
    (Lamb(weight_decay=0.0), LambReference, {"weight_decay": 0.0}),
]
