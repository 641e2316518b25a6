"""Losses and metrics. reduction: "mean" (default), "sum", or "none" for one loss an element."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from dlspec.codes import BAD_ARGUMENT, DTYPE, RANK
from dlspec.ir.dims import Dim
from dlspec.ir.static import Known, plain
from dlspec.ir.types import DType, TensorType
from dlspec.ops import arguments as arg
from dlspec.ops.activations import LogSoftmax, Sigmoid, Softmax, Softplus
from dlspec.ops.base import Builtin, StaticParam
from dlspec.ops.composite import Composite
from dlspec.ops.elementwise import (
    Abs,
    Cast,
    Clip,
    Constant,
    Equal,
    Greater,
    Log,
    LogicalAnd,
    Maximum,
    NotEqual,
    Sign,
    StopGradient,
    Term,
    Where,
    reduce_to,
)
from dlspec.ops.indexing import OneHot, TakeAlong
from dlspec.ops.reduce import ArgMax, Mean, Sum
from dlspec.ops.rules import (
    axis_of,
    check_axis,
    check_float,
    check_int,
    name_of,
    product,
    require_equal,
    text,
)
from dlspec.ops.shape import Transpose, Unsqueeze

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dlspec.ir.graph import Value
    from dlspec.ops.base import Builder, LayerBuilder, Shapes

REDUCTIONS = ("mean", "sum", "none")


def reduce_loss(b: Builder, loss: Term, reduction: str) -> Value:
    if reduction == "none":
        return loss.value
    axes = tuple(range(loss.value.type.rank))
    return b.emit((Mean if reduction == "mean" else Sum)(axes), loss.value)


def check_pair(shapes: Shapes, name: str, x: TensorType, target: TensorType) -> DType:
    """Floats of one shape; the target may be a scalar for all."""
    dtype = check_float(shapes, name, x, target)
    if target.rank:
        check_same_shape(shapes, name, x, target)
    return dtype


def check_same_shape(shapes: Shapes, name: str, x: TensorType, target: TensorType) -> None:
    """One shape: a loss that broadcast [N] against [N, 1] would pair all with all."""
    message = f"{name}: {text(x.shape)} and {text(target.shape)} differ"
    if x.rank != target.rank:
        help = "a loss does not broadcast: `squeeze` or `unsqueeze` one of them"
        shapes.fail(RANK, message, help=help)
    for a, b in zip(x.shape, target.shape, strict=True):
        require_equal(shapes, a, b, message)


def reduction_of(b: LayerBuilder, name: str, statics: Mapping[str, Any]) -> str:
    return arg.word(b, f"{name}: reduction", statics["reduction"], REDUCTIONS)


# --- elementwise losses ---


@dataclass(frozen=True)
class ElementLoss(Composite):
    """A loss l(x, t) of each element and its target, reduced. The target has x's shape, or is a
    scalar for all."""

    reduction: str = "mean"

    cost: ClassVar[int] = 3

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        x, target = operands
        name = name_of(self)
        dtype = check_pair(shapes, name, x, target)
        return (TensorType(dtype, x.shape if self.reduction == "none" else ()),)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        x, target = operands
        return (reduce_loss(b, self.element(Term(b, x), Term(b, target)), self.reduction),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,), (x, target) = grads, operands
        if g is None:
            return (None, None)
        scale = Term(b, g)
        if self.reduction == "mean":
            scale = scale / product(x.type.shape)
        dx, dt = self.slopes(Term(b, x), Term(b, target), scale)
        return dx.value, reduce_to(b, dt.value, target)

    def element(self, x: Term, t: Term) -> Term:
        raise NotImplementedError

    def slopes(self, x: Term, t: Term, g: Term) -> tuple[Term, Term]:
        """g dl/dx and g dl/dt, each in x's shape."""
        raise NotImplementedError

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return self.cost * product(operands[0].shape)


