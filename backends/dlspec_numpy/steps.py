"""The protocol of a training section with several steps, each with optimizers of its own."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import Line, Text, assign, block, line, only_numbers, python
from dlspec.ir.graph import CallNode
from dlspec_numpy.updates import clipping

if TYPE_CHECKING:
    from dlspec.codegen import Statement
    from dlspec.ir.graph import Minimize, Step, Training
    from dlspec_numpy.module import Protocol

DECLARATION = '''\
class Step:
    """metrics: losses, then reports; losses: one for each `minimize`; trained: paths."""

    def __init__(self, metrics, losses, trained, times=1, every=1):
        self.metrics, self.losses, self.trained = metrics, losses, trained
        self.times, self.every = times, every'''

DIFFERENTIATE = '''\
def differentiate(state, name, batch, rng):
    """The metrics of a step. The gradients of what it trains are left in `state.grads`; of the
    running statistics only those of what it trains are new."""
    step = STEPS[name]
    kept = buffers(state.network)
    values, backward = forward(state, name, batch, rng)
    outside = {k: a for k, a in kept.items() if not within(k, step.trained)}
    restore(state.network, outside)
    wanted = np.zeros_like(state.grads)
    losses = list(dict.fromkeys(step.losses))
    for loss in losses:
        state.grads.fill(0)
        backward(*(state.dtype.type(other == loss) for other in losses))
        for own, optimizers in zip(step.losses, state.optimizers[name]):
            for optimizer in optimizers if own == loss else ():
                wanted[optimizer.part] = state.grads[optimizer.part]
    state.grads[...] = wanted
    return dict(zip(step.metrics, values))'''

TRAIN_STEP = '''\
def train_step(state, batch, lr, name, *, seed=0, step=0{draws}):
    """One run of a step: all its gradients, then its updates. lr: one a `minimize`."""
    metrics = differentiate(state, name, batch, {rng})
{sums}{clip}    for optimizers, rate in zip(state.optimizers[name], lr):
        for optimizer in optimizers:
            optimizer.update(rate)
{average}    return state, metrics'''

GRADIENTS = '''\
def gradients(state, batch, *, seed=0, step=0{draws}):
    """Metrics, and the gradients of each step from one state, as `step/weight`; no update."""
    metrics, arrays, rng = {{}}, {{}}, {rng}
    for name in STEPS:
        kept = buffers(state.network)
        metrics |= differentiate(state, name, batch, rng)
        restore(state.network, kept)
        for path, array in named_gradients(state.network).items():
            if within(path, STEPS[name].trained):
                arrays[f"{{name}}/{{path}}"] = array
    return metrics, arrays'''

OPTIMIZERS = '''\
def step_views(state):
    """(kind, step, path, view) of every array of the optimizers."""
    for name, groups in state.optimizers.items():
        optimizers = [optimizer for group in groups for optimizer in group]
        part = State(state.network, state.weights, state.grads, optimizers)
        for key, view in optimizer_views(part, state.network):
            kind, path = key.split("/", 1)
            yield kind, name, path, view


def export_optimizer(state):
    """{"step/NAME": …, "slot/NAME/path": array} for each step, in torch's layouts."""
    found = {f"{kind}/{name}/{path}": view.copy() for kind, name, path, view in step_views(state)}
    for name, groups in state.optimizers.items():
        for optimizer in (optimizer for group in groups for optimizer in group):
            if type(optimizer).__name__ != "Sgd":
                found[f"step/{name}"] = np.asarray(optimizer.step)
EXPORTS    return found


def import_optimizer(state, arrays):
    """Takes over what `export_optimizer` gave."""
    for kind, name, path, view in step_views(state):
        view[...] = arrays[f"{kind}/{name}/{path}"]
    for name, groups in state.optimizers.items():
        for optimizer in (optimizer for group in groups for optimizer in group):
            optimizer.step = int(arrays.get(f"step/{name}", 0))
