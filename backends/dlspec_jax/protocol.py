"""The functions that every file has: init, train_step, evaluate, predict, weights in and out."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlspec.codegen import (
    NO_DEFAULT,
    Block,
    DimScope,
    Names,
    StaticPrinter,
    Text,
    assign,
    blank,
    block,
    construction,
    docstring,
    line,
    python,
)
from dlspec.codegen.inference import fold_function
from dlspec.codegen.names import identifier
from dlspec.ir.dims import Dim
from dlspec.ir.graph import CallNode, ChildSlot, walk
from dlspec.ir.static import Known, Sequence
from dlspec_jax import groups, steps
from dlspec_jax.example import arrays
from dlspec_jax.functions import RESERVED, Forward
from dlspec_jax.makers import maker_function
from dlspec_jax.optimizers import chain
from dlspec_jax.program import given as given_by
from dlspec_jax.table import TABLE
from dlspec_jax.updates import Updates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dlspec.codegen import Statement, Unit
    from dlspec.ir.graph import Function, Node, Step, Training
    from dlspec_jax.program import Program

PROTOCOL_NAMES = frozenset(
    {
        "OPTIMIZER",
        "OPTIMIZERS",
        "SLOTS",
        "STEPS",
        "TRAINED",
        "Callable",
        "Step",
        "differentiate",
        "direction",
        "evaluate",
        "export_optimizer",
        "export_weights",
        "gradients",
        "import_optimizer",
        "import_weights",
        "infer",
        "init",
        "accumulate",
        "loss_and_reports",
        "predict",
        "train_step",
        "update",
    }
)


class Loss(Forward):
    """The body of a training section: gives the loss, and the reports by name."""

    reports: tuple[str, ...] = ()

    def result(self, value: ast.expr) -> ast.expr:
        outputs = value.elts if self.reports and isinstance(value, ast.Tuple) else [value]
        loss, *rest = outputs
        reports = ast.Dict([python.constant(name) for name in self.reports], list(rest))
        if not self.program.traits[id(self.function)].stateful:
            return python.tuple_of(loss, reports)
        return python.tuple_of(loss, python.tuple_of(reports, python.name("buffers")))


def in_numbers(value: object, values: Mapping[str, int]) -> object:
    """A static value as bare Python, its dims evaluated."""
    match value:
        case Dim():
            return value.evaluate(values)
        case Sequence():
            items = [in_numbers(item, values) for item in value.items]
            return items if value.is_list else tuple(items)
        case Known():
            return value.value
        case _:
            return value


PARAMS = 'state["params"]'


@dataclass
class Protocol:
    """Emits the protocol of one file."""

    unit: Unit
    program: Program
    inputs_drawn: bool

    def __post_init__(self) -> None:
        self.eliminated: list[tuple[Node, str]] = []
        self.root = self.program.root
        self.traits = self.program.traits[id(self.root)]
        self.network = self._network()
        self.alone: list[Function] = []  # kept, for plans are found by identity
        self.printer = StaticPrinter(self.root.symbols, self._known)

    def statements(self) -> list[Statement]:
        training = self.unit.training
        parts: list[list[Statement]] = []
        if training is not None and training.steps:
            parts += [self._loss(training), *map(self._step_losses, training.steps)]
            rules = steps.rules(training)
            parts += [
                *([rules] if rules else []),
                steps.text(steps.DECLARATION),
                steps.table(training),
            ]
            parts.append([maker_function(self.program, self.root)])
        elif training is not None:
            parts += [self._optimizer(training), self._loss(training)]
            if self.network is None:
                parts.append([maker_function(self.program, self.root)])
        parts.append(self._init(training is not None))
        if training is not None and training.steps:
            parts += [*steps.statements(self), self._evaluate()]
        elif training is not None:
            parts += self._training(training)
            parts += [self._gradients(), self._evaluate()]
        if training is None or self.unit.networks:  # else there is no model to predict with
            parts += [self._infer(), self._predict()]
        if self.unit.inference is not None and self.unit.inference.folds:
            parts.append([fold_function(self.unit.inference, "def from_training(weights):")])
        parts += [self._export(), self._import()]
        if training is not None and training.steps:
            parts += steps.checkpoint(self)
        elif training is not None and len(training.minimize) > 1:
            stored = self.updates(training).stored
            parts += groups.checkpoint_functions(stacks=bool(self.program.stacks), stored=stored)
        elif training is not None:
            parts += [self._export_optimizer(training), self._import_optimizer(training)]
        parts.append(self._main())
        return [item for part in parts for item in (*blank(2), *part)]

    # --- the network and its arguments ---

    def _network(self) -> ChildSlot | None:
        """The only slot of a training section: its tree is the whole tree."""
        slots = self.root.slots
        if self.unit.training is None or len(slots) != 1:
            return None
        (slot,) = slots
        return slot if isinstance(slot, ChildSlot) and slot.count is None else None

    def _known(self, symbol: str) -> ast.expr:
        """The value of a parameter of the file's root."""
        values = self.root.values()
        if symbol in self.root.statics:
            return python.constant(in_numbers(self.root.statics[symbol], values))
        if symbol not in values:
            raise KeyError(f"{self.root.name}: {symbol} has no value")
        return python.constant(values[symbol])

    def _tree(self) -> ast.expr:
        """The expression that makes the weights."""
        program, rng = self.program, python.expr("np.random.default_rng(seed)")
        if self.network is None:
            plan = program.makers[id(self.root)]
            given = [rng] if self.traits.drawn else []
            keywords: dict[str, ast.expr] = {}
            for argument in plan.arguments:
                value = self._known(argument.symbol)
                if argument.default is NO_DEFAULT:
                    given.append(value)
                elif ast.dump(value) != ast.dump(python.constant(argument.default)):
                    keywords[argument.name] = value
            return python.call(f"init_{program.names[id(self.root)]}", *given, **keywords)
        function = self.network.function
        plan = program.makers[id(function)]
        positional, keywords = construction(self.network, plan, self.printer)
        given = [rng] if program.traits[id(function)].drawn else []
        return python.call(f"init_{program.names[id(function)]}", *given, *positional, **keywords)

    # --- training ---

    def _optimizer(self, training: Training) -> list[Statement]:
        self.chain = found = chain(training.minimize[0])
        if groups.is_grouped(training):
            made = groups.optimizers(training)
            rules = steps.rules(training)
            return [*rules, *blank(2), *made] if rules else made
        comment = f"{found.optimizer.name}, without lr"
        made = assign(["OPTIMIZER"], found.transformation, comment=comment)
        return [made] if found.rule is None else [found.rule, *blank(2), made]

    def _fields(self) -> list[str]:
        return [v.name for v in self.root.inputs]

    def _loss(self, training: Training) -> list[Statement]:
        program, root = self.program, self.root
        plan = program.forwards[id(root)]
        head = self._states()
        names = Names({*RESERVED, *program.names.values(), *program.reserved})
        inputs = [names.fresh(identifier(v.name)) for v in root.inputs]
        known = {a.symbol: self._known(a.symbol) for a in plan.arguments}
        known["training"] = python.name("training")
        scope = DimScope(plan, names, inputs, known.get)
        body = Loss(
            root,
            TABLE,
            names,
            scope.static,
            program=program,
            inputs_drawn=self.inputs_drawn,
            whole=self.network,
        )
        body.reports = training.metrics[1:]
        for value, name in zip(root.inputs, inputs, strict=True):
            body.bind(value, name)
        statements = body.run()
        self.eliminated += [(n, "a static branch has one side") for n in body.taken_branches]
        parameters = ", ".join([*head, *inputs, *self._mode_parameters()])
        conversions: list[Statement] = [
            line(f"{name} = channels_last({name})")
            for value, name in zip(root.inputs, inputs, strict=True)
            if program.layouts.is_last(value)
        ]
        if self.traits.stateful and self.network is None:
            conversions.append(line("buffers = copied(buffers)"))
        doc = docstring(root.doc or "The loss of a batch, and what is reported.")
        header = f"def loss_and_reports({parameters}):"
        return [block(header, [doc, *scope.prelude(statements), *conversions, *statements])]

    def _step_losses(self, step: Step) -> list[Statement]:
        """`critic_losses(params, …)`: the metrics of one step, by name."""
        program, root = self.program, steps.alone(self.root, step)
        program.forwards[id(root)] = plan = program.forwards[id(self.root)]
        program.traits[id(root)] = self.traits
        self.alone.append(root)
        names = Names({*RESERVED, *program.names.values(), *program.reserved})
        inputs = [names.fresh(identifier(v.name)) for v in root.inputs]
        known = {a.symbol: self._known(a.symbol) for a in plan.arguments}
        known["training"] = python.name("training")
        scope = DimScope(plan, names, inputs, known.get)
        body = steps.StepLosses(
            root, TABLE, names, scope.static, program=program,
            inputs_drawn=self.inputs_drawn, whole=self.network,
        )  # fmt: skip
        body.metrics, body.stateful = step.metrics, self.traits.stateful
        for value, name in zip(root.inputs, inputs, strict=True):
            body.bind(value, name)
        statements = body.run()
        self.eliminated += [(n, "a static branch has one side") for n in body.taken_branches]
        parameters = ", ".join([*self._states(), *inputs, *self._mode_parameters()])
        opening: list[Statement] = [
            line(f"{name} = channels_last({name})")
            for value, name in zip(root.inputs, inputs, strict=True)
            if program.layouts.is_last(value)
        ]
        if self.traits.stateful:
            opening.append(line("buffers = copied(buffers)"))
        header = f"def {step.name}_losses({parameters}):"
        return [block(header, [*scope.prelude(statements), *opening, *statements])]

    def _states(self) -> list[str]:
        return ["params", "buffers"] if self.traits.stateful else ["params"]

    def _mode_parameters(self) -> list[str]:
        found = ["*"] if self.traits.random or self.traits.modal else []
        if self.traits.random:
            found.append("draws" if self.inputs_drawn else "key")
        return [*found, "training"] if self.traits.modal else found

    def loss_arguments(self, *, training: bool) -> str:
        """The arguments of `loss_and_reports` from a state and a batch."""
        values = [f'state["{name}"]' for name in self._states()]
        values += [f'batch["{name}"]' for name in self._fields()]
        if self.traits.random:
            key = (
                "jax.random.fold_in(jax.random.key(seed), step)"
                if training
                else "jax.random.key(0)"
            )
            draws = "iter(draws)" if training else "iter([])"
            values.append(f"draws={draws}" if self.inputs_drawn else f"key={key}")
        if self.traits.modal:
            values.append(f"training={training}")
        return ", ".join(values)

    def chance(self) -> str:
        """The parameters that random draws of a step depend on."""
        if not self.traits.random:
            return ""
        return ", draws" if self.inputs_drawn else ", seed, step"

    def _init(self, training: bool) -> list[Statement]:
        entries = ['"params": params']
        body: list[Statement] = [
            Text('"""A new state. Weights are drawn with `seed` and computed with in `dtype`."""'),
            Text('if dtype == "float64":\n    jax.config.update("jax_enable_x64", True)'),
        ]
        if not self.traits.made:
            body.append(line("params = {}"))
        elif self.traits.stateful:
            body.append(assign(["weights"], self._tree()))
            body.append(line("params, buffers = partition(jax.device_put(cast(weights, dtype)))"))
            entries.append('"buffers": buffers')
        else:
            drawn = python.call("cast", self._tree(), python.name("dtype"))
            body.append(assign(["params"], python.call("jax.device_put", drawn)))
        if training and self.unit.training is not None and self.unit.training.steps:
            body.append(Text(steps.START))
            entries += ['"optimizer": optimizer', '"runs": runs']
            if self.unit.training.accumulate > 1:
                body.append(Text(steps.START_SUMS))
                entries += ['"sums": sums', '"taken": dict.fromkeys(STEPS, 0)']
            entries += self.updates(self.unit.training).started
        elif training:
            made = "OPTIMIZER.init(params)"
            if self.grouped is not None:
                made = groups.started(self.grouped)
            entries += [f'"optimizer": {made}', '"step": jnp.array(0)']
            assert self.unit.training is not None
            entries += self.updates(self.unit.training).started
        body.append(line(f"return {{{', '.join(entries)}}}"))
        dtype = "float32" if self.unit.inference is None else self.unit.inference.precision
        return [block(f'def init(seed=0, dtype="{dtype}"):', body)]

    @property
    def grouped(self) -> Training | None:
        """The training, where it trains otherwise than all weights in one way."""
        training = self.unit.training
        return training if training is not None and groups.is_grouped(training) else None

    def _training(self, training: Training) -> list[list[Statement]]:
        found = self._differentiate()
        if self.grouped is not None:
            found = groups.differentiate(
                training,
                self.loss_arguments(training=True),
                self.chance(),
                stateful=self.traits.stateful,
            )
        updates = self.updates(training)
        return [found, *updates.functions(), self._train_step(updates)]

    def updates(self, training: Training) -> Updates:
        grouped = self.grouped is not None
        return Updates(training, self.chance(), self.traits.stateful, grouped)

    def _differentiate(self) -> list[Statement]:
        stateful = self.traits.stateful
        aux = "(reports, buffers)" if stateful else "reports"
        result = "{**metrics}, grads"
        body: list[Statement] = [
            Text('"""Metrics of a batch in training mode, and the gradient of every parameter."""'),
            line('batch = as_inputs(batch, state["params"])'),
            line("loss_and_grads = jax.value_and_grad(loss_and_reports, has_aux=True)"),
            line(f"(loss, {aux}), grads = loss_and_grads({self.loss_arguments(training=True)})"),
        ]
        result = '{"loss": loss, **reports}, grads'
        body.append(line(f"return {result}, buffers" if stateful else f"return {result}"))
        return [line("@jax.jit"), block(f"def differentiate(state, batch{self.chance()}):", body)]

    def _train_step(self, updates: Updates) -> list[Statement]:
        body: list[Statement] = [
            Text('"""The new state and the metrics of a batch. The old state is used up."""'),
            *updates.first,
            line(f"return update(state, batch, lr{self.chance()})"),
        ]
        draws = ", draws=()" if self.inputs_drawn and self.traits.random else ""
        return [block(f"def train_step(state, batch, lr, *, seed=0, step=0{draws}):", body)]

    def _gradients(self) -> list[Statement]:
        rest = ", _" if self.traits.stateful else ""
        draws = ", draws=()" if self.inputs_drawn and self.traits.random else ""
        body: list[Statement] = [
            Text('"""Metrics, and gradients by weight name, in training mode."""'),
            line(f"metrics, grads{rest} = differentiate(state, batch{self.chance()})"),
            line(f"return metrics, {self.named('grads')}"),
        ]
        return [block(f"def gradients(state, batch, *, seed=0, step=0{draws}):", body)]

    def _evaluate(self) -> list[Statement]:
        aux = "(reports, _)" if self.traits.stateful else "reports"
        arguments = self.loss_arguments(training=False).replace(PARAMS, self._weights)
        body: list[Statement] = [
            Text('"""Metrics of a batch in inference mode."""'),
            line('batch = as_inputs(batch, state["params"])'),
            line(f"loss, {aux} = loss_and_reports({arguments})"),
            line(f'return {{"{self._first_metric()}": loss, **reports}}'),
        ]
        return [line("@jax.jit"), block("def evaluate(state, batch):", body)]

    @property
    def _weights(self) -> str:
        """What inference computes with."""
        training = self.unit.training
        averages = training is not None and training.ema is not None
        return 'state["average"]' if averages else PARAMS

    def _first_metric(self) -> str:
        assert self.unit.training is not None
        return self.unit.training.metrics[0]

    # --- inference ---

    def _infer(self) -> list[Statement]:
        program, model = self.program, self.unit.model
        traits = program.traits[id(model)]
        suffix = ""
        if self.unit.training is not None and self.network is None:
            (slot, *_) = self.unit.networks
            suffix = f'["{slot.segment.name}"]'
            if slot.segment.index is not None:
                suffix += f"[{slot.segment.index}]"
        values: list[str] = []
        if traits.made:
            values.append(f"{self._weights}{suffix}")
        if traits.stateful:
            values.append(f'state["buffers"]{suffix}')
        for value in model.inputs:
            field = f'inputs["{value.name}"]'
            last = program.layouts.is_last(value)
            values.append(f"channels_last({field})" if last else field)
        values += [f"{name}={python.flat(v)}" for name, v in self._model_arguments()]
        if traits.random:
            values.append("draws=iter([])" if self.inputs_drawn else "key=jax.random.key(0)")
        if traits.modal:
            values.append("training=False")
        call = f"{program.names[id(model)]}({', '.join(values)})"
        body: list[Statement] = [line('inputs = as_inputs(inputs, state["params"])')]
        body += self._outputs(model, call, stateful=traits.stateful)
        return [line("@jax.jit"), block("def infer(state, inputs):", body)]

    def _outputs(self, model: Function, call: str, *, stateful: bool) -> list[Statement]:
        wanted = [identifier(n) for n in model.output_names] or [
            f"y{i}" if len(model.outputs) > 1 else "y" for i in range(len(model.outputs))
        ]
        taken = Names({"state", "inputs", *self.program.names.values(), *self.program.reserved})
        names = [taken.fresh(n) for n in wanted]
        targets = [*names, "_"] if stateful else names
        texts = [
            f"channels_first({n})" if self.program.layouts.is_last(v) else n
            for n, v in zip(names, model.outputs, strict=True)
        ]
        if len(model.outputs) == 1 and not stateful:
            first = self.program.layouts.is_last(model.outputs[0])
            return [line(f"return channels_first({call})" if first else f"return {call}")]
        result = texts[0]
        if len(model.outputs) > 1:
            keys = model.output_names or [f"output{i}" for i in range(len(names))]
            pairs = ", ".join(f'"{k}": {t}' for k, t in zip(keys, texts, strict=True))
            result = f"{{{pairs}}}"
        return [line(f"{', '.join(targets)} = {call}"), line(f"return {result}")]

    def _model_arguments(self) -> list[tuple[str, ast.expr]]:
        """The keyword arguments of the model's function that are not its defaults."""
        model = self.unit.model
        found: list[tuple[str, ast.expr]] = []
        for argument in self.program.forwards[id(model)].arguments:
            if self.unit.training is None:
                value = self._known(argument.symbol)
            else:
                value = self.printer.value(given_by(self._first_call(), argument.symbol))
            if ast.dump(value) != ast.dump(python.constant(argument.default)):
                found.append((argument.name, value))
        return found

    def _first_call(self) -> CallNode:
        """A call of the model in the training section."""
        model = self.unit.model
        assert self.unit.training is not None
        inner = [step.slot.function for step in self.unit.training.steps]
        for function in (self.root, *inner):
            for node in walk(function.body):
                if isinstance(node, CallNode) and node.function is model:
                    return node
        raise LookupError(f"{self.root.name} does not call {model.name}")

    def _predict(self) -> list[Statement]:
        several = len(self.unit.model.outputs) > 1
        doc = "Outputs by name" if several else "The output"
        inferred = "infer(state, inputs)"
        if self.half:  # NumPy has no bfloat16
            inferred = f'cast({inferred}, "float32")'
        result = f"jax.tree.map(np.asarray, {inferred})" if several else f"np.asarray({inferred})"
        body: list[Statement] = [Text(f'"""{doc} in inference mode."""'), line(f"return {result}")]
        return [block("def predict(state, **inputs):", body)]

    @property
    def half(self) -> bool:
        """Whether a file for inference computes in bfloat16."""
        return self.unit.inference is not None and self.unit.inference.precision == "bfloat16"

    # --- weights ---

    def named(self, tree: str) -> str:
        """The arrays of a tree of parameters by name."""
        return f"named(unstacked({tree}))" if self.program.stacks else f"named({tree})"

    def renamed(self, arrays: str, like: str = PARAMS) -> str:
        """Arrays by name as a tree of parameters."""
        if not self.program.stacks:
            return f"renamed({like}, {arrays})"
        return f"restacked(renamed(unstacked({like}), {arrays}), {like})"

    def _export(self) -> list[Statement]:
        both = ' | named(state["buffers"])' if self.traits.stateful else ""
        exported = f'cast({PARAMS}, "float32")' if self.half else PARAMS
        body: list[Statement] = [
            Text('"""Weights by name, in the canonical layouts."""'),
            line(f"return {self.named(exported)}{both}"),
        ]
        return [block("def export_weights(state):", body)]

    def _import(self) -> list[Statement]:
        entries = [f'"params": {self.renamed("weights")}']
        if self.traits.stateful:
            entries.append('"buffers": renamed(state["buffers"], weights)')
        body: list[Statement] = [
            Text('"""The state with these weights."""'),
        ]
        if self.unit.inference is not None and self.unit.inference.folds:
            body.append(line("weights = from_training(weights)"))
        if self.unit.inference is None or not self.unit.inference.fewer:
            unknown = "if unknown := sorted(weights.keys() - export_weights(state).keys()):"
            told = line("raise KeyError(f\"nothing is called {', '.join(unknown)}\")")
            body.append(block(unknown, [told]))
        if self._weights != PARAMS:
            body.append(line(f"params = {self.renamed('weights')}"))
            entries[0] = '"params": params, "average": jax.tree.map(jnp.copy, params)'
        body.append(line(f"return {{{', '.join(['**state', *entries])}}}"))
        return [block("def import_weights(state, weights):", body)]

    def _export_optimizer(self, training: Training) -> list[Statement]:
        body: list[Statement] = [
            Text('"""The optimizer\'s arrays as `kind/weight`, and the number of steps."""'),
            line('arrays = {"step": np.array(state["step"])}'),
        ]
        for kind in self.chain.optimizer.slots:
            tree = f'optax.tree_utils.tree_get(state["optimizer"], "{self.chain.names[kind]}")'
            body.append(line(f'arrays |= prefixed("{kind}/", {self.named(tree)})'))
        for kind, entry in self.updates(training).stored.items():
            tree = self.named(f'state["{entry}"]')
            body.append(line(f'arrays |= prefixed("{kind}/", {tree})'))
        return [block("def export_optimizer(state):", [*body, line("return arrays")])]

    def _import_optimizer(self, training: Training) -> list[Statement]:
        body: list[Statement] = [
            Text('"""The state with these arrays in its optimizer."""'),
            line('optimizer, step = state["optimizer"], jnp.array(arrays["step"])'),
        ]
        if self.grouped is not None and self.chain.optimizer.slots:
            body.append(line(f"trained = part({PARAMS}, TRAINED)"))
        changes: list[str] = []
        for kind in self.chain.optimizer.slots:
            arrays = f'without("{kind}/", arrays)'
            like = PARAMS if self.grouped is None else "trained"
            body.append(line(f"{kind} = {self.renamed(arrays, like)}"))
            changes.append(f"{self.chain.names[kind]}={kind}")
        if self.chain.counted:
            # an array of its own: the step donates both
            changes.append("count=jnp.array(step, jnp.int32)")
        if changes:
            settings = ", ".join(changes)
            body.append(line(f"optimizer = optax.tree_utils.tree_set(optimizer, {settings})"))
        entries = ['"optimizer": optimizer', '"step": step']
        for kind, entry in self.updates(training).stored.items():
            tree = self.renamed(f'without("{kind}/", arrays)', f'state["{entry}"]')
            entries.append(f'"{entry}": {tree}')
        body.append(line(f"return {{**state, {', '.join(entries)}}}"))
        return [block("def import_optimizer(state, arrays):", body)]

    # --- a demonstration ---

    def _main(self) -> list[Statement]:
        body: list[Statement] = [line("rng = np.random.default_rng(0)"), line("state = init()")]
        if self.unit.training is None:
            names = [v.name for v in self.unit.model.inputs]
            given = zip(names, arrays(self.unit.model), strict=True)
            values = ", ".join(f"{name}={array}" for name, array in given)
            body.append(line(f"outputs = predict(state, {values})"))
            body.append(line("print(jax.tree.map(np.shape, outputs))"))
        else:
            given = zip(self._fields(), arrays(self.root), strict=True)
            values = ", ".join(f'"{name}": {array}' for name, array in given)
            body.append(line(f"batch = {{{values}}}"))
            count = len(self.unit.training.minimize)
            rate = "0.01" if count == 1 else f"(0.01,) * {count}"
            calls: list[Statement] = [
                line(f"state, metrics = train_step(state, batch, {rate}, step=step)"),
                line("print(f\"step {step}: loss {float(metrics['loss']):.4f}\")"),
            ]
            if self.unit.training.steps:
                calls = [steps.demonstration(self.unit.training)]
            body.append(block("for step in range(5):", calls))
        return [Block(line('if __name__ == "__main__":'), body)]
