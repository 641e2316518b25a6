"""Optimizers, with torch's definitions, and their update of one weight as IR.

A weight's update takes the weight w, its gradient g, the optimizer's slots (arrays of w's shape
that start at zero), the learning rate, and scalars that the host computes from the number of the
step; it gives the new weight and the new slots. Every optimizer here moves a weight by -lr times a
direction.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from dlspec.ir.dims import Dim
from dlspec.ir.graph import Function, Value
from dlspec.ir.static import Apply, Known, Origin, ParamRef
from dlspec.ir.types import DType, TensorType
from dlspec.ops.build import FunctionBuilder
from dlspec.ops.elementwise import Abs, Maximum, Sign, Sqrt, Term
from dlspec.ops.reduce import Sum

if TYPE_CHECKING:
    from collections.abc import Mapping


# settings that must stay below 1; all must be 0 or more
BELOW_ONE = frozenset({"alpha", "beta1", "beta2", "momentum", "rho"})


def range_problem(name: str, value: float) -> str:
    """What is wrong with the value of a setting, or ""."""
    if value >= 0 and (value < 1 or name not in BELOW_ONE):
        return ""
    span = "at least 0 and below 1" if name in BELOW_ONE else "0 or more"
    return f"{name} is {value}, but must be {span}"


@dataclass(frozen=True)
class Optimizer:
    """Settings are fields. slots: their kinds, as in checkpoints (torch's names).

    scalars: (name, Python expression over the settings and `step`, which counts from 1).
    rate: the learning rate where none is given; None: it must be given. whole: the update reads
    the norm of the weight, so it needs the whole of it.
    """

    name: ClassVar[str]
    rate: ClassVar[float | None] = 1e-3
    whole: ClassVar[bool] = False

    @property
    def slots(self) -> tuple[str, ...]:
        return ()

    @property
    def scalars(self) -> tuple[tuple[str, str], ...]:
        return ()

    def problems(self) -> list[str]:
        """What is wrong with the settings, in words."""
        found = (range_problem(k, v) for k, v in self.settings().items())
        return [problem for problem in found if problem]

    def settings(self) -> dict[str, float | bool]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        """The direction, then new slots. rest: slots and scalars by name."""
        raise NotImplementedError

    def setting(self, like: Term, name: str) -> Term:
        """A setting as a constant that remembers its name."""
        return like.static(Known(getattr(self, name), ParamRef(name)))

    def one_minus(self, like: Term, name: str) -> Term:
        origin: Origin = Apply("-", (Dim.const(1), ParamRef(name)))
        return like.static(Known(1.0 - getattr(self, name), origin))

    def decayed(self, g: Term, w: Term) -> Term:
        """g + weight_decay w."""
        decay: float = getattr(self, "weight_decay")  # noqa: B009
        return g + self.setting(w, "weight_decay") * w if decay else g

    def average(self, beta: str, old: Term, new: Term) -> Term:
        """beta old + (1 - beta) new."""
        return self.setting(old, beta) * old + self.one_minus(old, beta) * new

    def rule(self, shape: tuple[Dim, ...] = (Dim.symbol("n"),)) -> Function:
        """The direction as a function: inputs weight, grad, the slots, the scalars; outputs the
        direction and the new slots."""
        return self._function(shape, ())

    def function(self, shape: tuple[Dim, ...] = (Dim.symbol("n"),)) -> Function:
        """The update as a function: inputs weight, grad, the slots, lr, the scalars; outputs the
        new weight and slots."""
        return self._function(shape, ("lr",))

    def _function(self, shape: tuple[Dim, ...], lr: tuple[str, ...]) -> Function:
        scalars = [name for name, _ in self.scalars]
        arrays = ["weight", "grad", *self.slots]
        values = {name: Value(TensorType(DType.FLOAT, shape), name) for name in arrays}
        values |= {n: Value(TensorType(DType.FLOAT, ()), n) for n in [*lr, *scalars]}
        function = Function(self.name, "block", inputs=tuple(values.values()))
        b = FunctionBuilder(function)
        terms = {name: Term(b, value) for name, value in values.items()}
        first, *slots = self.direction(terms["grad"], terms["weight"], terms)
        if lr:
            first = terms["weight"] - terms["lr"] * first
        function.outputs = tuple(term.value for term in (first, *slots))
        function.output_names = ("weight" if lr else "direction", *self.slots)
        return function


def norm(x: Term) -> Term:
    """The 2-norm of all of x."""
    return x.square().apply(Sum(tuple(range(x.value.type.rank)), False)).apply(Sqrt())


@dataclass(frozen=True)
class Sgd(Optimizer):
    """g += weight_decay w; with momentum: v = momentum v + (1 - dampening) g, v = g at first;
    g = v (nesterov: g + momentum v); w -= lr g (Sutskever et al. 2013, as in torch)."""

    name: ClassVar[str] = "sgd"
    rate: ClassVar[float | None] = None

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    dampening: float = 0.0

    @property
    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    @property
    def scalars(self) -> tuple[tuple[str, str], ...]:
        fresh = ("fresh", "1.0 if step == 1 else 1.0 - dampening")
        return (fresh,) if self.momentum and self.dampening else ()

    def problems(self) -> list[str]:
        found = super().problems()
        if self.nesterov and not self.momentum:
            found.append("nesterov needs a momentum above 0")
        if self.nesterov and self.dampening:
            found.append("nesterov allows no dampening")
        return found

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        g = self.decayed(g, w)
        if not self.momentum:
            return (g,)
        new = rest["fresh"] * g if self.dampening else g
        v = self.setting(w, "momentum") * rest["momentum"] + new
        return (g + self.setting(w, "momentum") * v if self.nesterov else v), v


@dataclass(frozen=True)
class Moments(Optimizer):
    """Of those that keep the averages of the gradient and of its square."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    @property
    def slots(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    @property
    def scalars(self) -> tuple[tuple[str, str], ...]:
        return (
            ("correction1", "1 - beta1**step"),
            ("correction2", "(1 - beta2**step) ** 0.5"),
        )

    def moments(self, g: Term, rest: Mapping[str, Term]) -> tuple[Term, Term]:
        m = self.average("beta1", rest["exp_avg"], g)
        return m, self.average("beta2", rest["exp_avg_sq"], g.square())

    def scaled(self, m: Term, v: Term, rest: Mapping[str, Term]) -> Term:
        root = v.apply(Sqrt()) / rest["correction2"] + self.setting(v, "eps")
        return m / rest["correction1"] / root


@dataclass(frozen=True)
class Adam(Moments):
    """g += weight_decay w; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g²;
    w -= lr / c1 m / (√v / √c2 + eps), c_i = 1 - beta_i^step (Kingma and Ba 2015, as in torch).
    amsgrad: the largest v so far in place of v (Reddi et al. 2018)."""

    name: ClassVar[str] = "adam"

    amsgrad: bool = False

    @property
    def slots(self) -> tuple[str, ...]:
        return (*super().slots, *(("max_exp_avg_sq",) if self.amsgrad else ()))

    def stepped(self, g: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        m, v = self.moments(g, rest)
        if not self.amsgrad:
            return self.scaled(m, v, rest), m, v
        most = rest["max_exp_avg_sq"].apply(Maximum(), v)
        return self.scaled(m, most, rest), m, v, most

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        return self.stepped(self.decayed(g, w), rest)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: w -= lr weight_decay w beside the step, which does not
    see the decay (Loshchilov and Hutter 2019)."""

    name: ClassVar[str] = "adamw"

    weight_decay: float = 0.01

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        step, *slots = self.stepped(g, rest)
        return self.decayed(step, w), *slots


@dataclass(frozen=True)
class RAdam(Moments):
    """Adam that leaves the second moment out while too few steps tell its variance: with
    rho_inf = 2 / (1 - beta2) - 1 and rho = rho_inf - 2 step beta2^step / (1 - beta2^step),
    w -= lr m / c1, times rect √c2 / (√v + eps) where rho > 5 (Liu et al. 2020, as in torch)."""

    name: ClassVar[str] = "radam"

    @property
    def scalars(self) -> tuple[tuple[str, str], ...]:
        return (
            ("correction1", "1 - beta1**step"),
            ("most", "2 / (1 - beta2) - 1"),
            ("rho", "most - 2 * step * beta2**step / (1 - beta2**step)"),
            ("known", "1.0 if rho > 5 else 0.0"),
            ("sure", "max(rho, 5.0)"),
            (
                "rect",
                "((sure - 4) * (sure - 2) * most / ((most - 4) * (most - 2) * sure)"
                " * (1 - beta2**step)) ** 0.5",
            ),
        )

    def problems(self) -> list[str]:
        small = ["beta2 must be above 0.6"] if 0 <= self.beta2 <= 0.6 else []
        return [*super().problems(), *small]

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        m, v = self.moments(self.decayed(g, w), rest)
        adapted = rest["rect"] / (v.apply(Sqrt()) + self.setting(v, "eps"))
        scale = rest["known"] * adapted + (1.0 - rest["known"])
        return m / rest["correction1"] * scale, m, v


@dataclass(frozen=True)
class NAdam(Moments):
    """Adam with Nesterov's momentum: mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2), P_t the
    product of all mu up to t, w -= lr ((1 - mu_t) / (1 - P_t) g + mu_t+1 / (1 - P_t+1) m) /
    (√v / √c2 + eps) (Dozat 2016, as in torch). The slot `mu_rest` is 1 - P_t, alike in all
    elements."""

    name: ClassVar[str] = "nadam"
    rate: ClassVar[float | None] = 2e-3

    momentum_decay: float = 4e-3
    decoupled: bool = False

    @property
    def slots(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "mu_rest")

    @property
    def scalars(self) -> tuple[tuple[str, str], ...]:
        return (
            ("mu", "beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))"),
            ("next_mu", "beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))"),
            ("correction2", "(1 - beta2**step) ** 0.5"),
        )

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        seen = g if self.decoupled else self.decayed(g, w)
        m, v = self.moments(seen, rest)
        mu, following = rest["mu"], rest["next_mu"]
        here = 1.0 - (1.0 - rest["mu_rest"]) * mu
        then = 1.0 - (1.0 - here) * following
        root = v.apply(Sqrt()) / rest["correction2"] + self.setting(v, "eps")
        step = (seen * (1.0 - mu) / here + m * following / then) / root
        return (self.decayed(step, w) if self.decoupled else step), m, v, here


@dataclass(frozen=True)
class Adamax(Moments):
    """m as in Adam; u = max(beta2 u, |g| + eps); w -= lr / c1 m / u (Kingma and Ba 2015,
    algorithm 2, as in torch)."""

    name: ClassVar[str] = "adamax"
    rate: ClassVar[float | None] = 2e-3

    @property
    def slots(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    @property
    def scalars(self) -> tuple[tuple[str, str], ...]:
        return (("correction1", "1 - beta1**step"),)

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        g = self.decayed(g, w)
        m = self.average("beta1", rest["exp_avg"], g)
        size = g.apply(Abs()) + self.setting(g, "eps")
        u = (self.setting(g, "beta2") * rest["exp_inf"]).apply(Maximum(), size)
        return m / rest["correction1"] / u, m, u


@dataclass(frozen=True)
class Lamb(Moments):
    """u = Adam's step + weight_decay w; w -= lr |w| / |u| u, norms of the whole weight; where one
    of them is 0, w -= lr u (You et al. 2020, without bounds on the ratio)."""

    name: ClassVar[str] = "lamb"
    whole: ClassVar[bool] = True

    eps: float = 1e-6
    weight_decay: float = 0.01

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        m, v = self.moments(g, rest)
        u = self.decayed(self.scaled(m, v, rest), w)
        weight, step = norm(w), norm(u)
        none = weight * step == 0.0
        one = step.like(1.0)
        ratio = none.where(one, weight / none.where(one, step))
        return ratio * u, m, v


@dataclass(frozen=True)
class Lion(Optimizer):
    """w -= lr (sign(beta1 m + (1 - beta1) g) + weight_decay w); m = beta2 m + (1 - beta2) g
    (Chen et al. 2023)."""

    name: ClassVar[str] = "lion"
    rate: ClassVar[float | None] = 1e-4

    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0

    @property
    def slots(self) -> tuple[str, ...]:
        return ("exp_avg",)

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        step = self.average("beta1", rest["exp_avg"], g).apply(Sign())
        return self.decayed(step, w), self.average("beta2", rest["exp_avg"], g)


@dataclass(frozen=True)
class RmsProp(Optimizer):
    """v = alpha v + (1 - alpha) g²; d = g / (√v + eps), centered: √(v - m²), m the average of g;
    with momentum: b = momentum b + d, d = b; w -= lr d (Hinton 2012, Graves 2013, as in torch)."""

    name: ClassVar[str] = "rmsprop"
    rate: ClassVar[float | None] = 1e-2

    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    @property
    def slots(self) -> tuple[str, ...]:
        centered = ("grad_avg",) if self.centered else ()
        return ("square_avg", *centered, *(("momentum",) if self.momentum else ()))

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        g = self.decayed(g, w)
        v = self.average("alpha", rest["square_avg"], g.square())
        slots = [v]
        spread = v
        if self.centered:
            slots.append(self.average("alpha", rest["grad_avg"], g))
            spread = v - slots[-1].square()
        step = g / (spread.apply(Sqrt()) + self.setting(g, "eps"))
        if self.momentum:
            step = self.setting(g, "momentum") * rest["momentum"] + step
            slots.append(step)
        return step, *slots


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s = s + g²; w -= lr / (1 + (step - 1) lr_decay) g / (√s + eps) (Duchi et al. 2011, as in
    torch)."""

    name: ClassVar[str] = "adagrad"
    rate: ClassVar[float | None] = 1e-2

    lr_decay: float = 0.0
    eps: float = 1e-10
    weight_decay: float = 0.0

    @property
    def slots(self) -> tuple[str, ...]:
        return ("sum",)

    @property
    def scalars(self) -> tuple[tuple[str, str], ...]:
        return (("slowed", "1 + (step - 1) * lr_decay"),) if self.lr_decay else ()

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        g = self.decayed(g, w)
        s = rest["sum"] + g.square()
        step = g / (s.apply(Sqrt()) + self.setting(g, "eps"))
        return (step / rest["slowed"] if self.lr_decay else step), s


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """v = rho v + (1 - rho) g²; d = √(a + eps) / √(v + eps) g; a = rho a + (1 - rho) d²;
    w -= lr d (Zeiler 2012, as in torch)."""

    name: ClassVar[str] = "adadelta"
    rate: ClassVar[float | None] = 1.0

    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0

    @property
    def slots(self) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def direction(self, g: Term, w: Term, rest: Mapping[str, Term]) -> tuple[Term, ...]:
        g = self.decayed(g, w)
        v = self.average("rho", rest["square_avg"], g.square())
        eps = self.setting(g, "eps")
        delta = (rest["acc_delta"] + eps).apply(Sqrt()) / (v + eps).apply(Sqrt()) * g
        return delta, v, self.average("rho", rest["acc_delta"], delta.square())


KINDS = (
    Sgd, Adam, AdamW, NAdam, RAdam, Adamax, Lamb, Lion, RmsProp, Adagrad, Adadelta,
)  # fmt: skip
OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in KINDS}


def optimizer_of(name: str, settings: Mapping[str, float | bool]) -> Optimizer:
    """The optimizer of a `minimize`, whose settings hold the learning rate too."""
    kind: Any = OPTIMIZERS[name]
    own = {f.name for f in fields(kind)}
    return kind(**{k: v for k, v in settings.items() if k in own})