@dataclass(frozen=True)
class MseLoss(ElementLoss):
    """(x - t)²"""

    def element(self, x: Term, t: Term) -> Term:
        return (x - t).square()

    def slopes(self, x: Term, t: Term, g: Term) -> tuple[Term, Term]:
        dx = (x - t) * (g * 2.0)
        return dx, -dx


@dataclass(frozen=True)
class MaeLoss(ElementLoss):
    """|x - t|, gradient 0 where they are equal."""

    def element(self, x: Term, t: Term) -> Term:
        return (x - t).apply(Abs())

    def slopes(self, x: Term, t: Term, g: Term) -> tuple[Term, Term]:
        dx = (x - t).apply(Sign()) * g
        return dx, -dx


@dataclass(frozen=True)
class HuberLoss(ElementLoss):
    """(x - t)² / 2 where |x - t| <= delta, else delta (|x - t| - delta / 2) (Huber 1964)."""

    delta: float | Known = 1.0

    cost: ClassVar[int] = 5

    def element(self, x: Term, t: Term) -> Term:
        distance, delta = (x - t).apply(Abs()), x.static(self.delta)
        return (distance <= delta).where(distance.square() * 0.5, delta * (distance - delta * 0.5))

    def slopes(self, x: Term, t: Term, g: Term) -> tuple[Term, Term]:
        difference, delta = x - t, x.static(self.delta)
        inside = difference.apply(Abs()) <= delta
        dx = inside.where(difference, difference.apply(Sign()) * delta) * g
        return dx, -dx


@dataclass(frozen=True)
class BceWithLogits(ElementLoss):
    """-t ln σ(x) - (1 - t) ln(1 - σ(x)) = softplus(x) - t x, without overflow."""

    cost: ClassVar[int] = 6

    def element(self, x: Term, t: Term) -> Term:
        return x.apply(Softplus()) - x * t

    def slopes(self, x: Term, t: Term, g: Term) -> tuple[Term, Term]:
        return (x.apply(Sigmoid()) - t) * g, -x * g


@dataclass(frozen=True)
class BceLoss(ElementLoss):
    """-t ln p - (1 - t) ln(1 - p), the logarithms not below -100 (torch). p: probabilities."""

    cost: ClassVar[int] = 8

    def element(self, x: Term, t: Term) -> Term:
        yes = x.apply(Log()).apply(Clip(-100.0))
        no = (1.0 - x).apply(Log()).apply(Clip(-100.0))
        return -(t * yes + (1.0 - t) * no)

    def slopes(self, x: Term, t: Term, g: Term) -> tuple[Term, Term]:
        # torch's bound on the denominator
        spread = (x * (1.0 - x)).apply(Maximum(), x.like(1e-12))
        yes = x.apply(Log()).apply(Clip(-100.0))
        no = (1.0 - x).apply(Log()).apply(Clip(-100.0))
        return (x - t) / spread * g, (no - yes) * g


# --- cross-entropy ---


