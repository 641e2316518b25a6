"""What is written on the box of a step, and its family (colour and glyph)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from dlspec.ir.dims import Dim
from dlspec.ir.graph import LayerSlot, WeightSlot
from dlspec.ir.static import Known
from dlspec.ops import (
    conv,
    conv_transpose,
    elementwise,
    indexing,
    linalg,
    pool,
    random,
    reduce,
    shape,
)
from dlspec.outline import op_name, target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dlspec.ir.types import TensorType
    from dlspec.ops.base import Op
    from dlspec.outline import Env, Step

BINARY: dict[type[Op], str] = {
    elementwise.Add: "+",
    elementwise.Sub: "−",
    elementwise.Mul: "×",
    elementwise.Div: "÷",
    elementwise.Pow: "^",
    elementwise.Maximum: "max",
    elementwise.Minimum: "min",
}
MODULES = {
    "conv": "convolution",
    "conv_transpose": "convolution",
    "linalg": "dense",
    "attention": "dense",
    "recurrent": "dense",
    "norm": "normalisation",
    "layernorm": "normalisation",
    "response": "normalisation",
    "activations": "activation",
    "thresholds": "activation",
    "prelu": "activation",
    "gated": "activation",
    "pool": "pooling",
    "reduce": "reduction",
    "statistics": "reduction",
    "shape": "shape",
    "movement": "shape",
    "patterns": "shape",
    "padding": "shape",
    "patches": "shape",
    "resize": "shape",
    "random": "random",
    "noise": "random",
    "indexing": "lookup",
    "loss": "loss",
    "regression": "loss",
    "margins": "loss",
    "overlap": "loss",
    "weighted": "loss",
}


def family(step: Step) -> str:
    """The family of a step: one of `theme.FAMILIES`."""
    op = step.main.op
    if isinstance(op, shape.Concat | shape.Stack):
        return "merge"
    if type(op) in BINARY and len(step.operands) > 1:
        return "merge"
    named = _registered().get(step.name)
    if named is None:
        named = type(op).__module__.rpartition(".")[2]
    return MODULES.get(named, "arithmetic")


@cache
def _registered() -> dict[str, str]:
    from dlspec.ops.registry import FAMILIES

    found = {name: module for module, names in FAMILIES.items() for name in names}
    return found | {name: "pool" for name in found if name.startswith(("global_", "adaptive_"))}


def sign(step: Step) -> str:
    """The sign of an operation on several tensors that is drawn as a circle; else ""."""
    op = step.main.op
    if family(step) != "merge" or type(op) not in BINARY:
        return ""
    text = BINARY[type(op)]
    return text if len(text) == 1 and not step.weights else ""


def label(step: Step, env: Env) -> str:
    """`conv 64, 7×7, /2`."""
    node = step.main
    operands = [v.type.substitute(env) for v in node.operands]
    results = [v.type.substitute(env) for v in node.results]
    write = WRITERS.get(type(node.op))
    details = write(node.op, operands, results, env) if write is not None else ""
    if type(node.op) in BINARY:
        return _binary(step, env)
    name = step.name.replace("_", " ")
    return f"{name} {details}" if details else name


def _binary(step: Step, env: Env) -> str:
    """`× 4`, `+ bias`; the name of the operation where both sides are tensors."""
    op = step.main.op
    word = BINARY[type(op)]
    if step.name != op_name(op):
        return step.name.replace("_", " ")
    others: list[str] = []
    for slot in step.weights:
        owner = target(slot)
        others.append(str(owner.segment) if isinstance(owner, WeightSlot) else str(slot.segment))
    for node in step.ops:
        if isinstance(node.op, elementwise.Constant):
            others.append(number(node.op.value, env))
    return f"{word} {', '.join(others)}" if others else step.name


def number(value: object, env: Env) -> str:
    """A static value as text, its symbols in the model's terms."""
    if isinstance(value, Dim):
        return str(value.substitute(env))
    if isinstance(value, Known):
        return number(value.value, env)
    return f"{value:g}" if isinstance(value, float) else str(value)


def window(dims: Sequence[Dim], env: Env) -> str:
    return "×".join(number(d, env) for d in dims)


def _one(dims: Sequence[Dim], env: Env) -> str:
    """`2` where all are equal, else `2×1`."""
    texts = [number(d, env) for d in dims]
    return texts[0] if len(set(texts)) == 1 else "×".join(texts)


def _conv(op: Op, operands: Sequence[TensorType], results: Sequence[TensorType], env: Env) -> str:
    assert isinstance(op, conv.Window)
    weight = operands[1].shape
    transposed = isinstance(op, conv.ConvInputGrad | conv_transpose.ConvTranspose)
    parts = [number(results[0].shape[1], env), window(weight[2:], env)]
    if _one(op.stride, env) != "1":
        parts.append(("×" if transposed else "/") + _one(op.stride, env))
    if _one(op.dilation, env) != "1":
        parts.append(f"dilation {_one(op.dilation, env)}")
    groups = number(op.groups, env)
    if groups != "1":
        parts.append(
            "depthwise" if groups == number(operands[0].shape[1], env) else f"groups {groups}"
        )
    return ", ".join(parts)


def _pool(op: Op, operands: Sequence[TensorType], results: Sequence[TensorType], env: Env) -> str:
    assert isinstance(op, pool.Pooling)
    text = window(op.kernel, env)
    return (
        text
        if _one(op.stride, env) == _one(op.kernel, env)
        else f"{text}, /" + _one(op.stride, env)
    )


def _last(op: Op, operands: Sequence[TensorType], results: Sequence[TensorType], env: Env) -> str:
    return number(results[0].shape[-1], env) if results[0].shape else ""


def _table(op: Op, operands: Sequence[TensorType], results: Sequence[TensorType], env: Env) -> str:
    for kind in operands:
        if kind.rank == 2 and kind.dtype.is_float:
            return window(kind.shape, env)
    return ""


def _attribute(
    name: str, before: str = ""
) -> Callable[[Op, Sequence[TensorType], Sequence[TensorType], Env], str]:
    def write(
        op: Op, operands: Sequence[TensorType], results: Sequence[TensorType], env: Env
    ) -> str:
        return before + number(getattr(op, name), env)

    return write


WRITERS: dict[type[Op], Callable[[Op, Sequence[TensorType], Sequence[TensorType], Env], str]] = {
    conv.Conv: _conv,
    conv.ConvInputGrad: _conv,
    conv_transpose.ConvTranspose: _conv,
    pool.MaxPool: _pool,
    pool.AvgPool: _pool,
    linalg.Linear: _last,
    linalg.Einsum: _attribute("equation"),
    random.Dropout: _attribute("p"),
    indexing.Embedding: _table,
    shape.Concat: _attribute("axis", "axis "),
    shape.Stack: _attribute("axis", "axis "),
    reduce.ArgMax: _attribute("axis", "axis "),
}


def default_segment(name: str, segment: str) -> bool:
    """Whether a slot has the name that a layer gets by itself: `conv`, `conv.2`."""
    head = segment.partition(".")[0]
    return head.replace("_", "").lower() == name.replace("_", "").lower()


def owner_name(step: Step) -> str:
    """The name that the spec gave to the step's instance, or ""."""
    slot = step.slot
    if slot is None:
        return ""
    owner = target(slot)
    name = owner.layer if isinstance(owner, LayerSlot) else step.name
    text = str(slot.segment)
    return "" if default_segment(name, text) else text
