"""Training sections: data, networks, what is minimised, what is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from dlspec import codes, schedules
from dlspec.diagnostics import Failure, close_to
from dlspec.elaborate import static
from dlspec.elaborate.advice import advise
from dlspec.elaborate.builtins import unknown_argument
from dlspec.elaborate.expressions import Env, Evaluator
from dlspec.elaborate.moving import enter_static
from dlspec.elaborate.names import repeated_names, snake
from dlspec.elaborate.patterns import fits_dtype, pattern_of
from dlspec.elaborate.scope import Names, Scope
from dlspec.elaborate.statements import execute
from dlspec.elaborate.steps import Draft, divide
from dlspec.elaborate.values import Group, Named_, Shared, Unknown, is_layer
from dlspec.ir.dims import Dim
from dlspec.ir.graph import (
    CallNode,
    ChildSlot,
    DataSource,
    Function,
    LayerSlot,
    Minimize,
    OpNode,
    RepeatNode,
    Slot,
    Step,
    Training,
    Value,
    WeightSlot,
    all_slots,
    walk,
)
from dlspec.ir.static import Sequence
from dlspec.ir.types import DType, TensorType
from dlspec.ops import optimizers
from dlspec.schedules import SCHEDULES
from dlspec.schemas import REQUIRED, SOURCES, bind
from dlspec.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.elaborate.files import Module
    from dlspec.elaborate.session import Session
    from dlspec.elaborate.values import AnyValue

OPTIMIZERS: dict[str, dict[str, object]] = {
    name: {"lr": REQUIRED if kind.rate is None else kind.rate, **kind().settings()}
    for name, kind in optimizers.OPTIMIZERS.items()
}
SETTINGS = ("epochs", "steps", "seed")
LATER = {
    "phase": "phases", "freeze": "freezing", "load": "loading weights",
    "sample": "samples", "early_stop": "early stopping", "precision": "other precisions",
    "clip_norm": "clipping", "accumulate": "accumulation", "ema": "averaging",
    "images": "length in images",
}  # fmt: skip
VERBS = ("data", "minimize", "report", "evaluate", "step", *SETTINGS)
CLAUSES = {
    "data": ("from",),
    "minimize": ("over", "using"),
    "report": (),
    "evaluate": ("on",),
    "step": ("times", "every"),
}
RESERVED_METRICS = frozenset({"loss", "step", "epoch", "split", "lr"})


def build_training(
    session: Session, module: Module, train: ast.Train, overrides: Mapping[str, AnyValue]
) -> Training | None:
    """The training section, or None where it has errors (reported)."""
    errors = session.diagnostics.told
    builder = TrainingBuilder(session, module, train)
    session.restart()
    outer, session.training = session.training, builder
    try:
        with builder.scope.at(train.name_span):
            found = builder.run(overrides)
    except Failure as failure:
        session.report(failure)
        return None
    finally:
        session.training = outer
    if found is None or session.diagnostics.told > errors:
        return None
    advise(session.diagnostics, found)
    return found if session.diagnostics.told == errors else None


class TrainingBuilder:
    def __init__(self, session: Session, module: Module, train: ast.Train) -> None:
        self.session = session
        self.train = train
        self.function = Function(train.name, "train", doc=train.doc, span=train.name_span)
        self.scope = Scope(self.function, Names(repeated_names(train.body)))
        self.evaluator = Evaluator(session, module, self.scope, Env())
        self.data: list[DataSource] = []
        self.minimized: list[Minimize] = []
        self.reports: list[tuple[str, str, Value]] = []
        self.evaluations: list[tuple[str, DataSource]] = []
        self.settings: dict[str, object] = {}
        self.steps: list[Draft] = []
        self.step: Draft | None = None  # whose body is being elaborated
        self.broken = False  # the loss is not known: its network's errors have been told

    def run(self, overrides: Mapping[str, AnyValue]) -> Training | None:
        errors = self.session.diagnostics.told
        rest = self.enter(overrides)
        found = execute(self.evaluator, self.train.body)
        if found is not None:
            with self.scope.at(found.span):
                self.fail(codes.TRAINING_FORM, "`return` stands in definitions only")
        for name, value in rest.items():
            if name not in SETTINGS:
                known = (*SETTINGS, *(p.name for p in self.train.params))
                self.bad_setting(name, known)
            self.set(name, value)
        if self.broken or self.session.diagnostics.told > errors:
            return None
        if not self.data:
            self.fail(codes.TRAINING_FORM, "a training section needs data: data (x, y) from …")
        if not self.minimized:
            self.fail(
                codes.TRAINING_FORM, "a training section needs a loss: minimize … using sgd(0.1)"
            )
        if "epochs" in self.settings and "steps" in self.settings:
            self.fail(codes.BAD_SETTING, "`epochs` and `steps` both say how long")
        steps = self.divided() if self.steps else ()
        if not steps:
            self.function.outputs = (self.minimized[0].loss, *(v for _, _, v in self.reports))
            self.function.output_names = ("loss", *(name for name, _, _ in self.reports))
        return Training(
            self.function, tuple(self.data), tuple(self.minimized), tuple(self.reports),
            tuple(self.evaluations), self.settings, steps,
        )  # fmt: skip

    def divided(self) -> tuple[Step, ...]:
        """The steps as functions; reports outside them are the last step's."""
        inside = {name for draft in self.steps for name in draft.reports}
        self.steps[-1].reports.update(
            {name: value for name, _, value in self.reports if name not in inside}
        )
        steps, outputs = divide(self.function, self.steps)
        for minimize in self.minimized:
            minimize.loss = outputs[id(minimize.loss)]
        self.reports = [(n, metric, outputs[id(v)]) for n, metric, v in self.reports]
        return tuple(steps)

    def fail(self, code: codes.Code, message: str, help: str = "") -> NoReturn:
        self.scope.fail(code, message, help=help)

    def bad_setting(self, name: str, known: tuple[str, ...]) -> NoReturn:
        help = close_to(name, known) or f"there are {', '.join(known)}"
        self.fail(codes.BAD_SETTING, f"there is no setting `{name}`", help)

    def enter(self, overrides: Mapping[str, AnyValue]) -> dict[str, AnyValue]:
        """Bind the section's parameters; what is left must be settings."""
        e, rest = self.evaluator, dict(overrides)
        for param in self.train.params:
            if param.name in rest:
                value = rest.pop(param.name)
            elif param.default is not None:
                value = e.evaluate(param.default)
            else:
                with self.scope.at(param.span):
                    self.fail(codes.MISSING_ARGUMENT, f"`{self.train.name}` needs `{param.name}`")
            if is_layer(value) or isinstance(value, Group | Unknown):
                e.env.names[param.name] = value
            else:
                e.env.names[param.name] = enter_static(self.scope, param.name, value)
        return rest

    # --- verbs ---

    def verb(self, statement: ast.Verb) -> None:
        name = statement.name
        with self.scope.at(statement.name_span):
            if name in LATER:
                self.fail(codes.NOT_SUPPORTED, f"{LATER[name]} (`{name}`) is not supported yet")
            if name not in VERBS:
                self.bad_setting(name, VERBS)
            self.check_clauses(statement)
        if name in SETTINGS:
            self.setting(statement)
            return
        {
            "data": self.data_verb,
            "minimize": self.minimize_verb,
            "report": self.report_verb,
            "evaluate": self.evaluate_verb,
            "step": self.step_verb,
        }[name](statement)

    def check_clauses(self, statement: ast.Verb) -> None:
        allowed = CLAUSES.get(statement.name, ())
        seen: set[str] = set()
        for clause in statement.clauses:
            with self.scope.at(clause.span):
                if clause.word not in allowed:
                    self.fail(
                        codes.TRAINING_FORM, f"`{statement.name}` has no `{clause.word}` clause"
                    )
                if clause.word in seen:
                    self.fail(
                        codes.NOT_SUPPORTED,
                        f"a second `{clause.word}` in one `{statement.name}` is not supported yet",
                    )
                seen.add(clause.word)
        if statement.body is not None and statement.name != "step":
            self.fail(codes.TRAINING_FORM, f"`{statement.name}` has no body")
        if statement.fields and statement.name != "data":
            self.fail(codes.TRAINING_FORM, f"`{statement.name}` declares no fields")

    def clause(self, statement: ast.Verb, word: str) -> ast.Clause | None:
        return next((c for c in statement.clauses if c.word == word), None)

    def setting(self, statement: ast.Verb) -> None:
        if len(statement.args) != 1:
            with self.scope.at(statement.span):
                self.fail(codes.BAD_SETTING, f"`{statement.name}` takes one value")
        if statement.name in self.settings:
            with self.scope.at(statement.name_span):
                self.fail(codes.BAD_SETTING, f"`{statement.name}` is set twice")
        with self.scope.at(statement.args[0].span):
            self.set(statement.name, self.evaluator.evaluate(statement.args[0]))

    def set(self, name: str, value: AnyValue) -> None:
        found = static.raw(value)
        number = self.scope.known(found) if isinstance(found, Dim) else None
        least = 0 if name == "seed" else 1
        if number is None or number < least:
            self.fail(codes.BAD_SETTING, f"`{name}` is a whole number of at least {least}")
        self.settings[name] = number

    # --- data ---

    def data_verb(self, statement: ast.Verb) -> None:
        clause = self.clause(statement, "from")
        fields = statement.fields or tuple(self.bare_field(arg) for arg in statement.args)
        if clause is None or len(clause.args) != 1 or not fields:
            self.fail(
                codes.TRAINING_FORM,
                "`data` needs fields and one source",
                "write: data (image, label) from mnist5k(batch = 32)",
            )
        if self.data:
            self.fail(codes.NOT_SUPPORTED, "several data sources are not supported yet")
        source, args = self.source(clause.args[0])
        seen: set[str] = set()
        for field in fields:
            if field.name in seen - {"_"}:
                with self.scope.at(field.span):
                    self.fail(codes.DUPLICATE, f"there are two fields `{field.name}`")
            seen.add(field.name)
        known = list(SOURCES[source].fields(args))
        if known and len(known) != len(fields):
            names = ", ".join(f.name for f in known)
            self.fail(
                codes.BAD_DATA,
                f"{source} has {len(known)} fields ({names}), and {len(fields)} are named",
            )
        values = tuple(
            self.field(field, known[i] if known else None) for i, field in enumerate(fields)
        )
        self.data.append(DataSource(values, source, args, statement.span))
        self.function.inputs = (*self.function.inputs, *values)

    def bare_field(self, arg: ast.Expr) -> ast.Field:
        if not isinstance(arg, ast.Name):
            with self.scope.at(arg.span):
                self.fail(codes.TRAINING_FORM, "a field of data is a name")
        return ast.Field(arg.span, arg.id, None)

    def field(self, field: ast.Field, known: Any) -> Value:
        """One array of a batch: its type from the source, the declaration, or both."""
        e, scope = self.evaluator, self.scope
        with scope.at(field.span):
            shape = None if known is None or known.shape is None else list(known.shape)
            dtype = None if known is None else known.dtype
            if field.annotation is None:
                if shape is None or dtype is None:
                    self.fail(
                        codes.BAD_DATA,
                        f"the type of `{field.name}` is not known before the data is loaded",
                        f"declare it: data ({field.name}: [N, 4], …)",
                    )
                extents = [self.open_extent(field.name, i, x) for i, x in enumerate(shape)]
                type_ = TensorType(dtype, tuple(extents))
            else:
                type_ = self.declared(field, shape, dtype)
        value = Value(type_, "" if field.name == "_" else field.name, field.span)
        if field.name != "_":
            e.env.names[field.name] = value
        return value

    def open_extent(self, name: str, axis: int, extent: object) -> Dim:
        if isinstance(extent, int):
            return Dim.const(extent)
        symbol = extent if isinstance(extent, str) else f"{name}_{axis}"
        if symbol not in self.function.symbols:
            dim = self.scope.define_dim(symbol, None)
            self.evaluator.env.names.setdefault(symbol, dim)
        return Dim.symbol(symbol)

    def declared(
        self, field: ast.Field, shape: list[Any] | None, dtype: DType | None
    ) -> TensorType:
        e, scope = self.evaluator, self.scope
        assert field.annotation is not None
        pattern = pattern_of(e, field.annotation)
        rank = len(pattern.axes) if shape is None else len(shape)
        axes = pattern.spread(rank)
        if pattern.rest is not None and shape is None:
            self.fail(codes.BAD_DATA, "`...` needs a source whose shape is known")
        if axes is None:
            self.fail(
                codes.BAD_DATA,
                f"`{field.name}` is declared with {len(pattern.axes)} axes, and the source "
                f"gives {rank}",
            )
        if dtype is not None:
            fits_dtype(scope, pattern, TensorType(dtype, ()), f"`{field.name}`")
        extents: list[Dim] = []
        for i, axis in enumerate(axes):
            given = None if shape is None else shape[i]
            extents.append(self.declared_axis(field, i, axis, given))
        return TensorType(dtype or pattern.dtype, tuple(extents))

    def declared_axis(self, field: ast.Field, i: int, axis: ast.Expr | None, given: Any) -> Dim:
        e = self.evaluator
        if axis is None or (isinstance(axis, ast.Name) and axis.id == "_"):
            return self.open_extent(field.name, i, given)
        if isinstance(axis, ast.Name) and not isinstance(static.raw(e.env.names.get(axis.id)), Dim):
            if isinstance(given, int):
                e.env.names[axis.id] = Dim.const(given)
                return Dim.const(given)
            dim = self.scope.define_dim(axis.id, None)
            e.env.names[axis.id] = dim
            return dim
        wanted = static.integer(self.scope, e.evaluate(axis), "an extent")
        known = self.scope.peek(wanted)
        if isinstance(given, int) and known is not None and known != given:
            self.fail(
                codes.BAD_DATA,
                f"`{field.name}` is declared {known} on axis {i}, and the source gives {given}",
            )
        return wanted

    def source(self, expr: ast.Expr) -> tuple[str, dict[str, object]]:
        """The name of a data source and its arguments as plain values."""
        e = self.evaluator
        callee = expr.callee if isinstance(expr, ast.Call) else expr
        with self.scope.at(callee.span):
            if not isinstance(callee, ast.Name):
                self.fail(codes.BAD_DATA, "a data source is a name with arguments")
            if callee.id not in SOURCES:
                self.fail(
                    codes.UNDEFINED,
                    f"there is no data source `{callee.id}`",
                    close_to(callee.id, SOURCES) or f"there are {', '.join(SOURCES)}",
                )
        args = expr.args if isinstance(expr, ast.Call) else ()
        words = expr.keywords if isinstance(expr, ast.Call) else ()
        positional = [self.plain(e.evaluate(a)) for a in args]
        keywords: dict[str, object] = {}
        for word in words:
            if word.name in keywords:
                with self.scope.at(word.span):
                    self.fail(codes.BAD_ARGUMENT, f"`{word.name}` is given twice")
            if (
                word.name == "batch"
                and isinstance(word.value, ast.Name)
                and word.value.id == "full"
            ):
                keywords["batch"] = "full"
            else:
                keywords[word.name] = self.plain(e.evaluate(word.value))
        with self.scope.at(expr.span):
            try:
                return callee.id, bind(callee.id, positional, keywords)
            except ValueError as error:
                known = SOURCES[callee.id].arguments
                near = (close_to(k, known) for k in keywords if k not in known)
                self.fail(codes.BAD_DATA, str(error), next(near, ""))

    def plain(self, value: AnyValue) -> object:
        """A static value as plain Python."""
        found = static.raw(value)
        if isinstance(found, Dim):
            return self.scope.known(found)
        if isinstance(found, Sequence):
            return [self.plain(v) for v in found.items]
        if found is None or isinstance(found, bool | float | int | str):
            return found
        static.wrong_kind(self.scope, f"a static value is needed, not {static.describe(value)}")

    # --- steps ---

    def step_verb(self, statement: ast.Verb) -> None:
        e = self.evaluator
        args = statement.args
        with self.scope.at(statement.name_span):
            if self.step is not None:
                self.fail(codes.TRAINING_FORM, "a step stands in no other step")
            if len(args) != 1 or not isinstance(args[0], ast.Name) or statement.body is None:
                self.fail(
                    codes.TRAINING_FORM,
                    "a step has a name and a body",
                    "write: step critic { minimize … using adam(1e-4) }",
                )
            if self.minimized and not self.steps:
                self.fail(
                    codes.TRAINING_FORM,
                    "there is a `minimize` outside the steps",
                    "put it into a step of its own",
                )
        name = args[0].id
        with self.scope.at(args[0].span):
            if any(d.name == name for d in self.steps):
                self.fail(codes.DUPLICATE, f"there are two steps `{name}`")
        times, every = (self.count(statement, word) for word in ("times", "every"))
        self.step = Draft(name, args[0].span, times, every)
        outer, before = dict(e.env.names), self.session.diagnostics.told
        try:
            found = execute(e, statement.body)
        finally:
            draft, self.step = self.step, None
            e.env.names.clear()
            e.env.names.update(outer)
        if found is not None:
            with self.scope.at(found.span):
                self.fail(codes.TRAINING_FORM, "`return` stands in definitions only")
        if not draft.losses and not self.broken and self.session.diagnostics.told == before:
            with self.scope.at(args[0].span):
                self.fail(
                    codes.TRAINING_FORM,
                    f"the step `{name}` minimizes nothing",
                    "give it a loss: minimize … using adam(1e-4)",
                )
        self.steps.append(draft)

    def count(self, statement: ast.Verb, word: str) -> int:
        """`times 5`, `every 2`: a whole number; one where it is not given."""
        clause = self.clause(statement, word)
        if clause is None:
            return 1
        with self.scope.at(clause.span):
            found = static.raw(self.evaluator.evaluate(clause.args[0])) if clause.args else None
            number = self.scope.known(found) if isinstance(found, Dim) else 0
            if len(clause.args) != 1 or number < 1:
                self.fail(codes.BAD_SETTING, f"`{word}` is a whole number of at least 1")
            return number

    # --- losses and reports ---

    def minimize_verb(self, statement: ast.Verb) -> None:
        with self.scope.at(statement.name_span):
            if self.step is None and self.steps:
                self.fail(
                    codes.TRAINING_FORM,
                    "there is a `minimize` outside the steps",
                    "put it into a step of its own",
                )
            if self.step is None and self.minimized:
                self.fail(
                    codes.TRAINING_FORM,
                    "two `minimize` outside of steps",
                    "put them into steps: one after the other in steps of their own, or "
                    "simultaneously in one",
                )
            using = self.clause(statement, "using")
            if len(statement.args) != 1 or using is None or len(using.args) != 1:
                self.fail(
                    codes.TRAINING_FORM,
                    "`minimize` needs one loss and one optimizer",
                    "write: minimize loss using sgd(0.1)",
                )
        try:
            loss = self.loss(statement.args[0])
        except Failure as failure:  # the optimizer may have a problem of its own
            self.session.report(failure)
            loss = None
        optimizer, settings, schedule = self.optimizer(using.args[0])
        if loss is None:
            self.broken = True
            return
        over = self.over(statement)
        made = Minimize(loss, over, optimizer, settings, schedule, statement.span)
        if self.step is not None:
            self.add_to_step(made)
        self.minimized.append(made)

    def add_to_step(self, made: Minimize) -> None:
        assert self.step is not None
        made.step = self.step.name
        mine = [m for m in self.minimized if m.step == made.step]
        taken = {id(slot) for m in mine for slot in m.over}
        with self.scope.at(made.span or self.scope.span):
            if mine and (not made.over or any(id(s) in taken for s in made.over)
                         or not all(m.over for m in mine)):  # fmt: skip
                self.fail(
                    codes.TRAINING_FORM,
                    "two `minimize` of one step train the same network",
                    "say which networks each trains: minimize … over net using …",
                )
        if not any(loss is made.loss for loss in self.step.losses.values()):
            number = len(self.step.losses)
            name = f"{made.step}_loss" + (f"{number + 1}" if number else "")
            self.step.losses[name] = made.loss

    def loss(self, expr: ast.Expr) -> Value | None:
        """A scalar that depends on a trainable weight; None where it cannot be known."""
        loss = self.evaluator.evaluate(expr)
        if isinstance(loss, Unknown):
            return None
        with self.scope.at(expr.span):
            if not isinstance(loss, Value):
                static.wrong_kind(self.scope, f"a loss is a tensor, not {static.describe(loss)}")
            if loss.type.rank:
                self.fail(
                    codes.SHAPE, f"a loss is a scalar, and this is {loss.type}", "take its mean"
                )
            if not loss.type.dtype.is_float:
                self.fail(codes.DTYPE, f"a loss is a floating-point number, not {loss.type.dtype}")
            self.learnable(loss)
        return loss

    def learnable(self, loss: Value) -> None:
        """The loss must depend on some trainable weight."""
        nodes = list(walk(self.function.body))
        made = {id(r): n for n in nodes for r in n.results}
        todo: list[Value] = [loss]
        seen: set[int] = set()
        while todo:
            value = todo.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            if value.weight is not None and value.weight[1].trainable:
                return
            node = made.get(id(value))
            if isinstance(node, CallNode | RepeatNode) and trainable(node.function):
                return
            if isinstance(node, OpNode | CallNode):
                todo.extend(node.operands)
            elif isinstance(node, RepeatNode):
                todo.extend((*node.carried, *node.held))
            elif node is not None:
                for side in (node.then, node.orelse):
                    todo.extend(side.yields if side else ())
        self.fail(
            codes.NOTHING_TO_LEARN,
            "the loss reaches no trainable parameter",
            "compute it from the output of a network",
        )

    def over(self, statement: ast.Verb) -> tuple[Slot, ...]:
        clause = self.clause(statement, "over")
        if clause is None:
            return ()
        slots: list[Slot] = []
        for arg in clause.args:
            value = self.evaluator.evaluate(arg)
            while isinstance(value, Named_):
                value = value.layer
            with self.scope.at(arg.span):
                if not isinstance(value, Shared):
                    self.fail(
                        codes.TRAINING_FORM,
                        f"`over` names shared networks, not {static.describe(value)}",
                        "share net = Model(), then: minimize … over net using …",
                    )
                if value.slot is None:
                    self.fail(codes.NOTHING_TO_LEARN, f"`{value.name}` is never used")
                slots.append(value.slot)
        if len({id(s) for s in slots}) < len(slots):
            with self.scope.at(clause.span):
                self.fail(codes.DUPLICATE, "`over` names a network twice")
        if self.step is None and {id(s) for s in slots} != {id(s) for s in self.function.slots}:
            with self.scope.at(clause.span):
                self.fail(
                    codes.NOT_SUPPORTED,
                    "training only some of the networks outside of steps is not supported yet",
                    "put the `minimize` into a step: step main { minimize … over net using … }",
                )
        return tuple(slots)

    def optimizer(self, expr: ast.Expr) -> tuple[str, dict[str, Any], dict[str, object] | None]:
        callee = expr.callee if isinstance(expr, ast.Call) else expr
        with self.scope.at(callee.span):
            name = callee.id if isinstance(callee, ast.Name) else ""
            if name not in OPTIMIZERS:
                self.fail(
                    codes.UNDEFINED,
                    f"there is no optimizer `{callee.span.text}`",
                    close_to(name, OPTIMIZERS) or f"there are {', '.join(OPTIMIZERS)}",
                )
        given = self.words(expr, OPTIMIZERS[name], name)
        schedule = None
        settings: dict[str, Any] = {}
        for key, default in OPTIMIZERS[name].items():
            arg = given.get(key)
            if arg is None:
                if default is REQUIRED:
                    with self.scope.at(expr.span):
                        self.fail(
                            codes.MISSING_ARGUMENT, f"{name} needs a learning rate: {name}(0.1)"
                        )
                settings[key] = default
            elif key == "lr" and self.is_schedule(arg):
                schedule = self.schedule(arg)
            else:
                settings[key] = self.setting_value(name, key, default, arg)
        for problem in optimizers.optimizer_of(name, settings).problems():
            with self.scope.at(expr.span):
                self.fail(codes.BAD_ARGUMENT, f"{name}: {problem}")
        return name, settings, schedule

    def words(
        self, expr: ast.Expr, known: Mapping[str, object], callee: str
    ) -> dict[str, ast.Expr]:
        """Arguments by name, checked against a list of parameters."""
        if not isinstance(expr, ast.Call):
            return {}
        with self.scope.at(expr.span):
            if len(expr.args) > len(known):
                self.fail(codes.BAD_ARGUMENT, f"{callee} takes at most {len(known)} arguments")
        given = dict(zip(known, expr.args, strict=False))
        for word in expr.keywords:
            with self.scope.at(word.name_span):
                if word.name not in known:
                    unknown_argument(self.evaluator, callee, word.name, tuple(known))
                if word.name in given:
                    self.fail(codes.BAD_ARGUMENT, f"`{word.name}` of {callee} is given twice")
            given[word.name] = word.value
        return given

    def setting_value(self, callee: str, key: str, default: object, arg: ast.Expr) -> Any:
        value = static.raw(self.evaluator.evaluate(arg))
        with self.scope.at(arg.span):
            if isinstance(default, bool):
                if not isinstance(value, bool):
                    self.fail(codes.BAD_ARGUMENT, f"`{key}` of {callee} is true or false")
                return value
            number = float(static.number(self.scope, value, f"`{key}` of {callee}"))
            if optimizers.range_problem(key, number):
                self.fail(codes.BAD_ARGUMENT, f"`{key}` of {callee} cannot be {number:g}")
            return number

    def is_schedule(self, arg: ast.Expr) -> bool:
        return (
            isinstance(arg, ast.Call)
            and isinstance(arg.callee, ast.Name)
            and arg.callee.id in SCHEDULES
        )

    def schedule(self, expr: ast.Expr) -> dict[str, object]:
        assert isinstance(expr, ast.Call) and isinstance(expr.callee, ast.Name)
        kind = expr.callee.id
        known = SCHEDULES[kind].parameters
        given = self.words(expr, known, kind)
        found: dict[str, object] = {"kind": kind}
        for key, default in known.items():
            if key in given:
                with self.scope.at(given[key].span):
                    value = self.evaluator.evaluate(given[key])
                    if key in SCHEDULES[kind].lists:
                        found[key] = self.numbers(value, f"`{key}` of {kind}")
                    else:
                        found[key] = static.number(self.scope, value, f"`{key}` of {kind}")
            elif default is REQUIRED:
                with self.scope.at(expr.span):
                    self.fail(codes.MISSING_ARGUMENT, f"{kind} needs `{key}`")
        if wrong := schedules.problem(found):
            with self.scope.at(expr.span):
                self.fail(codes.BAD_ARGUMENT, f"{kind}: {wrong}")
        return found

    def numbers(self, value: AnyValue, what: str) -> list[float]:
        found = static.raw(value)
        if not isinstance(found, Sequence):
            static.wrong_kind(self.scope, f"{what} is a list, not {static.describe(value)}")
        return [static.number(self.scope, item, what) for item in found.items]

    def report_verb(self, statement: ast.Verb) -> None:
        with self.scope.at(statement.name_span):
            if not statement.args:
                self.fail(
                    codes.TRAINING_FORM,
                    "`report` needs a value",
                    "write: report accuracy(logits, label)",
                )
        for arg in statement.args:
            self.report_one(arg)

    def report_one(self, arg: ast.Expr) -> None:
        name = arg.name if isinstance(arg, ast.As) else report_name(arg)
        inner = arg.value if isinstance(arg, ast.As) else arg
        value = self.evaluator.evaluate(inner)
        if isinstance(value, Unknown):
            return
        with self.scope.at(arg.span):
            if not isinstance(value, Value) or value.type.rank:
                self.fail(codes.SHAPE, f"a report is a scalar, not {static.describe(value)}")
            losses = {n for draft in (*self.steps, self.step) if draft for n in draft.losses}
            if name in RESERVED_METRICS | losses | {n for n, _, _ in self.reports}:
                self.fail(
                    codes.DUPLICATE, f"there is a report `{name}` already", "name it: … as other"
                )
            metric = (
                inner.callee.id
                if isinstance(inner, ast.Call) and isinstance(inner.callee, ast.Name)
                else ""
            )
            self.reports.append((name, metric, value))
            if self.step is not None:
                self.step.reports[name] = value

    def evaluate_verb(self, statement: ast.Verb) -> None:
        clause = self.clause(statement, "on")
        with self.scope.at(statement.name_span):
            if clause is None or len(clause.args) != 1 or len(statement.args) > 1:
                self.fail(
                    codes.TRAINING_FORM,
                    "`evaluate` needs one source",
                    'write: evaluate on mnist5k(split = "test")',
                )
            if not self.data:
                self.fail(codes.TRAINING_FORM, "`evaluate` stands after `data`")
        name = "test"
        if statement.args:
            arg = statement.args[0]
            if not isinstance(arg, ast.Name):
                with self.scope.at(arg.span):
                    self.fail(codes.TRAINING_FORM, "`evaluate` takes a name")
            name = arg.id
        elif self.evaluations:
            self.fail(codes.DUPLICATE, "name the second evaluation: evaluate dev on …")
        source, args = self.source(clause.args[0])
        with self.scope.at(clause.args[0].span):
            self.same_fields(source, args)
        self.evaluations.append(
            (name, DataSource(self.data[0].fields, source, args, statement.span))
        )

    def same_fields(self, source: str, args: dict[str, object]) -> None:
        known = list(SOURCES[source].fields(args))
        fields = self.data[0].fields
        if known and len(known) != len(fields):
            self.fail(
                codes.BAD_DATA, f"{source} has {len(known)} fields, and training has {len(fields)}"
            )
        for have, want in zip(known, fields, strict=False):
            ranks = have.shape is not None and len(have.shape) != want.type.rank
            if ranks or (have.dtype is not None and have.dtype is not want.type.dtype):
                self.fail(
                    codes.BAD_DATA, f"`{have.name}` of {source} is not like the training data's"
                )


def trainable(function: Function) -> bool:
    """Whether an instance, with all below it, has a trainable weight."""
    for slot in (*all_slots(function), *(r.target for r in function.references)):
        match slot:
            case WeightSlot() if slot.weight.trainable:
                return True
            case LayerSlot() if any(w.trainable for w in slot.weights.values()):
                return True
            case ChildSlot() if trainable(slot.function):
                return True
            case _:
                pass
    return False


def report_name(arg: ast.Expr) -> str:
    if isinstance(arg, ast.Name):
        return arg.id
    if isinstance(arg, ast.Call) and isinstance(arg.callee, ast.Name):
        return snake(arg.callee.id)
    return "report"