@dataclass(frozen=True)
class ClassLoss(Composite):
    """What cross-entropy and its gradient have in common.

    Operands begin with logits, with K classes along `axis`, and integer labels of the shape
    without that axis; then weight [K] if `weighted`, and mask (bool, as the labels) if `masked`.
    A label counts when it is not `ignore` and its mask is true.
    """

    reduction: str = "mean"
    smoothing: float | Known = 0.0
    ignore: Dim | None = None
    axis: int = -1
    weighted: bool = False
    masked: bool = False

    def optional(self, operands: Sequence[Any]) -> tuple[Any | None, Any | None]:
        """(weight, mask) among the operands."""
        rest = iter(operands[2:])
        weight = next(rest) if self.weighted else None
        return weight, next(rest) if self.masked else None

    def is_smooth(self) -> bool:
        """Whether smoothing is computed: a parameter may be 0 in one instance only."""
        return isinstance(self.smoothing, Known) or self.smoothing != 0.0

    def valid(self, b: Builder, labels: Value, mask: Value | None) -> Value | None:
        """Which labels count; None for all."""
        if self.ignore is None:
            return mask
        ignored = b.emit(Constant(self.ignore, labels.type.dtype))
        kept = b.emit(NotEqual(), labels, ignored)
        return kept if mask is None else b.emit(LogicalAnd(), kept, mask)

    def safe_labels(self, b: Builder, labels: Value, valid: Value | None) -> Value:
        """Labels with a class in the place of those that do not count."""
        if valid is None:
            return labels
        return b.emit(Where(), valid, labels, b.constant(0, like=labels))

    def counted(
        self, b: Builder, logits: Value, labels: Value, weight: Value | None, valid: Value | None
    ) -> Term | None:
        """What each label weighs, in the labels' shape: its class's weight, 0 where it does not
        count; None for 1 everywhere."""
        from dlspec.ops.indexing import Take

        each: Term | None = None
        if weight is not None:
            each = Term(b, b.emit(Take(0), b.emit(StopGradient(), weight), labels))
        if valid is not None:
            zero = b.constant(0.0, like=logits)
            one = each.value if each is not None else b.constant(1.0, like=logits)
            each = Term(b, b.emit(Where(), valid, one, zero))
        return each

    def divided(self, b: Builder, value: Term, each: Term | None, labels: Value) -> Term:
        """value by the sum of what the labels weigh ("mean"); by 1 where that sum is 0."""
        if self.reduction != "mean":
            return value
        if each is None:
            return value / product(labels.type.shape)
        total = each.apply(Sum(tuple(range(labels.type.rank))))
        return value / (total == 0.0).where(total.like(1.0), total)

    def flops(self, operands: Sequence[TensorType], results: Sequence[TensorType]) -> Dim:
        return 6 * product(operands[0].shape)


@dataclass(frozen=True)
class CrossEntropy(ClassLoss):
    """-w[t] ln softmax(x)[t], with smoothing ε: (1 - ε) of that plus ε / K Σ_k -w[k] ln
    softmax(x)[k] (Szegedy et al. 2016). "mean" divides by the sum of the counted labels' weights;
    when none counts the loss is 0. No gradient reaches labels, weight and mask."""

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        logits, labels = operands[:2]
        weight, mask = self.optional(operands)
        dtype = check_float(shapes, "cross_entropy", logits)
        check_int(shapes, "cross_entropy", "the labels", labels)
        axis = check_axis(shapes, "cross_entropy", self.axis, logits.rank)
        check_class_labels(shapes, "cross_entropy", logits, labels, axis)
        if weight is not None:
            check_class_weight(shapes, "cross_entropy", weight, logits.shape[axis])
        if mask is not None:
            check_mask(shapes, "cross_entropy", mask, labels)
        return (TensorType(dtype, labels.shape if self.reduction == "none" else ()),)

    def gradient(
        self,
        b: Builder,
        operands: Sequence[Value],
        results: Sequence[Value],
        grads: Sequence[Value | None],
    ) -> Sequence[Value | None]:
        (g,) = grads
        if g is None:
            return (None,) * len(operands)
        op = CrossEntropyGrad(
            self.reduction, self.smoothing, self.ignore, self.axis, self.weighted, self.masked
        )
        return (b.emit(op, *operands, g), *(None,) * (len(operands) - 1))

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        logits, labels = operands[:2]
        weight, mask = self.optional(operands)
        valid = self.valid(b, labels, mask)
        labels = self.safe_labels(b, labels, valid)
        axis = axis_of(self.axis, logits.type.rank)
        logs = Term(b, b.emit(LogSoftmax(self.axis), logits))
        at_label = b.emit(TakeAlong(axis), logs.value, b.emit(Unsqueeze((axis,)), labels))
        own = -Term(b, b.emit(Sum((axis,)), at_label))
        each = self.counted(b, logits, labels, weight, valid)
        loss = own * each if each is not None else own
        if self.is_smooth():
            share = logs.static(self.smoothing)
            if weight is not None:
                logs = logs * Term(b, _along(b, weight, axis, logits.type.rank))
            spread = -(logs.apply(Sum((axis,))) / logits.type.shape[axis])
            if valid is not None:
                spread = spread * Term(b, b.emit(Cast(logits.type.dtype), valid))
            loss = loss * (1.0 - share) + spread * share
        if self.reduction == "none":
            return (loss.value,)
        total = loss.apply(Sum(tuple(range(labels.type.rank))))
        return (self.divided(b, total, each, labels).value,)


