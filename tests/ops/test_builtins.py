"""The built-ins of the language: shapes, weights, attributes, symbolic arguments, errors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from dlspec import codes
from dlspec.ir.dims import Dim
from dlspec.ir.facts import Facts
from dlspec.ir.graph import Function, Init, OpNode
from dlspec.ir.static import Known, ParamRef, Sequence, Symbol
from dlspec.ir.types import DType
from dlspec.ops import registry
from dlspec.ops.build import BuildError
from dlspec.ops.conv import Conv
from dlspec.ops.random import Dropout

from .layers import Layers, apply

I64 = DType.I64


def seq(*items: Any) -> Sequence:
    """A list as static code has it."""
    return Sequence(tuple(Dim.of(n) if isinstance(n, int) else n for n in items))


Shape = tuple[Any, ...]

# name, input shapes, arguments, result
RESULTS: list[tuple[str, list[Shape], dict[str, Any], str]] = [
    ("conv", [("N", 3, 32, 32)], {"channels": 6, "kernel": 5}, "[N, 6, 28, 28]"),
    ("conv", [("N", 3, "H", "W")], {"channels": 6, "kernel": 3, "padding": 1}, "[N, 6, H, W]"),
    ("conv", [("N", 3, "H", "W")], {"channels": 6, "kernel": 4, "padding": "same"}, "[N, 6, H, W]"),
    (
        "conv",
        [("N", 3, "H", "W")],
        {"channels": 6, "kernel": 3, "stride": 2, "padding": "same"},
        "[N, 6, (H + 1) // 2, (W + 1) // 2]",
    ),
    (
        "conv",
        [("N", 4, 10, 20)],
        {"channels": 8, "kernel": seq(1, 7), "padding": seq(0, 3), "groups": 2},
        "[N, 8, 10, 20]",
    ),
    (
        "conv",
        [("N", 4, 10)],
        {"channels": 8, "kernel": 3, "padding": seq(seq(2, 0)), "dilation": 2},
        "[N, 8, 8]",
    ),
    ("conv", [("N", 1, 5, 6, 7)], {"channels": 2, "kernel": 3}, "[N, 2, 3, 4, 5]"),
    ("dense", [("N", "T", 8)], {"units": 4, "bias": False}, "[N, T, 4]"),
    ("max_pool", [("N", 3, 28, 28)], {"size": 2}, "[N, 3, 14, 14]"),
    ("max_pool", [("N", 3, 7, 7)], {"size": 2, "ceil": True}, "[N, 3, 4, 4]"),
    ("avg_pool", [("N", 3, 9, 9)], {"size": 3, "stride": 2, "padding": 1}, "[N, 3, 5, 5]"),
    ("global_avg_pool", [("N", 3, "H", "W")], {}, "[N, 3]"),
    ("global_max_pool", [("N", 3, "T")], {"keepdims": True}, "[N, 3, 1]"),
    ("batch_norm", [("N", 3, "H", "W")], {}, "[N, 3, H, W]"),
    ("dropout", [("N", 3)], {"p": 0.2}, "[N, 3]"),
    ("concat", [("N", 2), ("N", "D")], {}, "[N, D + 2]"),
    ("stack", [("N", 2), ("N", 2)], {"axis": 1}, "[N, 2, 2]"),
    ("reshape", [("N", 6)], {"shape": seq(Dim.symbol("N"), 2, 3)}, "[N, 2, 3]"),
    ("reshape", [("N", 6)], {"shape": seq(2, -1)}, "[2, 3 * N]"),
    ("flatten", [("N", 2, 3, 4)], {}, "[N, 24]"),
    ("transpose", [("N", "T", "D")], {}, "[N, D, T]"),
    ("unsqueeze", [("N", "T")], {"axis": 1}, "[N, 1, T]"),
    ("squeeze", [("N", 1)], {"axis": -1}, "[N]"),
    ("sum", [("N", "T")], {}, "[]"),
    ("mean", [("N", "T")], {"axis": -1, "keepdims": True}, "[N, 1]"),
    ("max", [("N", "T", 3)], {"axis": seq(0, 2)}, "[T]"),
    ("var", [("N", 4)], {"axis": -1}, "[N]"),
    ("std", [(3, 4)], {}, "[]"),
    ("argmax", [("N", 4)], {}, "i64[N]"),
    ("softmax", [("N", 4)], {}, "[N, 4]"),
    ("gelu", [("N", 4)], {"approximate": "tanh"}, "[N, 4]"),
    ("leaky_relu", [("N", 4)], {"slope": 0.2}, "[N, 4]"),
    ("maximum", [("N", 4), ()], {}, "[N, 4]"),
    ("matmul", [("N", "T", 4), (4, 5)], {}, "[N, T, 5]"),
    ("matmul", [(4,), (4, 5)], {}, "[5]"),
    ("matmul", [("N", 4), (4,)], {}, "[N]"),
    ("matmul", [(4,), (4,)], {}, "[]"),
    ("einsum", [("N", "K"), ("K", "D")], {"equation": "nk, kd -> nd"}, "[N, D]"),
    ("einsum", [("N", "K"), ("K", "D")], {"equation": "nk,kd"}, "[D, N]"),
    ("pad", [("N", 4)], {"widths": seq(0, seq(1, 2))}, "[N, 7]"),
    ("center_crop", [("N", 3, 10, 11)], {"height": 4, "width": 11}, "[N, 3, 4, 11]"),
    ("arange", [], {"start": Dim.symbol("T")}, "i64[T]"),
    ("arange", [], {"start": 2, "stop": 7, "step": 2}, "i64[3]"),
    ("zeros", [], {"shape": seq(2, 3)}, "[2, 3]"),
    ("normal", [], {"shape": seq(Dim.symbol("N"), 3)}, "[N, 3]"),
    ("bernoulli", [], {"shape": seq(Dim.symbol("N"), 3), "p": 0.2}, "[N, 3]"),
    ("gumbel", [], {"shape": seq(Dim.symbol("N"), 3)}, "[N, 3]"),
    ("gumbel_softmax", [("N", 3)], {"temperature": 0.5, "hard": True}, "[N, 3]"),
    ("dropout2d", [("N", 3, "H", "W")], {"p": 0.2}, "[N, 3, H, W]"),
    ("drop_path", [("N", "T", 4)], {}, "[N, T, 4]"),
    ("clip", [("N",)], {"low": 0.0, "high": 1.0}, "[N]"),
    ("cast", [("N",)], {"dtype": "bool"}, "bool[N]"),
    ("mse", [("N", 4), ("N", 4)], {}, "[]"),
    ("mae", [("N", 4), ()], {"reduction": "none"}, "[N, 4]"),
    ("huber", [("N", 4), ("N", 4)], {"delta": 2.0}, "[]"),
    ("bce_with_logits", [("N", 1), ()], {"reduction": "sum"}, "[]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "arguments", "result"), RESULTS)
def test_result(name: str, inputs: list[Shape], arguments: dict[str, Any], result: str) -> None:
    b = Layers()
    y = apply(b, name, *[b.input(*shape) for shape in inputs], **arguments)
    assert str(y.type) == result


def test_labels_and_tables() -> None:
    b = Layers()
    tokens, label = b.input("N", "T", dtype=I64), b.input("N", dtype=I64)
    rows = apply(b, "embedding", tokens, count=100, size=8)
    assert str(rows.type) == "[N, T, 8]"
    assert str(apply(b, "one_hot", tokens, classes=5).type) == "[N, T, 5]"
    logits = b.input("N", 10)
    assert str(apply(b, "cross_entropy", logits, label).type) == "[]"
    assert str(apply(b, "accuracy", logits, label).type) == "[]"
    assert str(apply(b, "accuracy", logits, label, ignore=0).type) == "[]"
    hot = b.input("N")
    assert str(apply(b, "binary_accuracy", hot, label).type) == "[]"
    mask = b.input("N", dtype=DType.BOOL)
    loss = apply(b, "cross_entropy", logits, label, mask=mask, smoothing=0.1, ignore=-100)
    assert str(loss.type) == "[]"


def test_split_in_parts_and_sizes() -> None:
    b = Layers()
    x = b.input("N", 12)
    assert [str(y.type) for y in apply(b, "split", x, parts=3)] == ["[N, 4]"] * 3
    parts = apply(b, "split", x, parts=seq(5, 7), axis=1)
    assert [str(y.type) for y in parts] == ["[N, 5]", "[N, 7]"]


def test_transpose_by_a_permutation() -> None:
    b = Layers()
    x = b.input("N", "T", "D")
    assert str(apply(b, "transpose", x, **{"*perm": (Dim.of(2), Dim.of(0), Dim.of(1))}).type) == (
        "[D, N, T]"
    )


BAD, ODD, SMALL = codes.BAD_ARGUMENT, codes.NOT_DIVISIBLE, codes.NEGATIVE_SIZE

# name, input shape, arguments, code, words of the message
ERRORS: list[tuple[str, list[Shape], dict[str, Any], codes.Code, str]] = [
    ("conv", [("N", 3, 4, 4)], {"channels": 6, "kernel": 5}, SMALL, "5×5"),
    ("conv", [("N", 3, 4, 4)], {"channels": 6, "kernel": 0}, BAD, "kernel is 0"),
    ("conv", [("N", 3, 4, 4)], {"channels": 0, "kernel": 1}, BAD, "channels is 0"),
    ("conv", [("N", 3, 4, 4)], {"channels": 4, "kernel": 1, "stride": 0}, BAD, "stride"),
    ("conv", [("N", 3, 4, 4)], {"channels": 4, "kernel": 1, "padding": "full"}, BAD, "full"),
    ("conv", [("N", 3, 4, 4)], {"channels": 4, "kernel": 1, "padding": -1}, BAD, "-1"),
    ("conv", [("N", 3, 4, 4)], {"channels": 4, "kernel": seq(1, 2, 3)}, BAD, "3 entries"),
    ("conv", [("N", 6, 4, 4)], {"channels": 8, "kernel": 1, "groups": 4}, ODD, "6 input"),
    ("conv", [("N", 8, 4, 4)], {"channels": 6, "kernel": 1, "groups": 4}, ODD, "6 output"),
    ("conv", [("N", 3)], {"channels": 4, "kernel": 1}, codes.RANK, "[N, 3]"),
    ("dense", [()], {"units": 4}, codes.RANK, "dense"),
    ("dense", [("N", 3)], {"units": 0}, BAD, "units is 0"),
    ("max_pool", [("N", 3, 4, 4)], {"size": 5}, SMALL, "5×5"),
    ("max_pool", [("N", 3, 4, 4)], {"size": 2, "padding": 2}, BAD, "padding 2"),
    ("batch_norm", [(1, 3)], {}, codes.SINGLE_VALUE_NORM, "one value"),
    ("batch_norm", [("N", 3)], {"momentum": 2.0}, BAD, "momentum is 2.0"),
    ("dropout", [("N", 3)], {"p": 1.5}, BAD, "p is 1.5"),
    ("drop_path", [("N", 3)], {"p": -0.5}, BAD, "p is -0.5"),
    ("dropout1d", [("N", 3)], {}, codes.RANK, "1 axes more"),
    ("bernoulli", [], {"shape": seq(3), "p": 2.0}, BAD, "p is 2.0"),
    ("gumbel_softmax", [("N", 3)], {"temperature": 0.0}, BAD, "must be positive"),
    ("softmax", [("N", 3)], {"axis": 2}, BAD, "no axis 2"),
    ("gelu", [("N", 3)], {"approximate": "fast"}, BAD, "fast"),
    ("concat", [("N", 3, 4), ("N", 3, 5)], {"axis": 1}, codes.SHAPE, "[N, 3, 5]"),
    ("split", [("N", 10)], {"parts": 3}, ODD, "3 parts"),
    ("split", [("N", 10)], {"parts": seq(3, 4)}, codes.SHAPE, "7"),
    ("reshape", [("N", 6)], {"shape": seq(Dim.symbol("N"), 5)}, codes.SHAPE, "reshape"),
    ("squeeze", [("N", 2)], {"axis": 1}, codes.SHAPE, "not of size 1"),
    ("sum", [("N", 2)], {"axis": seq(0, 0)}, BAD, "twice"),
    ("clip", [("N",)], {"low": 2.0, "high": 1.0}, BAD, "above"),
    ("matmul", [("N", 3), (4, 5)], {}, codes.SHAPE, "[N, 3] @ [4, 5]"),
    ("maximum", [("N", 3), (4,)], {}, codes.SHAPE, "[N, 3] and [4]"),
    ("einsum", [("N", 3)], {"equation": "ab,bc->ac"}, BAD, "2 tensors"),
    ("einsum", [("N", 3)], {"equation": "aa->a"}, BAD, "twice"),
    ("mse", [("N", 1), ("N",)], {}, codes.RANK, "[N, 1] and [N]"),
    ("mse", [("N", 1), ("N", 2)], {"reduction": "max"}, BAD, "max"),
    ("embedding", [("N", 1)], {"count": 4, "size": 2}, codes.DTYPE, "integers"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "arguments", "code", "words"), ERRORS)
def test_error(
    name: str, inputs: list[Shape], arguments: dict[str, Any], code: codes.Code, words: str
) -> None:
    b = Layers()
    with pytest.raises(BuildError) as caught:
        apply(b, name, *[b.input(*shape) for shape in inputs], **arguments)
    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value


def test_element_types_never_mix_silently() -> None:
    b = Layers()
    x, i = b.input("N"), b.input("N", dtype=I64)
    for name, operands in (("log", (i,)), ("maximum", (x, i)), ("mse", (x, i)), ("all", (x,))):
        with pytest.raises(BuildError) as caught:
            apply(b, name, *operands)
        assert caught.value.code is codes.DTYPE


def test_labels_on_the_wrong_axis_are_told_where_the_classes_are() -> None:
    b = Layers()
    logits, label = b.input("N", 5, 8, 9), b.input("N", 8, 9, dtype=I64)
    with pytest.raises(BuildError) as caught:
        apply(b, "cross_entropy", logits, label)
    assert caught.value.code is codes.SHAPE
    assert str(apply(b, "cross_entropy", logits, label, axis=1).type) == "[]"


def test_unknown_sizes_become_requirements() -> None:
    b = Layers()
    apply(b, "conv", b.input("N", 3, "H", 8), channels=4, kernel=5)
    assert [str(r.relation) for r in b.function.requirements] == ["H - 4 >= 1"]
    b = Layers()
    apply(b, "maximum", b.input("N", "A"), b.input("N", "B"))
    assert [str(r.relation) for r in b.function.requirements] == ["A == B"]


def parameterised(**values: int) -> Layers:
    symbols = {name: Symbol("param", value) for name, value in values.items()}
    return Layers(Function("f", "block", symbols=symbols), Facts())


def test_arguments_stay_symbolic() -> None:
    b = parameterised(kernel=3, channels=8)
    kernel, channels = Dim.symbol("kernel"), Dim.symbol("channels")
    x = b.input("N", "C", "H", "W")
    y = apply(b, "conv", x, channels=channels, kernel=kernel, padding=kernel // 2, bias=False)
    assert y.type.shape[1] == channels
    node = b.body[-1]
    assert isinstance(node, OpNode) and isinstance(node.op, Conv)
    assert node.op.padding == ((kernel // 2, kernel // 2),) * 2
    assert b.slot.attributes["padding"] == node.op.padding
    weight = b.slot.weights["weight"]
    assert weight.type.shape == (channels, Dim.symbol("C"), kernel, kernel)
    assert not b.function.requirements


def test_depthwise_groups_are_the_channels() -> None:
    b = Layers()
    c = Dim.symbol("C")
    y = apply(b, "conv", b.input("N", "C", 8, 8), channels=c, kernel=3, padding=1, groups=c)
    assert y.type.shape[1] == c
    assert [str(n) for n in b.slot.weights["weight"].type.shape] == ["C", "1", "3", "3"]
    assert not b.function.requirements


def test_numbers_keep_their_origin() -> None:
    b = Layers()
    p = Known(0.3, ParamRef("p"))
    apply(b, "dropout", b.input("N", 3), p=p)
    node = b.body[-1]
    assert isinstance(node, OpNode) and node.op == Dropout(p)
    with pytest.raises(BuildError):
        apply(b, "dropout", b.input("N", 3), p=Known(3.0, ParamRef("p")))


def test_attributes_are_what_a_frameworks_layer_wants() -> None:
    wanted = {
        "conv": {"in_channels", "channels", "kernel", "stride", "padding", "dilation", "groups"}
        | {"bias"},
        "dense": {"in_features", "units", "bias"},
        "batch_norm": {"features", "eps", "momentum", "scale", "shift", "rank"},
    }
    for name, keys in wanted.items():
        b = Layers()
        arguments: dict[str, Any] = {"conv": {"channels": 2, "kernel": 1}, "dense": {"units": 2}}
        apply(b, name, b.input("N", 3, 4, 4), **arguments.get(name, {}))
        assert b.slot.attributes.keys() == keys
    b = Layers()
    apply(b, "embedding", b.input("N", dtype=I64), count=5, size=2)
    assert b.slot.attributes == {"count": Dim.of(5), "size": Dim.of(2), "padding_index": None}


def test_initial_weights_are_torchs_unless_chosen() -> None:
    b = Layers()
    apply(b, "conv", b.input("N", 4, 8, 8), channels=6, kernel=3, groups=2)
    weight, bias = b.slot.weights["weight"].init, b.slot.weights["bias"].init
    assert (weight.kind, dict(weight.args)["fan_in"]) == ("kaiming_uniform", Dim.of(18))
    assert dict(weight.args)["a"] == pytest.approx(5**0.5)
    assert (bias.kind, dict(bias.args)) == ("fan_in_uniform", {"fan_in": Dim.of(18)})
    b = Layers()
    apply(b, "dense", b.input("N", 4), units=6, init=Init("glorot_uniform"))
    chosen = b.slot.weights["weight"].init
    assert chosen.kind == "glorot_uniform"
    assert dict(chosen.args) == {"fan_in": Dim.of(4), "fan_out": Dim.of(6)}
    b = Layers()
    apply(b, "embedding", b.input("N", dtype=I64), count=5, size=2)
    assert b.slot.weights["weight"].init == Init("normal", (("mean", 0.0), ("std", 1.0)))


def test_batch_norm_updates_its_buffers() -> None:
    b = Layers()
    apply(b, "batch_norm", b.input("N", 3), scale=False)
    names = {name: w.trainable for name, w in b.slot.weights.items()}
    assert names == {"bias": True, "running_mean": False, "running_var": False}
    node = b.body[-1]
    assert isinstance(node, OpNode)
    assert [result for _, result in node.updates] == list(node.results[1:3])


def test_the_registry_names_what_the_modules_define() -> None:
    from importlib import import_module

    for family, names in registry.FAMILIES.items():
        module = import_module(f"dlspec.ops.{family}")
        assert tuple(builtin.name for builtin in module.BUILTINS) == names, family
    everywhere = [name for names in registry.FAMILIES.values() for name in names]
    assert len(set(everywhere)) == len(everywhere)
    assert registry.find("no_such_thing") is None


def test_every_builtin_says_what_it_does() -> None:
    for name in registry.names():
        builtin = registry.find(name)
        assert builtin is not None and builtin.doc.strip(), name


def test_only_the_named_family_is_imported() -> None:
    program = (
        "import sys; from dlspec.ops.registry import find; find('relu');"
        "loaded = {m for m in sys.modules if m.startswith('dlspec.ops.')};"
        "assert 'dlspec.ops.conv' not in loaded and 'dlspec.ops.loss' not in loaded, loaded;"
        "find('cross_entropy'); find('conv'); import dlspec.ops.optimizers;"
        "assert not {'numpy', 'torch', 'jax', 'networkx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