IMPORTS    return state'''

SUMS = """\
def sum_views(state):
    \"\"\"(step/path, view) of the gradients that wait for an update.\"\"\"
    for name, flat in state.sums.items():
        for path, view in flat_views(state.network, flat).items():
            if within(path, STEPS[name].trained):
                yield f"{name}/{path}", view


"""
SUMS_EXPORT = """\
    found |= {f"taken/{name}": np.asarray(count) for name, count in state.taken.items()}
    found |= {f"accumulated/{key}": view.copy() for key, view in sum_views(state)}
"""
SUMS_IMPORT = """\
    state.taken = {name: int(arrays[f"taken/{name}"]) for name in STEPS}
    for key, view in sum_views(state):
        view[...] = arrays[f"accumulated/{key}"]
"""

DEMONSTRATION = """\
for name in STEPS:
    lr = [0.01] * len(STEPS[name].losses)
    state, metrics = train_step(state, batch, lr, name, step=step)
    print(step, {{key: round(float(value), 4) for key, value in metrics.items(){numbers}}})"""


def checkpoint(protocol: Protocol) -> Statement:
    """`export_optimizer` and `import_optimizer`."""
    exports = imports = ""
    for kind, views in protocol.update.stored:
        loop = f"    for path, view in {views}.items():\n        "
        exports += f'{loop}found[f"{kind}/{{path}}"] = view.copy()\n'
        imports += f'{loop}view[...] = arrays[f"{kind}/{{path}}"]\n'
    head = ""
    if protocol.training.accumulate > 1:
        head, exports, imports = SUMS, exports + SUMS_EXPORT, imports + SUMS_IMPORT
    return Text(head + OPTIMIZERS.replace("EXPORTS", exports).replace("IMPORTS", imports))


def of_step(protocol: Protocol, step: Step) -> list[Minimize]:
    return [m for m in protocol.training.minimize if m.step == step.name]


def optimizers(protocol: Protocol) -> list[Statement]:
    """The end of `init`: for each step, the optimizers of each of its `minimize`."""
    entries: dict[str, ast.expr] = {}
    for step in protocol.training.steps:
        groups = [protocol.optimizers_of(m) for m in of_step(protocol, step)]
        made = [python.expr(f"[{', '.join(group)}]") for group in groups]
        entries[step.name] = ast.List(list(made), ast.Load())
    return protocol.update.started(assign(["optimizers"], dictionary(entries)))


def dictionary(entries: dict[str, ast.expr]) -> ast.expr:
    return ast.Dict([python.constant(name) for name in entries], [*entries.values()])


def table(protocol: Protocol) -> Statement:
    training = protocol.training
    outputs = [id(v) for v in training.function.outputs]
    entries: dict[str, ast.expr] = {}
    for step in training.steps:
        mine = of_step(protocol, step)
        nets = [p for m in mine for p in m.over or ("",)]
        fields: dict[str, object] = {
            "metrics": step.metrics,
            "losses": tuple(training.metrics[outputs.index(id(m.loss))] for m in mine),
            "trained": tuple(dict.fromkeys(nets)),
        }
        fields |= {k: n for k, n in (("times", step.times), ("every", step.every)) if n != 1}
        made = {k: python.constant(v) for k, v in fields.items()}
        entries[step.name] = python.call("Step", **made)
    return assign(["STEPS"], dictionary(entries))


def forward(protocol: Protocol) -> Statement:
    """`forward(state, name, batch, rng)`: a step's metrics, and what takes it back."""
    program, root = protocol.program, protocol.function
    body: list[Statement] = [
        Text('"""A step\'s metrics, and a function of its losses\' gradients that goes back."""'),
        line("network = state.network"),
    ]
    calls = {id(n.slot): n for n in root.body if isinstance(n, CallNode)}
    for step in protocol.training.steps:
        call = calls[id(step.slot)]
        arguments = [protocol.cast(v, f'batch["{v.name}"]') for v in call.operands]
        nets = [protocol.place(slot) for slot in call.refs]
        if call.function in program.random[True]:
            nets.append("rng")
        made = f"network.{program.attribute(root, step.name)}"
        instance = protocol.place(step.slot)
        given = ", ".join([*arguments, *nets])
        back = ", ".join(n for n in nets if n != "rng")
        values = "values" if len(step.metrics) > 1 else "value"
        inner: list[Statement] = [line(f"{values}, saved = {instance}.forward({given})")]
        if len(step.metrics) == 1:
            inner.append(line("values = (value,)"))
        tail = f", {back}" if back else ""
        inner.append(line(f"return values, lambda *d: {made}.backward(*d, saved{tail})"))
        body.append(block(f"if name == {python.flat(python.constant(step.name))}:", inner))
    body.append(line("raise KeyError(name)"))
    return block("def forward(state, name, batch, rng):", body)


def training(protocol: Protocol) -> list[Statement]:
    draws = protocol.program.draws
    texts = {
        "draws": ", draws=()" if draws else "",
        "rng": "iter(draws)" if draws else "np.random.default_rng((seed, step))",
    }
    clip = clipping(protocol.training, "[state.grads]")
    texts["sums"] = protocol.update.before_step()
    texts["average"] = protocol.update.after_step()
    texts["clip"] = "".join(f"    {c.code}\n" for c in clip if isinstance(c, Line))
    parts = [Text(part.format(**texts)) for part in (TRAIN_STEP, GRADIENTS)]
    return [
        Text(DECLARATION), table(protocol), forward(protocol), Text(DIFFERENTIATE), *parts,
    ]  # fmt: skip


def demonstration(training: Training) -> Text:
    return Text(DEMONSTRATION.format(numbers=only_numbers(training)))