def check_class_labels(
    shapes: Shapes, name: str, logits: TensorType, labels: TensorType, axis: int
) -> None:
    """One label for each place of the logits; axis: that of the classes, counted from 0."""
    rest = (*logits.shape[:axis], *logits.shape[axis + 1 :])
    message = f"{name}: labels {text(labels.shape)} do not fit logits {text(logits.shape)}"
    help = "the classes are on the last axis; for [N, K, H, W] say `axis = 1`"
    if labels.rank != len(rest):
        shapes.fail(RANK, message, notes=[f"the labels should be {text(rest)}"], help=help)
    for a, b in zip(rest, labels.shape, strict=True):
        notes = [f"the labels should be {text(rest)}"]
        require_equal(shapes, a, b, message, notes=notes, help=help)


def check_class_weight(shapes: Shapes, name: str, weight: TensorType, classes: Dim) -> None:
    """A weight for each class."""
    check_float(shapes, name, weight)
    message = f"{name}: weight {text(weight.shape)} for {classes} classes"
    if weight.rank != 1:
        shapes.fail(RANK, message)
    require_equal(shapes, weight.shape[0], classes, message)


def check_mask(shapes: Shapes, name: str, mask: TensorType, labels: TensorType) -> None:
    if mask.dtype is not DType.BOOL:
        shapes.fail(DTYPE, f"{name}: the mask is {mask.dtype.value}, not bool")
    message = f"{name}: the mask {text(mask.shape)} and the labels {text(labels.shape)} differ"
    if mask.rank != labels.rank:
        shapes.fail(RANK, message)
    for a, b in zip(mask.shape, labels.shape, strict=True):
        require_equal(shapes, a, b, message)


def _along(b: Builder, vector: Value, axis: int, rank: int) -> Value:
    """A vector of constants as [1, …, K, …, 1] with K at `axis`."""
    vector = b.emit(StopGradient(), vector)
    new = tuple(i for i in range(rank) if i != axis)
    return b.emit(Unsqueeze(new), vector) if new else vector


@dataclass(frozen=True)
class CrossEntropyGrad(ClassLoss):
    """The gradient of CrossEntropy by the logits. Operands as there, then dloss.

    With q = (1 - ε) w[t] onehot(t) + ε / K w, which sums to s over the classes:
    dx = (s softmax(x) - q) dloss for labels that count, else 0.
    """

    def infer(self, operands: Sequence[TensorType], shapes: Shapes) -> tuple[TensorType, ...]:
        return (operands[0],)

    def expand(self, b: Builder, operands: Sequence[Value]) -> Sequence[Value]:
        logits, labels = operands[:2]
        weight, mask = self.optional(operands[:-1])
        valid = self.valid(b, labels, mask)
        labels = self.safe_labels(b, labels, valid)
        axis, rank = axis_of(self.axis, logits.type.rank), logits.type.rank
        classes = logits.type.shape[axis]
        each = self.counted(b, logits, labels, weight, valid)
        q = self._one_hot(b, logits, labels, axis, classes)
        if each is not None:
            q = q * Term(b, b.emit(Unsqueeze((axis,)), each.value))
        if self.is_smooth():
            share = q.static(self.smoothing)
            spread = share / classes
            if weight is not None:
                spread = Term(b, _along(b, weight, axis, rank)) * spread
            if valid is not None:
                kept = b.emit(Unsqueeze((axis,)), b.emit(Cast(logits.type.dtype), valid))
                spread = Term(b, kept) * spread
            q = q * (1.0 - share) + spread
        p = Term(b, b.emit(Softmax(self.axis), logits))
        if weight is not None or valid is not None:
            p = p * q.apply(Sum((axis,), True))
        g = self.divided(b, Term(b, operands[-1]), each, labels)
        if self.reduction == "none":
            g = Term(b, b.emit(Unsqueeze((axis,)), g.value))
        return (((p - q) * g).value,)

    def _one_hot(self, b: Builder, logits: Value, labels: Value, axis: int, classes: Dim) -> Term:
        hot = b.emit(OneHot(classes, logits.type.dtype), labels)
        rank = logits.type.rank
        if axis != rank - 1:
            perm = [*range(axis), rank - 1, *range(axis, rank - 1)]
            hot = b.emit(Transpose(tuple(perm)), hot)
        return Term(b, hot)


