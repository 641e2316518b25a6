"""Gradients along the graph that autograd records."""

import torch
from torch import Tensor


def gradient(y: Tensor, x: Tensor) -> Tensor:
    """∂(Σ y)/∂x, which can be differentiated again; zero where y does not depend on x."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(y.sum(), x, create_graph=True, materialize_grads=True)
    return found


def joint_gradient(y: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    """∂(Σ y)/∂x for each x, in one pass."""
    if not y.requires_grad:
        return tuple(map(torch.zeros_like, xs))
    return torch.autograd.grad(y.sum(), xs, create_graph=True, materialize_grads=True)


def with_weights(layer, **weights):
    """The layer with other weights, as a function."""
    return lambda *args: torch.func.functional_call(layer, weights, args)
