"""The protocol of a training section with several steps, each with optimizers of its own."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlspec.codegen import Text, assign, block, line, only_numbers, python, unsupported_at
from dlspec.codegen.names import snake
from dlspec.ir.graph import CallNode
from dlspec_torch.groups import key
from dlspec_torch.optimizers import made
from dlspec_torch.updates import AUTOCAST, STEP_SUMS, in_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import Statement
    from dlspec.ir.graph import Minimize, Step, Training
    from dlspec_torch.protocol import Protocol

KEYS = "*, seed: int = 0, step: int = 0"
DECLARATION = """\
class Step(NamedTuple):
    \"\"\"losses: gives the metrics; minimized: one for each optimizer; trained: what the keys of
    its weights begin with.\"\"\"

    losses: Callable[..., Metrics]
    minimized: tuple[str, ...]
    trained: tuple[str, ...]
    times: int = 1
    every: int = 1\
"""
RUN = """\
def run(net: {net}, name: str, batch: Arrays{draws}) -> Metrics:
    \"\"\"The metrics of a step. Only what it trains keeps its new running statistics.\"\"\"
    buffers = {{
        key: buffer.clone()
        for key, buffer in net.named_buffers()
        if not f"{{key}}.".startswith(STEPS[name].trained)
    }}
{losses}
    for key, buffer in net.named_buffers():
        if key in buffers:
            buffer.data.copy_(buffers[key])
    return metrics\