# --- the language ---


def _element_loss(
    op: type[ElementLoss],
    name: str,
    b: LayerBuilder,
    tensors: Mapping[str, Any],
    statics: Mapping[str, Any],
) -> Value:
    reduction = reduction_of(b, name, statics)
    if tensors.get("weight") is not None or tensors.get("pos_weight") is not None:
        from dlspec.ops.weighted import weighted_bce

        return weighted_bce(b, tensors, reduction, op is BceWithLogits)
    return b.emit(op(reduction), tensors["x"], tensors["target"])


def _huber(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    reduction = arg.word(b, "huber: reduction", statics["reduction"], REDUCTIONS)
    delta = arg.number(b, statics["delta"])
    if arg.bare(b, delta) <= 0:
        b.fail(BAD_ARGUMENT, f"huber: delta is {arg.bare(b, delta)}, but must be positive")
    return b.emit(HuberLoss(reduction, delta), tensors["x"], tensors["target"])


def _ignored(b: LayerBuilder, name: str, value: Any) -> Dim | None:
    return None if plain(value) is None else arg.dim(b, f"{name}: ignore", value)


def _cross_entropy(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    smoothing = arg.number(b, statics["smoothing"])
    if not 0 <= arg.bare(b, smoothing) <= 1:
        shown = arg.bare(b, smoothing)
        b.fail(BAD_ARGUMENT, f"cross_entropy: smoothing is {shown}, not between 0 and 1")
    logits: Value = tensors["logits"]
    reduction = reduction_of(b, "cross_entropy", statics)
    if tensors["label"].type.dtype.is_float:
        from dlspec.ops.weighted import soft_cross_entropy

        return soft_cross_entropy(b, tensors, statics, smoothing, reduction)
    op = CrossEntropy(
        reduction,
        smoothing,
        _ignored(b, "cross_entropy", statics["ignore"]),
        arg.axis(b, "cross_entropy", statics["axis"], logits.type.rank),
        tensors["weight"] is not None,
        tensors["mask"] is not None,
    )
    extra = [tensors[n] for n in ("weight", "mask") if tensors[n] is not None]
    return b.emit(op, logits, tensors["label"], *extra)


def _accuracy(b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]) -> Value:
    logits, label, mask = tensors["logits"], tensors["label"], tensors["mask"]
    check_int(b, "accuracy", "the labels", label.type)
    axis = arg.axis(b, "accuracy", statics["axis"], logits.type.rank)
    at = axis_of(axis, logits.type.rank)
    check_class_labels(b, "accuracy", logits.type, label.type, at)
    if mask is not None:
        check_mask(b, "accuracy", mask.type, label.type)
    best = b.emit(Cast(label.type.dtype), b.emit(ArgMax(axis), logits))
    hit = b.emit(Equal(), best, label)
    ignore = _ignored(b, "accuracy", statics["ignore"])
    if ignore is not None:
        kept = b.emit(NotEqual(), label, b.emit(Constant(ignore, label.type.dtype)))
        mask = kept if mask is None else b.emit(LogicalAnd(), kept, mask)
    return _share(b, hit, mask)


def _share(b: LayerBuilder, hit: Value, mask: Value | None) -> Value:
    """How many of those that count are hits; 0 when none counts."""
    axes = tuple(range(hit.type.rank))
    if mask is None:
        return b.emit(Mean(axes), b.emit(Cast(DType.FLOAT), hit))
    hits = b.emit(Cast(DType.FLOAT), b.emit(LogicalAnd(), hit, mask))
    total = Term(b, b.emit(Sum(axes), b.emit(Cast(DType.FLOAT), mask)))
    safe = total.apply(Maximum(), total.like(1.0))
    return (Term(b, b.emit(Sum(axes), hits)) / safe).value


def _binary_accuracy(
    b: LayerBuilder, tensors: Mapping[str, Any], statics: Mapping[str, Any]
) -> Value:
    x, label = tensors["x"], tensors["label"]
    check_float(b, "binary_accuracy", x.type)
    message = f"binary_accuracy: {text(x.type.shape)} and {text(label.type.shape)} differ"
    if x.type.rank != label.type.rank:
        b.fail(RANK, message)
    for one, other in zip(x.type.shape, label.type.shape, strict=True):
        require_equal(b, one, other, message)
    bound = b.emit(Constant(arg.number(b, statics["threshold"]), x.type.dtype))
    said = b.emit(Greater(), x, bound)
    half = b.constant(0.5 if label.type.dtype.is_float else 0, like=label)
    truth = label if label.type.dtype is DType.BOOL else b.emit(Greater(), label, half)
    return _share(b, b.emit(Equal(), said, truth), None)


REDUCTION = StaticParam("reduction", "mean", ("string",))


def _loss(name: str, op: type[ElementLoss], doc: str, optional: tuple[str, ...] = ()) -> Builtin:
    return Builtin(
        name,
        ("x", "target"),
        partial(_element_loss, op, name),
        (REDUCTION,),
        optional=optional,
        scalars=("target",),
        doc=doc,
    )


BUILTINS = (
    _loss("mse", MseLoss, "The mean of (x - target)²."),
    _loss("mae", MaeLoss, "The mean of |x - target|."),
    _loss(
        "bce_with_logits",
        BceWithLogits,
        "Binary cross-entropy of logits x.",
        ("weight", "pos_weight"),
    ),
    _loss("bce", BceLoss, "Binary cross-entropy of probabilities x.", ("weight",)),
    Builtin(
        "huber",
        ("x", "target"),
        _huber,
        (StaticParam("delta", 1.0, arg.NUMBER), REDUCTION),
        scalars=("target",),
        doc="Squared near 0, linear beyond delta.",
    ),
    Builtin(
        "cross_entropy",
        ("logits", "label"),
        _cross_entropy,
        (
            StaticParam("smoothing", 0.0, arg.NUMBER),
            StaticParam("ignore", None, ("int", "none")),
            StaticParam("axis", Dim.const(-1), ("int",)),
            REDUCTION,
        ),
        optional=("weight", "mask"),
        doc="Cross-entropy of logits, and labels or probabilities; classes on the last axis.",
    ),
    Builtin(
        "accuracy",
        ("logits", "label"),
        _accuracy,
        (
            StaticParam("ignore", None, ("int", "none")),
            StaticParam("axis", Dim.const(-1), ("int",)),
        ),
        optional=("mask",),
        doc="The share of labels that are the largest logit.",
    ),
    Builtin(
        "binary_accuracy",
        ("x", "label"),
        _binary_accuracy,
        (StaticParam("threshold", 0.0, arg.NUMBER),),
        doc="The share of labels (0 or 1) that x > threshold gets right.",
    ),
)
