"""Slots as statements of `__init__`: torch's own layers, parameters, buffers, initial weights."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from dlspec.codegen import assign, python, unsupported_at
from dlspec.ir.dims import Dim
from dlspec.ir.graph import LayerSlot, Weight
from dlspec.ir.inits import TRUNCATED, VARIANCE
from dlspec.ir.static import plain
from dlspec_torch.rows import recurrent
from dlspec_torch.rows.windows import (
    ONE,
    ZERO,
    scalar_or_tuple,
    symmetric,
    transposed_keywords,
    window_keywords,
)

if TYPE_CHECKING:
    from dlspec.codegen import Statement, StaticPrinter

LayerRow = Callable[[LayerSlot, "StaticPrinter"], ast.expr]


def _pairs(slot: LayerSlot) -> list[tuple[Dim, Dim]] | None:
    """The padding of a convolution; None for "same", which depends on the input."""
    padding: Any = slot.attributes["padding"]
    return None if isinstance(padding, str) else list(padding)


def pads_outside(slot: LayerSlot) -> bool:
    """Whether a convolution's padding is none that nn.ConvNd knows, so that F.pad does it."""
    pairs = _pairs(slot)
    return pairs is None or not symmetric(pairs)


def conv(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    a: dict[str, Any] = slot.attributes
    keywords: dict[str, ast.expr] = window_keywords(a["stride"], a["dilation"], a["groups"], static)
    pairs = _pairs(slot)
    if pairs is not None and symmetric(pairs) and any(p != ZERO for p, _ in pairs):
        padding = scalar_or_tuple([before for before, _ in pairs], static)
        keywords = _ordered(keywords, "padding", padding)
    _flag(keywords, "bias", a["bias"], static)
    channels = [static.dim(a["in_channels"]), static.dim(a["channels"])]
    kernel = scalar_or_tuple(a["kernel"], static)
    return python.call(f"nn.Conv{len(a['kernel'])}d", *channels, kernel, **keywords)


def conv_transpose(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    a: dict[str, Any] = slot.attributes
    window = SimpleNamespace(stride=a["stride"], dilation=a["dilation"], groups=a["groups"])
    keywords = transposed_keywords(window, a["padding"], a["output_padding"], static)
    dilation = keywords.pop("dilation", None)
    _flag(keywords, "bias", a["bias"], static)
    if dilation is not None:
        keywords["dilation"] = dilation
    channels = [static.dim(a["in_channels"]), static.dim(a["channels"])]
    kernel = scalar_or_tuple(a["kernel"], static)
    return python.call(f"nn.ConvTranspose{len(a['kernel'])}d", *channels, kernel, **keywords)


def _ordered(keywords: dict[str, ast.expr], name: str, value: ast.expr) -> dict[str, ast.expr]:
    """The keyword in the place that it has in torch's signature."""
    order = ("stride", "padding", "dilation", "groups")
    found = {**keywords, name: value}
    return {key: found[key] for key in order if key in found}


def _flag(keywords: dict[str, ast.expr], name: str, value: Any, static: StaticPrinter) -> None:
    """A flag that is true by default."""
    printed = static.value(value)
    if not (isinstance(printed, ast.Constant) and printed.value is True):
        keywords[name] = printed


def dense(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    a: dict[str, Any] = slot.attributes
    keywords: dict[str, ast.expr] = {}
    _flag(keywords, "bias", a["bias"], static)
    return python.call(
        "nn.Linear", static.dim(a["in_features"]), static.dim(a["units"]), **keywords
    )


def _numbers(
    keywords: dict[str, ast.expr], values: dict[str, tuple[Any, float]], static: StaticPrinter
) -> None:
    """Numbers that differ from torch's default."""
    for name, (value, default) in values.items():
        printed = static.value(value)
        if not (isinstance(printed, ast.Constant) and printed.value == default):
            keywords[name] = printed


def batch_norm(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    a: dict[str, Any] = slot.attributes
    keywords: dict[str, ast.expr] = {}
    _numbers(keywords, {"eps": (a["eps"], 1e-5), "momentum": (a["momentum"], 0.1)}, static)
    if not slot.weights.keys() & {"weight", "bias"}:
        keywords["affine"] = python.constant(False)
    rank = max(int(str(plain(a["rank"]))) - 2, 1)
    return python.call(f"nn.BatchNorm{rank}d", static.dim(a["features"]), **keywords)


def layer_norm(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    a: dict[str, Any] = slot.attributes
    keywords: dict[str, ast.expr] = {}
    _numbers(keywords, {"eps": (a["eps"], 1e-5)}, static)
    if not slot.weights:
        keywords["elementwise_affine"] = python.constant(False)
    elif slot.weights.keys() == {"weight"}:
        keywords["bias"] = python.constant(False)
    return python.call("nn.LayerNorm", _extents(a["shape"], static), **keywords)


def _extents(shape: tuple[Dim, ...], static: StaticPrinter) -> ast.expr:
    return static.dim(shape[0]) if len(shape) == 1 else static.shape(shape)


def rms_norm(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    a: dict[str, Any] = slot.attributes
    keywords = {"eps": static.value(a["eps"])}
    if not slot.weights:
        keywords["elementwise_affine"] = python.constant(False)
    return python.call("nn.RMSNorm", _extents(a["shape"], static), **keywords)


def group_norm(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    a: dict[str, Any] = slot.attributes
    keywords: dict[str, ast.expr] = {}
    _numbers(keywords, {"eps": (a["eps"], 1e-5)}, static)
    if not slot.weights:
        keywords["affine"] = python.constant(False)
    sizes = (static.dim(a["groups"]), static.dim(a["features"]))
    return python.call("nn.GroupNorm", *sizes, **keywords)


def instance_norm(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    a: dict[str, Any] = slot.attributes
    keywords: dict[str, ast.expr] = {}
    _numbers(keywords, {"eps": (a["eps"], 1e-5)}, static)
    if slot.weights:
        keywords["affine"] = python.constant(True)
    rank = int(str(plain(a["rank"])))
    return python.call(f"nn.InstanceNorm{rank}d", static.dim(a["features"]), **keywords)


def embedding(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    a: dict[str, Any] = slot.attributes
    keywords: dict[str, ast.expr] = {}
    if plain(a["padding_index"]) is not None:
        keywords["padding_idx"] = static.value(a["padding_index"])
    return python.call("nn.Embedding", static.dim(a["count"]), static.dim(a["size"]), **keywords)


def bilinear(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    a: dict[str, Any] = slot.attributes
    keywords: dict[str, ast.expr] = {}
    _flag(keywords, "bias", a["bias"], static)
    sizes = (static.dim(a[name]) for name in ("in_features", "other_features", "units"))
    return python.call("nn.Bilinear", *sizes, **keywords)


def prelu(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    slopes: Any = slot.attributes["slopes"]
    return python.call("nn.PReLU", *([] if slopes == ONE else [static.dim(slopes)]))


NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")
LAYERS: dict[str, LayerRow] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "dense": dense,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "embedding": embedding,
    "bilinear": bilinear,
    "prelu": prelu,
    **dict.fromkeys(("lstm", "gru", "rnn"), recurrent.layer),
}


def layer(slot: LayerSlot, static: StaticPrinter) -> ast.expr:
    row = LAYERS.get(slot.layer)
    if row is None:
        raise unsupported_at("torch", f"the layer {slot.layer}", slot.span)
    return row(slot, static)


def missing_weight(slot: LayerSlot) -> str | None:
    """The weight that torch's norm would have and this one has not."""
    here = slot.weights.keys() & {"weight", "bias"}
    if slot.layer not in NORMS or (slot.layer == "layer_norm" and here == {"weight"}):
        return None
    return ({"weight", "bias"} - here).pop() if len(here) == 1 else None


def without(slot: LayerSlot, place: ast.expr) -> list[ast.stmt]:
    """Statements that take from torch's norm at `place` the weight that this one has not."""
    name = missing_weight(slot)
    if name is None:
        return []
    if (slot.layer, name) != ("group_norm", "weight"):
        target = ast.Attribute(place, name, ast.Store())
        return [ast.Assign([target], python.constant(None), lineno=0)]
    # torch's gradient fails without a weight: ones, which are no part of the state
    ones = python.call("torch.ones_like", ast.Attribute(place, "bias", ast.Load()))
    keep = ast.Attribute(place, "register_buffer", ast.Load())
    buffer = python.call(keep, python.constant(name), ones, persistent=python.constant(False))
    return [ast.Delete([ast.Attribute(place, name, ast.Del())]), ast.Expr(buffer)]


# --- initial weights ---


def is_own_default(slot: LayerSlot, weight: Weight) -> bool:
    """Whether torch's layer draws the weight from this very distribution."""
    init = weight.init
    numbers = {name: value for name, value in init.args if isinstance(value, int | float)}
    match slot.layer, init.kind:
        case (("conv" | "conv_transpose" | "dense"), "kaiming_uniform"):
            return weight.name == "weight" and math.isclose(numbers.get("a", 0.0), math.sqrt(5.0))
        case (("conv" | "conv_transpose" | "dense"), "fan_in_uniform"):
            return weight.name == "bias"
        case (("bilinear" | "lstm" | "gru" | "rnn"), "fan_in_uniform"):
            return True
        case "batch_norm", "ones":
            return weight.name in ("weight", "running_var")
        case "batch_norm", "zeros":
            return weight.name in ("bias", "running_mean")
        case (("layer_norm" | "rms_norm" | "group_norm" | "instance_norm"), ("ones" | "zeros")):
            return (weight.name, init.kind) in (("weight", "ones"), ("bias", "zeros"))
        case "prelu", "constant":
            return numbers == {"value": 0.25}
        case "embedding", "normal":
            return numbers.get("mean") == 0.0 and numbers.get("std") == 1.0
        case _:
            return False


SPREAD = {
    "fan_in": "fan_in**-0.5",
    "fan_out": "fan_out**-0.5",
    "fan_avg": "(2 / (fan_in + fan_out)) ** 0.5",
}
UNIFORM = {
    "fan_in": "(3 / fan_in) ** 0.5",
    "fan_out": "(3 / fan_out) ** 0.5",
    "fan_avg": "(6 / (fan_in + fan_out)) ** 0.5",
}


def fans(shape: Sequence[Dim]) -> dict[str, Dim]:
    """The fans of a weight [out, in, *kernel]; a vector [n] has fan n both ways."""
    rows = shape[0] if shape else ONE
    columns = shape[1] if len(shape) > 1 else rows
    receptive = math.prod(shape[2:], start=ONE)
    return {"fan_in": columns * receptive, "fan_out": rows * receptive}


def blank_row(weight: Weight, target: ast.expr, static: StaticPrinter) -> list[Statement]:
    """`self.embedding.weight.data[0] = 0`, where a row starts at zero."""
    args = dict(weight.init.args)
    if "blank" not in args:
        return []
    data = ast.Attribute(target, "data", ast.Load())
    row = ast.Subscript(data, static.value(args["blank"]), ast.Load())
    return [assign([row], python.constant(0))]


def initialiser(weight: Weight, target: ast.expr, static: StaticPrinter) -> ast.expr:
    """A statement that fills target from the distribution."""
    init = weight.init
    args = {**fans(weight.type.shape), **dict(init.args)}
    rank = weight.type.rank

    def number(name: str, default: float = 0.0) -> ast.expr:
        return static.value(args.get(name, default))

    def fan(text: str) -> ast.expr:
        used = {n: static.value(args[n]) for n in ("fan_in", "fan_out", "a") if n in args}
        spread = python.substitute(python.expr(text), used)
        if args.get("gain", 1.0) == 1.0:
            return spread
        return ast.BinOp(number("gain"), ast.Mult(), spread)

    def uniform(bound: str) -> ast.expr:
        limit = fan(bound)
        return python.call("nn.init.uniform_", target, ast.UnaryOp(ast.USub(), limit), limit)

    match init.kind:
        case "zeros" | "ones":
            return python.call(f"nn.init.{init.kind}_", target)
        case "orthogonal" if rank > 1:
            gain = {} if args.get("gain", 1.0) == 1.0 else {"gain": number("gain")}
            return python.call("nn.init.orthogonal_", target, **gain)
        case "identity" if rank > 1:
            return python.call("nn.init.eye_" if rank == 2 else "nn.init.dirac_", target)
        case "constant":
            return python.call("nn.init.constant_", target, number("value"))
        case "normal":
            return python.call("nn.init.normal_", target, number("mean"), number("std", 1.0))
        case "uniform":
            return python.call("nn.init.uniform_", target, number("low"), number("high", 1.0))
        case "truncated_normal":
            mean, std = number("mean"), number("std", 1.0)
            two = python.substitute(python.expr("2 * s"), {"s": std})
            low, high = ast.BinOp(mean, ast.Sub(), two), ast.BinOp(mean, ast.Add(), two)
            return python.call("nn.init.trunc_normal_", target, mean, std, low, high)
        case "kaiming_uniform":
            return uniform("(6 / ((1 + a**2) * fan_in)) ** 0.5")
        case "fan_in_uniform":
            return uniform("fan_in**-0.5")
        case "he_uniform":
            return uniform("(6 / fan_in) ** 0.5")
        case "glorot_uniform":
            return uniform("(6 / (fan_in + fan_out)) ** 0.5")
        case "he_normal":
            return python.call("nn.init.normal_", target, std=fan("(2 / fan_in) ** 0.5"))
        case "glorot_normal":
            return python.call(
                "nn.init.normal_", target, std=fan("(2 / (fan_in + fan_out)) ** 0.5")
            )
        case kind if kind in VARIANCE:
            mode, distribution = VARIANCE[kind]
            if distribution == "uniform":
                return uniform(UNIFORM[mode])
            std = fan(SPREAD[mode])
            if distribution == "normal":
                return python.call("nn.init.normal_", target, std=std)
            std = ast.BinOp(std, ast.Div(), python.constant(TRUNCATED))
            two = python.substitute(python.expr("2 * s"), {"s": std})
            bounds = {"a": ast.UnaryOp(ast.USub(), two), "b": two}
            return python.call("nn.init.trunc_normal_", target, std=std, **bounds)
        case "lecun_uniform":
            return uniform("(3 / fan_in) ** 0.5")
        case "lecun_normal":
            return python.call("nn.init.normal_", target, std=fan("fan_in**-0.5"))
        case _:
            raise unsupported_at(
                "torch", f"the initialiser {init.kind} of rank {rank}", weight.span
            )
