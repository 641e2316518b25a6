"""Activations in JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ops import activations as act
from dlspec.ops import prelu, thresholds

if TYPE_CHECKING:
    from dlspec.codegen.tables import Row
    from dlspec.ops.base import Op

ROWS: dict[type[Op], Row] = {
    act.Relu: "x: jax.nn.relu(x)",
    act.Relu6: "x: saturate(x, 0, 6)",
    act.HardTanh: "x: saturate(x, low, high)",
    act.HardSigmoid: "x: saturate(x / 6 + 0.5, 0, 1)",
    act.Step: "x: (x > 0).astype(x.dtype)",
    act.Sigmoid: "x: jax.nn.sigmoid(x)",
    act.LogSigmoid: "x: jax.nn.log_sigmoid(x)",
    act.Tanh: "x: jnp.tanh(x)",
    act.Softplus: "x: jax.nn.softplus(x)",
    act.Softsign: "x: jax.nn.soft_sign(x)",
    act.Elu: "x: jax.nn.elu(x, alpha)",
    act.Selu: "x: jax.nn.selu(x)",
    act.LeakyRelu: "x: jnp.where(x > 0, x, slope * x)",
    act.Silu: "x: jax.nn.silu(x)",
    act.HardSwish: "x: x * saturate(x / 6 + 0.5, 0, 1)",
    act.Mish: "x: jax.nn.mish(x)",
    act.Softmax: "x: jax.nn.softmax(x, axis=axis)",
    act.LogSoftmax: "x: jax.nn.log_softmax(x, axis=axis)",
    prelu.PRelu: "x, slope: prelu(x, slope)",
    thresholds.Celu: "x: jax.nn.celu(x, alpha)",
    thresholds.HardShrink: "x: jnp.where(jnp.abs(x) > bound, x, 0)",
    thresholds.SoftShrink: "x: jnp.where(jnp.abs(x) > bound, x - bound * jnp.sign(x), 0)",
    thresholds.Threshold: "x: jnp.where(x > threshold, x, value)",
}
