"""The functions around the network: state, training step, evaluation, weights in and out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from dlspec.codegen import (
    Names,
    Plan,
    Statement,
    Text,
    Unit,
    blank,
    block,
    construction,
    line,
    only_numbers,
    owned_slots,
    python,
    root_arguments,
    sample_inputs,
    unsupported_at,
)
from dlspec.codegen.inference import NAMES as FOLD_NAMES
from dlspec.codegen.inference import fold_function
from dlspec.codegen.statics import StaticPrinter
from dlspec.ir.graph import (
    BranchNode,
    ChildSlot,
    Function,
    LayerSlot,
    WeightSlot,
    functions_below,
)
from dlspec.ir.types import DType
from dlspec_torch import groups, steps
from dlspec_torch.library import LIBRARY
from dlspec_torch.losses import LossFunction, Networks, known, single
from dlspec_torch.modules import DTYPES, RESERVED, Effects, Module, attribute, owns_weights
from dlspec_torch.optimizers import Made, made
from dlspec_torch.rows.gradient import takes_gradients
from dlspec_torch.table import TORCH, Dialect
from dlspec_torch.updates import Updates, in_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import Sample
    from dlspec.codegen.inference import Inference
    from dlspec.ir.graph import CallNode, Minimize, Value

# Names at the top level of a file: no class may take one.
FILE_NAMES = (
    *RESERVED,
    *LIBRARY.definitions,
    *FOLD_NAMES,
    *("Arrays", "Callable", "FIXED", "Iterator", "Metrics", "NamedTuple", "Rule", "State"),
    *("copy", "math"),
    "direction",
    *("evaluate", "export_optimizer", "export_weights", "gradients", "import_optimizer"),
    *("import_weights", "init", "losses", "predict", "train_step", "training_losses"),
    *("batch", "metrics", "outputs", "rng", "state", "step"),
)
STEP = "*, seed: int = 0, step: int = 0"
METRICS = "Metrics"
ARRAYS = "Arrays"


@dataclass
class Protocol:
    unit: Unit
    plans: dict[int, Plan]
    effects: Effects
    given_draws: bool
    dialect: Dialect = TORCH
    taken: list[BranchNode] = field(default_factory=list[BranchNode])

    @cached_property
    def root(self) -> Function:
        training = self.unit.training
        return self.unit.model if training is None else training.function

    @cached_property
    def network_alone(self) -> ChildSlot | None:
        """The network that `net` is, in a section with just one."""
        return None if self.unit.training is None else single(self.unit.training)

    @cached_property
    def net_class(self) -> str:
        alone = self.network_alone
        return self.plans[id(self.root if alone is None else alone.function)].class_name

    def classes(self) -> list[Module]:
        """Those of all definitions, callees first, and at last that of `net`."""
        training = self.unit.training
        steps = () if training is None else tuple(id(s.slot.function) for s in training.steps)
        below = [f for start in (self.root, self.unit.model) for f in functions_below(start)]
        found: list[Module] = []
        for function in {id(f): f for f in below}.values():
            if id(function) in steps:
                continue
            if function.of is not None:
                (owner,) = (m for m in found if m.function is function.of)
                owner.variants.append(function)
                continue
            plan = self.plans[id(function)]
            if training is None or function is not self.root:
                found.append(Module(plan, self.plans, self.effects, self.given_draws, self.dialect))
            elif self.network_alone is None:
                slots = {id(s.slot) for s in training.steps}
                found.append(
                    Networks(
                        plan, self.plans, self.effects, self.given_draws, self.dialect, steps=slots
                    )
                )
        return found

    def statements(self) -> list[Statement]:
        parts = [self.state()]
        training = self.unit.training is not None
        parts.append(self.init())
        stepped = steps.Stepped(self) if self.unit.training and self.unit.training.steps else None
        if stepped is not None:
            parts[0] = [*parts[0], *steps.definitions(self)]
            parts += [*stepped.training(), stepped.evaluate()]
        elif training:
            parts[0] = [*parts[0], *self.made_optimizer.definitions]
            parts += [self.losses(), *self.kept(), self.train_step(), self.evaluate()]
        if self.predicts:
            parts.append(self.predict())
        if training:
            parts.append(stepped.gradients() if stepped is not None else self.gradients())
        if self.folds is not None:
            parts.append(
                [fold_function(self.folds, f"def from_training(weights: {ARRAYS}) -> {ARRAYS}:")]
            )
        parts += [self.export_weights(), self.import_weights()]
        if stepped is not None:
            parts += [stepped.export_optimizer(), stepped.import_optimizer()]
        elif training:
            parts += [self.export_optimizer(), self.import_optimizer()]
        parts.append(self.main())
        return [s for part in parts for s in [*blank(2), *part]]

    def imports(self, body: str) -> list[Statement]:
        """What the body uses, in the order of isort."""
        lines: list[str] = []
        if "copy." in body:
            lines.append("import copy")
        lines += [
            f"import {name}" for name in ("ctypes", "math", "re") if re.search(rf"\b{name}\.", body)
        ]
        collections = [name for name in ("Callable", "Iterator") if f"{name}[" in body]
        if collections:
            lines.append(f"from collections.abc import {', '.join(collections)}")
        lines.append("from typing import NamedTuple")
        lines += ["", "import numpy as np", "import torch"]
        if re.search(r"\bF\.", body):
            lines.append("import torch.nn.functional as F")
        lines.append("from torch import Tensor, nn")
        lines += LIBRARY.import_lines(body, frozenset({"torch"}))
        return [Text("\n".join(lines))]

    @property
    def half(self) -> bool:
        """Whether a file for inference computes in bfloat16."""
        return self.unit.inference is not None and self.unit.inference.precision == "bfloat16"

    @property
    def folds(self) -> Inference | None:
        """What a training's weights go through, in a file for inference."""
        made = self.unit.inference
        return made if made is not None and made.folds else None

    # --- state ---

    def state(self) -> list[Statement]:
        fields = [line(f"net: {self.net_class}")]
        if self.unit.training is not None:
            made = "optimizer: torch.optim.Optimizer"
            if self.unit.training.steps:
                made = "optimizers: dict[str, list[torch.optim.Optimizer]]"
            elif not self.joint:
                made = "optimizers: list[torch.optim.Optimizer]"
            fields.append(line(made))
            if self.averages:
                fields.append(line(f"average: {self.net_class}"))
            if self.unit.training.steps and self.unit.training.accumulate > 1:
                fields.append(line("sums: dict[str, dict[str, Tensor]]"))
                fields.append(line("taken: dict[str, int]"))
        aliases = ["Arrays = dict[str, np.ndarray]"]
        if self.unit.training is not None:
            aliases.append("Metrics = dict[str, Tensor]")
        return [*map(line, aliases), *blank(2), block("class State(NamedTuple):", fields)]

    def init(self) -> list[Statement]:
        body: list[Statement] = [
            block("if torch.cuda.is_available():", [line('torch.set_default_device("cuda")')]),
            *([line("keep_memory()")] if self.unit.inference is not None else []),
            line("torch.manual_seed(seed)"),
        ]
        cast = "dtype=getattr(torch, dtype)"
        if self.images:
            cast += ", memory_format=torch.channels_last"
        made = f"net = {self.construct()}.to({cast})"
        body.append(line(made) if len(made) < 96 else line(f"net = {self.construct()}"))
        if len(made) >= 96:
            body.append(line(f"net.to({cast})"))
        if self.unit.training is None:
            body.append(line("return State(net)"))
        elif self.unit.training.steps:
            body += steps.optimizers(self)
        else:
            body += groups.freeze(self.unit.training)
            word = "optimizer" if self.joint else "optimizers"
            body.append(line(f"{word} = {self.optimizers(self.minimized)}"))
            if self.averages:
                body.append(line("average = copy.deepcopy(net).requires_grad_(False)"))
            body.append(line(f"return State(net, {word}{', average' * self.averages})"))
        dtype = "float32" if self.unit.inference is None else self.unit.inference.precision
        return [block(f'def init(seed: int = 0, dtype: str = "{dtype}") -> State:', body)]

    def construct(self) -> str:
        """The expression that makes the network, with its known arguments."""
        slot = self.network_alone
        if self.unit.training is None:
            plan = self.plans[id(self.root)]
            arguments = {k: python.constant(v) for k, v in root_arguments(plan).items()}
            return python.flat(python.call(plan.class_name, **arguments))
        if slot is None:
            return f"{self.net_class}()"
        plan = self.plans[id(slot.function)]
        values = known(self.root)
        static = StaticPrinter(self.root.symbols, lambda name: python.constant(values[name]))
        positional, keywords = construction(slot, plan, static)
        return python.flat(python.call(plan.class_name, *positional, **keywords))

    @cached_property
    def images(self) -> bool:
        """Whether there is a two-dimensional convolution: then channels come last. Not with a
        weight of five axes, which torch then refuses."""
        slots = [s for f in functions_below(self.root) for s, _ in owned_slots(f)]
        layers = [s for s in slots if isinstance(s, LayerSlot)]
        ranks = {w.type.rank for s in layers for w in s.weights.values()}
        ranks |= {s.weight.type.rank for s in slots if isinstance(s, WeightSlot)}
        convolutions = (s for s in layers if s.layer in ("conv", "conv_transpose"))
        return 5 not in ranks and any(s.weights["weight"].type.rank == 4 for s in convolutions)

    @cached_property
    def minimized(self) -> tuple[Minimize, ...]:
        assert self.unit.training is not None
        return self.unit.training.minimize

    @cached_property
    def joint(self) -> bool:
        """Whether one optimizer of torch carries out all there is."""
        return groups.joint(self.minimized)

    def optimizer(self, minimize: Minimize) -> str:
        assert self.unit.training is not None
        found = made(minimize)
        parameters = groups.parameters(minimize, self.unit.training)
        return f"{found.callee}({', '.join([parameters, *found.arguments])})"

    def optimizers(self, minimized: Sequence[Minimize]) -> str:
        """One optimizer, with parameter groups if need be, or a list of them."""
        assert self.unit.training is not None
        if len(minimized) == 1:
            return self.optimizer(minimized[0])
        if self.joint:
            return groups.grouped(minimized, self.unit.training)
        return f"[{', '.join(map(self.optimizer, minimized))}]"

    @cached_property
    def made_optimizer(self) -> Made:
        ruled = [m for m in self.minimized if made(m).definitions]
        for other in ruled[1:]:
            if not steps.same_rule(ruled[0], other):
                raise unsupported_at("torch", "two optimizers that torch.optim lacks", other.span)
        return made((*ruled, *self.minimized)[0])

    # --- losses ---

    def loss_function(
        self, name: str, metrics: Sequence[str], call: CallNode | None = None
    ) -> list[Statement]:
        function = self.root if call is None else call.function
        made = LossFunction(
            name,
            self.root,
            self.plans[id(function)],
            metrics,
            self.net_class,
            self.effects,
            self.given_draws,
            self.dialect,
            self.tensor,
            self.network_alone,
            call,
        )
        statements = made.statements()
        self.taken += made.taken
        return statements

    def losses(self) -> list[Statement]:
        """`losses(net, batch)`: the loss and the reports by name."""
        training = self.unit.training
        assert training is not None
        return self.loss_function("losses", training.metrics)

    @cached_property
    def takes_draws(self) -> bool:
        return self.given_draws and self.effects.draws[id(self.root)]

    @cached_property
    def draws(self) -> bool:
        return not self.given_draws and self.effects.draws[id(self.root)]

    def tensor(self, value: Value, text: str) -> str:
        dtype = "dtype" if value.type.dtype is DType.FLOAT else DTYPES[value.type.dtype]
        made = f"torch.as_tensor({text}, dtype={dtype})"
        if dtype == "dtype" and not self.has_weights:
            made = f"torch.as_tensor({text})"
        if self.images and value.type.rank == 4 and value.type.dtype.is_float:
            made += ".contiguous(memory_format=torch.channels_last)"
        return made

    def _step(self, name: str, extra: str, result: str) -> str:
        draws = ", draws: list[np.ndarray]" if self.takes_draws else ""
        return f"def {name}(state: State, batch: {ARRAYS}{extra}{draws}, {STEP}) -> {result}:"

    def _seeded(self) -> list[Statement]:
        return [line("torch.manual_seed(seed * 1_000_003 + step)")] if self.draws else []

    @property
    def _given(self) -> str:
        return ", map(torch.as_tensor, draws)" if self.takes_draws else ""

    @cached_property
    def keeps(self) -> bool:
        """Whether running statistics of what is not trained must be kept."""
        return self.unit.training is not None and groups.fixed_buffers(self.unit.training)

    def kept(self) -> list[list[Statement]]:
        if not self.keeps or self.unit.training is None:
            return []
        return [groups.keeping(self.unit.training, self.net_class, self.takes_draws)]

    def _in_precision(self, text: str) -> list[Statement]:
        return in_precision(self.unit.training, [line(text)])

    @property
    def _losses(self) -> str:
        return "training_losses" if self.keeps else "losses"

    @cached_property
    def updates(self) -> Updates:
        assert self.unit.training is not None
        buffers = self.root.has_buffers
        return Updates(self.unit.training, self.key("name"), buffers)

    @cached_property
    def averages(self) -> bool:
        """Whether inference uses averaged weights."""
        return self.unit.training is not None and self.unit.training.ema is not None

    @property
    def evaluated(self) -> str:
        return "state.average" if self.averages else "state.net"

    def train_step(self) -> list[Statement]:
        body = [
            *self._seeded(),
            self.updates.opening,
            *self._in_precision(f"metrics = {self._losses}(state.net, batch{self._given})"),
            self.updates.backward,
            *self.updates.update(self.step()),
            line("return state, {name: value.detach() for name, value in metrics.items()}"),
        ]
        rate = ", lr: float" if len(self.minimized) == 1 else ", lr: tuple[float, ...]"
        return [block(self._step("train_step", rate, f"tuple[State, {METRICS}]"), body)]

    def step(self) -> list[Statement]:
        """The step of the optimizer or optimizers, at the given rates."""
        if len(self.minimized) == 1:
            loop = block("for group in state.optimizer.param_groups:", [line('group["lr"] = lr')])
            return [loop, line("state.optimizer.step()")]
        if self.joint:
            pairs = "zip(state.optimizer.param_groups, lr, strict=True)"
            loop = block(f"for group, rate in {pairs}:", [line('group["lr"] = rate')])
            return [loop, line("state.optimizer.step()")]
        inner: list[Statement] = [
            block("for group in optimizer.param_groups:", [line('group["lr"] = rate')]),
            line("optimizer.step()"),
        ]
        return [block("for optimizer, rate in zip(state.optimizers, lr, strict=True):", inner)]

    def evaluate(self) -> list[Statement]:
        given = ", iter(())" if self.takes_draws else ""
        header = f"def evaluate(state: State, batch: {ARRAYS}) -> {METRICS}:"
        body = self._in_precision(f"return losses({self.evaluated}.eval(), batch{given})")
        if self.takes_gradients:
            body = [
                line(f"metrics = losses(state.net.eval(), batch{given})"),
                line("return {name: value.detach() for name, value in metrics.items()}"),
            ]
        return [self.inference, block(header, list(body))]

    @cached_property
    def takes_gradients(self) -> bool:
        return takes_gradients(self.root, self.unit.model)

    @property
    def inference(self) -> Statement:
        """The decorator of what trains nothing. Tensors of `inference_mode` have no gradients."""
        mode = "no_grad" if self.takes_gradients else "inference_mode"
        return line(f"@torch.{mode}()")

    def gradients(self) -> list[Statement]:
        assert self.unit.training is not None
        chosen, named = "[*net.parameters()]", "zip(net.named_parameters(), grads, strict=True)"
        opening: list[Statement] = []
        if groups.fixed(self.unit.training):
            entries = "{n: p for n, p in net.named_parameters() if p.requires_grad}"
            opening = [line(f"trained = {entries}")]
            chosen, named = "[*trained.values()]", "zip(trained.items(), grads, strict=True)"
        body = [
            *self._seeded(),
            line("net = copy.deepcopy(state.net).train()"),
            *self._in_precision(f"metrics = {self._losses}(net, batch{self._given})"),
            *opening,
            line(f'grads = torch.autograd.grad(metrics["loss"], {chosen}, materialize_grads=True)'),
            line(f"named = {named}"),
            line(f"arrays = {{{self.key('name')}: g.cpu().numpy() for (name, _), g in named}}"),
            line("return {name: value.detach() for name, value in metrics.items()}, arrays"),
        ]
        result = f"tuple[{METRICS}, {ARRAYS}]"
        return [block(self._step("gradients", "", result), list(body))]

    # --- inference ---

    @cached_property
    def network(self) -> ChildSlot | None:
        networks = self.unit.networks
        return networks[0] if networks else None

    @property
    def predicts(self) -> bool:
        return self.unit.training is None or self.network is not None

    def predict(self) -> list[Statement]:
        model = self.unit.model
        values = [self.tensor(v, f'inputs["{v.name}"]') for v in model.inputs]
        body: list[Statement] = [line(f"net = {self.evaluated}.eval()")]
        place = "net"
        if self.unit.training is not None and not self.network_alone and self.network is not None:
            place = f"net.{attribute(self.network.segment.name)}"
        if any("dtype=dtype" in text for text in values):
            owner = "parameters" if self.has_parameters else "buffers"
            body.append(line(f"dtype = next(net.{owner}()).dtype"))
        given = ["iter(())"] if self.given_draws and self.effects.draws[id(model)] else []
        names = [Names((*RESERVED, "net", "state")).fresh(v.name or "x") for v in model.inputs]
        body += [line(f"{name} = {v}") for name, v in zip(names, values, strict=True)]
        call = f"{place}({', '.join([*names, *given])})"
        arrays = [self._array(v) for v in model.outputs]
        if len(model.outputs) == 1:
            body.append(line(f"return {call}{arrays[0]}"))
            result = "np.ndarray"
        else:
            labels = model.output_names or tuple(f"output{i}" for i in range(len(model.outputs)))
            body.append(line(f"outputs = {call}"))
            if len(set(arrays)) == 1:
                keys = ", ".join(f'"{name}"' for name in labels)
                zipped = f"zip([{keys}], outputs, strict=True)"
                body.append(line(f"return {{name: y{arrays[0]} for name, y in {zipped}}}"))
            else:
                entries = (
                    f'"{k}": outputs[{i}]{a}'
                    for i, (k, a) in enumerate(zip(labels, arrays, strict=True))
                )
                body.append(line(f"return {{{', '.join(entries)}}}"))
            result = ARRAYS
        header = f"def predict(state: State, **inputs: np.ndarray) -> {result}:"
        if not any("inputs" in text for text in values):
            header = header.replace("**inputs", "**_")
        return [self.inference, block(header, body)]

    def _array(self, value: Value) -> str:
        """What makes an array of an output."""
        detached = ".detach()" if self.takes_gradients else ""
        wide = (
            ".float()" if self.half and value.type.dtype.is_float else ""
        )  # NumPy has no bfloat16
        return f"{detached}{wide}.cpu().numpy()"

    # --- weights ---

    @cached_property
    def renamed(self) -> dict[str, str]:
        """Attributes that could not have the segment's own name."""
        slots = (s for f in self._functions() for s, _ in owned_slots(f))
        names = sorted(
            {s.segment.name for s in slots if attribute(s.segment.name) != s.segment.name}
        )
        return {attribute(name): name for name in names}

    def _functions(self) -> list[Function]:
        return functions_below(self.root)

    @cached_property
    def has_weights(self) -> bool:
        """Whether the network's element type can be told from a weight."""
        slots = (s for f in self._functions() for s, _ in owned_slots(f))
        return any(isinstance(s, LayerSlot | WeightSlot) for s in slots)

    @cached_property
    def has_parameters(self) -> bool:
        """Whether anything of the network is trained."""
        return any(owns_weights(f, set()) for f in self._functions())

    @cached_property
    def counts_batches(self) -> bool:
        """Whether torch's state has counters that are no weights of ours."""
        slots = (s for f in self._functions() for s, _ in owned_slots(f))
        return any(isinstance(s, LayerSlot) and s.layer == "batch_norm" for s in slots)

    @property
    def fewer(self) -> bool:
        """Whether a training's checkpoint has weights that the file has no use for."""
        return self.unit.inference is not None and self.unit.inference.fewer

    def key(self, name: str, *, inward: bool = False) -> str:
        """A weight's name outside; inward: its name in torch's state, from that outside."""
        if not self.renamed:
            return name
        found = self.renamed.items()
        pairs = ", ".join(f'"{b}": "{a}"' if inward else f'"{a}": "{b}"' for a, b in found)
        return f'".".join({{{pairs}}}.get(s, s) for s in {name}.split("."))'

    def export_weights(self) -> list[Statement]:
        skip = ' if not name.endswith("num_batches_tracked")' if self.counts_batches else ""
        # a copy: the next step would change the arrays
        wide = ".float()" if self.half else ""
        entry = f"{self.key('name')}: w{wide}.cpu().numpy().copy()"
        text = f"return {{{entry} for name, w in state.net.state_dict().items(){skip}}}"
        return [block(f"def export_weights(state: State) -> {ARRAYS}:", [line(text)])]

    def import_weights(self) -> list[Statement]:
        header = f"def import_weights(state: State, weights: {ARRAYS}) -> State:"
        body: list[Statement] = []
        if self.folds is not None:
            body.append(line("weights = from_training(weights)"))
        if self.fewer:
            own = f"{{{self.key('name')} for name in state.net.state_dict()}}"
            body.append(line(f"own = {own}"))
            body.append(line("weights = {name: w for name, w in weights.items() if name in own}"))
        entry = f"{self.key('name', inward=True)}: torch.as_tensor(w)"
        body.append(line(f"state.net.load_state_dict({{{entry} for name, w in weights.items()}})"))
        if self.averages:
            body.append(line("state.average.load_state_dict(state.net.state_dict())"))
        return [block(header, [*body, line("return state")])]

    def export_optimizer(self) -> list[Statement]:
        key = f"kind.removesuffix('_buffer')}}/{{{self.key('name')}}}"
        key = f'f"{{{key}"'
        if self.renamed:
            key = f'kind.removesuffix("_buffer") + "/" + {self.key("name")}'
        store = block(
            "for kind, slot in state.optimizer.state.get(parameter, {}).items():",
            [
                line(f'key = "step" if kind == "step" else {key}'),
                line("arrays[key] = slot.cpu().numpy().copy()"),
            ],
        )
        header = f"def export_optimizer(state: State) -> {ARRAYS}:"
        if not self.joint:
            body = groups.export_several(self.key("name"))
            return [block(header, [*body[:-1], *self.updates.exports(), body[-1]])]
        if not self.slot_kinds and self.updates.exports():
            arrays = line('arrays = {"step": np.array(0)}')
            return [block(header, [arrays, *self.updates.exports(), line("return arrays")])]
        if not self.slot_kinds:  # plain sgd remembers None
            return [block(header, [line('return {"step": np.array(0)}')])]
        body = [
            line('arrays = {"step": np.array(0)}'),
            block("for name, parameter in state.net.named_parameters():", [store]),
            *self.updates.exports(),
            line("return arrays"),
        ]
        return [block(header, list(body))]

    @cached_property
    def slot_kinds(self) -> dict[str, str]:
        """torch's name of each optimizer slot, with ours."""
        return {own: ours for m in self.minimized for own, ours in made(m).slots.items()}

    def import_optimizer(self) -> list[Statement]:
        header = f"def import_optimizer(state: State, arrays: {ARRAYS}) -> State:"
        more = self.updates.imports()
        decorator: list[Statement] = [line("@torch.no_grad()")]
        if not self.slot_kinds:
            found: list[Statement] = [block(header, [*more, line("return state")])]
            return [*decorator, *found] if more else found
        if len(self.minimized) > 1:
            body = groups.import_several(self.minimized, self.key("name"), self.joint)
            return [*decorator, block(header, [*body[:-1], *more, body[-1]])]
        key = self.key("name")
        inner: list[Statement] = [line("slots = state.optimizer.state[parameter]")]
        for torchs, ours in self.slot_kinds.items():
            saved = f'torch.as_tensor(arrays["{ours}/" + {key}])'
            inner.append(line(f'slots["{torchs}"] = torch.zeros_like(parameter).copy_({saved})'))
        if self.made_optimizer.counts:
            inner.append(line('slots["step"] = torch.tensor(float(arrays["step"]))'))
        first = next(iter(self.slot_kinds.values()))
        guarded = block(f'if "{first}/" + {key} in arrays:', inner)
        loop = block("for name, parameter in state.net.named_parameters():", [guarded])
        return [*decorator, block(header, [loop, *more, line("return state")])]

    # --- main ---

    def main(self) -> list[Statement]:
        training = self.unit.training is not None
        samples = sample_inputs(self.root if training else self.unit.model)
        entries = ", ".join(f'"{s.name}": {sample_text(s)}' for s in samples)
        body: list[Statement] = []
        if samples:
            body.append(line("rng = np.random.default_rng(0)"))
        if training:
            body += [
                line(f"batch = {{{entries}}}"),
                line("state = init()"),
                block("for step in range(5):", self._demo_step()),
            ]
        else:
            inputs = ", ".join(f"{s.name}={sample_text(s)}" for s in samples)
            body.append(line(f"outputs = predict(init(), {inputs})"))
            single = len(self.unit.model.outputs) == 1
            shown = "outputs.shape" if single else "{k: y.shape for k, y in outputs.items()}"
            body.append(line(f"print({shown})"))
        return [block('if __name__ == "__main__":', body)]

    def _demo_step(self) -> list[Statement]:
        draws = ", []" if self.takes_draws else ""
        assert self.unit.training is not None
        if self.unit.training.steps:
            return steps.demonstration(self.unit.training)
        numbers = only_numbers(self.unit.training)
        shown = f"name: round(value.item(), 4) for name, value in metrics.items(){numbers}"
        count = len(self.minimized)
        rate = "0.01" if count == 1 else f"(0.01,) * {count}"
        return [
            line(f"state, metrics = train_step(state, batch, {rate}{draws}, step=step)"),
            line(f"print(step, {{{shown}}})"),
        ]


def sample_text(sample: Sample) -> str:
    shape = ", ".join(map(str, sample.shape)) + ("," if len(sample.shape) == 1 else "")
    if sample.dtype is DType.BOOL:
        return f"rng.random(({shape})) < 0.5"
    if sample.dtype.is_int:
        return f"rng.integers({sample.high or 2}, size=({shape}))"
    return f"rng.standard_normal(({shape}))"