"""


def optimizers(protocol: Protocol) -> list[Statement]:
    """The end of `init`."""
    training = protocol.unit.training
    assert training is not None
    entries = {
        python.constant(step.name): python.list_of(
            *(python.expr(protocol.optimizer(m)) for m in of_step(training, step))
        )
        for step in training.steps
    }
    table = python.flat(ast.Dict([*entries], [*entries.values()]))
    declared = f"optimizers: dict[str, list[torch.optim.Optimizer]] = {table}"
    body: list[Statement] = [line(declared)]
    if protocol.averages:
        body.append(line("average = copy.deepcopy(net).requires_grad_(False)"))
    if training.accumulate > 1:
        body.append(Text(STEP_SUMS))
    more = ", average" * protocol.averages + ", sums, taken" * (training.accumulate > 1)
    return [*body, line(f"return State(net, optimizers{more})")]


def definitions(protocol: Protocol) -> tuple[Statement, ...]:
    """What the optimizers need: one rule a file."""
    training = protocol.unit.training
    assert training is not None
    found: tuple[Statement, ...] = ()
    first: Minimize | None = None
    for minimize in training.minimize:
        needed = made(minimize).definitions
        if not needed:
            continue
        if first is not None and not same_rule(first, minimize):
            raise unsupported_at("torch", "two optimizers that torch.optim lacks", minimize.span)
        found, first = needed, first or minimize
    return found


def same_rule(a: Minimize, b: Minimize) -> bool:
    return (a.optimizer, {**a.settings, "lr": 0}) == (b.optimizer, {**b.settings, "lr": 0})


def of_step(training: Training, step: Step) -> list[Minimize]:
    return [m for m in training.minimize if m.step == step.name]


def demonstration(training: Training) -> list[Statement]:
    shown = f"key: round(value.item(), 4) for key, value in metrics.items(){only_numbers(training)}"
    inner: Sequence[Statement] = [
        line("lr = (0.01,) * len(STEPS[name].minimized)"),
        line("state, metrics = train_step(state, batch, lr, name, step=step)"),
        line(f"print(step, {{{shown}}})"),
    ]
    return [block("for name in STEPS:", list(inner))]


@dataclass
class Stepped:
    protocol: Protocol

    @property
    def steps(self) -> tuple[Step, ...]:
        training = self.protocol.unit.training
        assert training is not None
        return training.steps

    def training(self) -> list[list[Statement]]:
        draws = self.protocol.given_draws
        losses = f"    metrics = STEPS[name].losses(net, batch{', draws' if draws else ''})"
        training = self.protocol.unit.training
        if training is not None and training.half:
            losses = f"    {AUTOCAST}\n    {losses}"
        text = RUN.rstrip("\n").format(
            net=self.protocol.net_class,
            draws=", draws: Iterator[Tensor]" if draws else "",
            losses=losses,
        )
        parts: list[list[Statement]] = [
            *self.losses(),
            [Text(DECLARATION.rstrip("\n"))],
            self.table(),
        ]
        return [*parts, [Text(text)], self.train_step()]

    def losses(self) -> list[list[Statement]]:
        """A function for each step."""
        p = self.protocol
        calls = {id(n.slot): n for n in p.root.body if isinstance(n, CallNode)}
        return [
            p.loss_function(loss_name(step), step.metrics, calls[id(step.slot)])
            for step in self.steps
        ]

    def table(self) -> list[Statement]:
        training = self.protocol.unit.training
        assert training is not None
        entries: dict[str, ast.expr] = {}
        for step in training.steps:
            position = {id(v): i for i, v in enumerate(training.function.outputs)}
            minimized = of_step(training, step)
            fields: dict[str, object] = {
                "minimized": tuple(training.metrics[position[id(m.loss)]] for m in minimized),
                "trained": trained(training, step),
            }
            fields |= {k: n for k, n in (("times", step.times), ("every", step.every)) if n != 1}
            given = {k: python.constant(v) for k, v in fields.items()}
            entries[step.name] = python.call("Step", python.name(loss_name(step)), **given)
        table = ast.Dict([python.constant(name) for name in entries], [*entries.values()])
        return [assign(["STEPS"], table)]

    def evaluate(self) -> list[Statement]:
        given = ", iter(())" if self.protocol.given_draws else ""
        found = "metrics"
        if self.protocol.takes_gradients:
            found = "{name: value.detach() for name, value in metrics.items()}"
        net = self.protocol.evaluated
        body: list[Statement] = [
            line("metrics: Metrics = {}"),
            block(
                "for step in STEPS.values():",
                in_precision(
                    self.protocol.unit.training,
                    [line(f"metrics |= step.losses({net}.eval(), batch{given})")],
                ),
            ),
            line(f"return {found}"),
        ]
        header = "def evaluate(state: State, batch: Arrays) -> Metrics:"
        return [self.protocol.inference, block(header, body)]

    def _head(self, name: str, extra: str, result: str) -> str:
        draws = ", draws: list[np.ndarray]" if self.protocol.given_draws else ""
        return f"def {name}(state: State, batch: Arrays{extra}{draws}, {KEYS}) -> {result}:"

    @property
    def given(self) -> str:
        return ", map(torch.as_tensor, draws)" if self.protocol.given_draws else ""

    def seeded(self) -> list[Statement]:
        if self.protocol.given_draws or not self.protocol.draws:
            return []
        return [line("torch.manual_seed(seed * 1_000_003 + step)")]

    def backward(self) -> Statement:
        """The gradients of each loss, once."""
        training = self.protocol.unit.training
        assert training is not None
        several = any(len(of_step(training, step)) > 1 for step in self.steps)
        kept = ", retain_graph=True" if several else ""
        back = line(f"metrics[loss].backward(inputs=inputs{kept})")
        inputs = 'inputs = [p for group in optimizer.param_groups for p in group["params"]]'
        pairs = "zip(STEPS[name].minimized, optimizers, strict=True)"
        losses = [[id(m.loss) for m in of_step(training, step)] for step in self.steps]
        if all(len(set(ids)) == len(ids) for ids in losses):
            return block(f"for loss, optimizer in {pairs}:", [line(inputs), back])
        mine = f"groups = [g for own, o in {pairs} if own == loss for g in o.param_groups]"
        inputs = 'inputs = [p for group in groups for p in group["params"]]'
        head = "for loss in dict.fromkeys(STEPS[name].minimized):"
        return block(head, [line(mine), line(inputs), back])

    def train_step(self) -> list[Statement]:
        stepping = block(
            "for optimizer, rate in zip(optimizers, lr, strict=True):",
            [
                block("for group in optimizer.param_groups:", [line('group["lr"] = rate')]),
                line("optimizer.step()"),
            ],
        )
        body: list[Statement] = [
            Text('"""One run of a step: all its gradients, then its updates. lr: one a loss."""'),
            *self.seeded(),
            line("state.net.train().zero_grad()"),
            line(f"metrics = run(state.net, name, batch{self.given})"),
            line("optimizers = state.optimizers[name]"),
            self.backward(),
            *self.protocol.updates.of_step([stepping]),
            line("return state, {key: value.detach() for key, value in metrics.items()}"),
        ]
        extra = ", lr: tuple[float, ...], name: str"
        return [block(self._head("train_step", extra, "tuple[State, Metrics]"), body)]

    def gradients(self) -> list[Statement]:
        p = self.protocol
        key = p.key("key")
        given = "drawn" if p.given_draws else ""
        wanted = [
            line('inputs = {id(p) for group in optimizer.param_groups for p in group["params"]}'),
            line("chosen = {k: p for k, p in net.named_parameters() if id(p) in inputs}"),
            line(
                "grads = torch.autograd.grad(metrics[loss], [*chosen.values()], "
                "retain_graph=True, materialize_grads=True)"
            ),
            line(
                f"arrays |= {{name + '/' + {key}: g.cpu().numpy() for key, g in "
                "zip(chosen, grads, strict=True)}"
            ),
        ]
        pairs = "zip(STEPS[name].minimized, optimizers, strict=True)"
        body: list[Statement] = [
            Text('"""The gradients of each step from one state, as `step/weight`; no update."""'),
            *self.seeded(),
            *([line("drawn = map(torch.as_tensor, draws)")] if given else []),
            line("found: Metrics = {}"),
            line("arrays: Arrays = {}"),
            line("net, all_optimizers = copy.deepcopy((state.net, state.optimizers))"),
            block(
                "for name, optimizers in all_optimizers.items():",
                [
                    line(f"metrics = run(net.train(), name, batch{', ' + given if given else ''})"),
                    block(f"for loss, optimizer in {pairs}:", list(wanted)),
                    line("found |= metrics"),
                ],
            ),
            line("return {key: value.detach() for key, value in found.items()}, arrays"),
        ]
        return [block(self._head("gradients", "", "tuple[Metrics, Arrays]"), body)]

    def export_optimizer(self) -> list[Statement]:
        key = self.protocol.key("key")
        inner: list[Statement] = [
            block(
                "for kind, slot in optimizer.state.get(parameter, {}).items():",
                [
                    block("if slot is None:", [line("continue")]),
                    line(f'path = "" if kind == "step" else "/" + {key}'),
                    line(
                        'arrays[kind.removesuffix("_buffer") + "/" + name + path] = '
                        "slot.cpu().numpy().copy()"
                    ),
                ],
            )
        ]
        loop = block("for key, parameter in state.net.named_parameters():", inner)
        body: list[Statement] = [
            line("arrays: Arrays = {}"),
            block(
                "for name, optimizers in state.optimizers.items():",
                [block("for optimizer in optimizers:", [loop])],
            ),
            *self.protocol.updates.exports(),
            line("return arrays"),
        ]
        return [block("def export_optimizer(state: State) -> Arrays:", body)]

    def import_optimizer(self) -> list[Statement]:
        key = self.protocol.key("key")
        training = self.protocol.unit.training
        assert training is not None
        slots = {ours: own for m in training.minimize for own, ours in made(m).slots.items()}
        kinds = assign(["kinds"], python.constant(slots))
        counting = "slots"
        if not all(made(m).counts for m in training.minimize):
            counting += " and not isinstance(optimizer, torch.optim.SGD)"
        inner: list[Statement] = [
            line("slots = optimizer.state[parameter]"),
            block(
                "for kind, own in kinds.items():",
                [
                    line(f'saved = arrays.get(kind + "/" + name + "/" + {key})'),
                    block(
                        "if saved is not None:",
                        [
                            line(
                                "slots[own] = torch.zeros_like(parameter).copy_("
                                "torch.as_tensor(saved))"
                            )
                        ],
                    ),
                ],
            ),
            block(
                f'if f"step/{{name}}" in arrays and {counting}:',
                [line('slots["step"] = torch.tensor(float(arrays[f"step/{name}"]))')],
            ),
        ]
        mine = 'mine = {id(p) for group in optimizer.param_groups for p in group["params"]}'
        loop = block(
            "for key, parameter in state.net.named_parameters():",
            [block("if id(parameter) in mine:", inner)],
        )
        body: list[Statement] = [
            kinds,
            block(
                "for name, optimizers in state.optimizers.items():",
                [block("for optimizer in optimizers:", [line(mine), loop])],
            ),
            *self.protocol.updates.imports(),
            line("return state"),
        ]
        header = "def import_optimizer(state: State, arrays: Arrays) -> State:"
        return [line("@torch.no_grad()"), block(header, body)]


def trained(training: Training, step: Step) -> tuple[str, ...]:
    """What the keys of the weights that a step trains begin with."""
    paths = [path for m in of_step(training, step) for path in m.over or ("",)]
    return tuple(dict.fromkeys(f"{key(path)}." if path else "" for path in paths))


def loss_name(step: Step) -> str:
    return f"{snake(step.name)}_losses"


def literal(value: object) -> str:
    return python.flat(python.constant(value))
