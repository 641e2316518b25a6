"""Activations in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.ops import activations as act
from dlspec.ops import thresholds

if TYPE_CHECKING:
    from dlspec.codegen.tables import Row
    from dlspec.ops.base import Op

ROWS: dict[type[Op], Row] = {
    act.Relu: "x: np.maximum(x, 0)",
    act.Relu6: "x: np.clip(x, 0, 6)",
    act.HardTanh: "x: np.clip(x, low, high)",
    act.HardSigmoid: "x: np.clip(x / 6 + 0.5, 0, 1)",
    act.Step: "x: (x > 0).astype(x.dtype)",
    act.Sigmoid: "x: sigmoid(x)",
    act.LogSigmoid: "x: -softplus(-x)",
    act.Tanh: "x: np.tanh(x)",
    act.Softplus: "x: softplus(x)",
    act.Softsign: "x: x / (1 + np.abs(x))",
    act.Elu: "x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))",
    act.Selu: "x: 1.0507009873554805 * np.where("
    "x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))",
    act.LeakyRelu: "x: np.where(x > 0, x, slope * x)",
    act.Silu: "x: x * sigmoid(x)",
    act.HardSwish: "x: x * np.clip(x + 3, 0, 6) / 6",
    act.Mish: "x: x * np.tanh(softplus(x))",
    act.Softmax: "x: softmax(x, axis)",
    act.LogSoftmax: "x: log_softmax(x, axis)",
    thresholds.Celu: "x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))",
    thresholds.HardShrink: "x: np.where(np.abs(x) > bound, x, 0)",
    thresholds.SoftShrink: "x: x - np.clip(x, -bound, bound)",
    thresholds.Threshold: "x: np.where(x > threshold, x, value)",
}
