"""The protocol of a training section with several steps, each with optimizers of its own."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from dlspec.codegen import NextDraw, Text, assign, only_numbers, python, unsupported_at
from dlspec.ir.graph import CallNode
from dlspec.ops.optimizers import Sgd
from dlspec_jax.functions import Forward
from dlspec_jax.optimizers import chain
from dlspec_jax.updates import clipping

if TYPE_CHECKING:
    from dlspec.codegen import Statement
    from dlspec.ir.graph import Function, Minimize, Step, Training
    from dlspec_jax.protocol import Protocol

DECLARATION = '''\
class Step(NamedTuple):
    """losses: gives the metrics; minimized, trained (paths of weights), optimizers: one for each
    `minimize`."""

    losses: Callable
    minimized: tuple
    trained: tuple
    optimizers: tuple
    slots: tuple
    counts: bool
    times: int = 1
    every: int = 1'''

DIFFERENTIATE = '''\
@partial(jax.jit, static_argnames="name")
def differentiate(state, batch, name{chance}):
    """Metrics of a step, its gradients, one tree for each `minimize`{and_buffers}."""
    batch, step_ = as_inputs(batch, state["params"]), STEPS[name]

    def loss(trained, minimized):
        params = with_part(state["params"], trained)
{losses}
        return metrics[minimized], {aux}

    grads = []
    for minimized, paths in zip(step_.minimized, step_.trained, strict=True):
        chosen = part(state["params"], paths)
        (_, {aux}), found = jax.value_and_grad(loss, has_aux=True)(chosen, minimized)
        grads.append(found)
{keep}    return metrics, grads{buffers}'''

KEEP = """\
    buffers = with_part(state["buffers"], part(buffers, sum(step_.trained, ())))
"""

UPDATE = '''\
@partial(jax.jit, donate_argnums=0, static_argnames="name")
def update(state, batch, lr, name{chance}):
    """One run of a step: all its gradients, then its updates."""
    metrics, grads{buffers} = differentiate(state, batch, name{chance})
{sums}{clip}    params, optimizers = state["params"], list(state["optimizer"][name])
    for i, (optimizer, found) in enumerate(zip(STEPS[name].optimizers, grads, strict=True)):
        chosen = part(params, tuple(found))
        updates, optimizers[i] = optimizer.update(found, optimizers[i], chosen)
        chosen = jax.tree.map(lambda p, u, rate=lr[i]: p - rate * u, chosen, updates)
        params = with_part(params, chosen)
    optimizer = {{**state["optimizer"], name: optimizers}}
    runs = {{**state["runs"], name: state["runs"][name] + 1}}
{average}{result}'''

ADDED = """\
    sums = jax.tree.map(lambda s, g: s + g / COUNT, state["sums"][name], grads)
"""
TAKEN = """\
    grads, sums = sums, jax.tree.map(jnp.zeros_like, sums)
    sums = {**state["sums"], name: sums}
"""

ACCUMULATE = '''\
@partial(jax.jit, donate_argnums=0, static_argnames="name")
def accumulate(state, batch, name{chance}):
    """One more batch for the next update of a step. The old state is used up."""
    metrics, grads{buffers} = differentiate(state, batch, name{chance})
{added}    sums = {{**state["sums"], name: sums}}
    return {{**state,{new_buffers} "sums": sums}}, metrics'''

TAKE_TURNS = '''\
def train_step(state, batch, lr, name, *, seed=0, step=0{draws}):
    """The new state and the metrics of one run of a step; an update after so many. The old state
    is used up."""
    taken = {{**state["taken"], name: (state["taken"][name] + 1) % {count}}}
    state = {{key: entry for key, entry in state.items() if key != "taken"}}
    if taken[name]:
        state, metrics = accumulate(state, batch, name{chance})
    else:
        state, metrics = update(state, batch, tuple(lr), name{chance})
    return {{**state, "taken": taken}}, metrics'''

TRAIN_STEP = '''\
def train_step(state, batch, lr, name, *, seed=0, step=0{draws}):
    """The new state and the metrics of one run of a step. The old state is used up."""
    return update(state, batch, tuple(lr), name{chance})'''

GRADIENTS = '''\
def gradients(state, batch, *, seed=0, step=0{draws}):
    """Metrics, and the gradients of each step from one state, as `step/weight`."""
    metrics, arrays = {{}}, {{}}
{take}    for name in STEPS:
        found, grads{rest} = differentiate(state, batch, name{chance})
        metrics |= found
        for tree in grads:
            arrays |= prefixed(f"{{name}}/", {named})
    return metrics, arrays'''

EXPORT = '''\
def export_optimizer(state):
    """The optimizers' arrays as `kind/step/weight`, and how often they were run."""
    arrays = {}
    for name, optimizers in state["optimizer"].items():
        if STEPS[name].counts:
            arrays[f"step/{name}"] = np.array(state["runs"][name])
        for optimizer, slots in zip(optimizers, STEPS[name].slots, strict=True):
            for kind, own in slots.items():
                tree = optax.tree_utils.tree_get(optimizer, own)
                arrays |= prefixed(f"{kind}/{name}/", NAMED)
EXPORTS    return arrays'''

IMPORT = '''\
def import_optimizer(state, arrays):
    """The state with these arrays in its optimizers."""
    found, runs = {}, {}
    for name, optimizers in state["optimizer"].items():
        found[name], runs[name] = [], jnp.array(int(arrays.get(f"step/{name}", 0)))
        for optimizer, slots in zip(optimizers, STEPS[name].slots, strict=True):
            for kind, own in slots.items():
                tree = optax.tree_utils.tree_get(optimizer, own)
                given = without(f"{kind}/{name}/", arrays)
                tree = RENAMED
                optimizer = optax.tree_utils.tree_set(optimizer, **{own: tree})
            if optax.tree_utils.tree_get(optimizer, "count") is not None:
                count = jnp.array(runs[name], jnp.int32)
                optimizer = optax.tree_utils.tree_set(optimizer, count=count)
            found[name].append(optimizer)
RESULT'''


START = """\
optimizer = {
    name: [
        optimizer.init(part(params, paths))
        for optimizer, paths in zip(step.optimizers, step.trained, strict=True)
    ]
    for name, step in STEPS.items()
}
runs = {name: jnp.array(0) for name in STEPS}"""

START_SUMS = """\
sums = {
    name: [jax.tree.map(jnp.zeros_like, part(params, paths)) for paths in step.trained]
    for name, step in STEPS.items()
}"""
SUMS_EXPORT = """\
    for name, trees in state["sums"].items():
        arrays[f"taken/{name}"] = np.array(state["taken"][name])
        for tree in trees:
            arrays |= prefixed(f"accumulated/{name}/", NAMED)
"""
SUMS_IMPORT = """\
    sums, taken = {}, {}
    for name, trees in state["sums"].items():
        taken[name] = int(arrays[f"taken/{name}"])
        given = without(f"accumulated/{name}/", arrays)
        sums[name] = [RENAMED for tree in trees]
"""

DEMONSTRATION = """\
for name in STEPS:
    lr = (0.01,) * len(STEPS[name].optimizers)
    state, metrics = train_step(state, batch, lr, name, step=step)
    print(step, {{key: round(float(value), 4) for key, value in metrics.items(){numbers}}})"""


def rules(training: Training) -> list[Statement]:
    """The rule of an optimizer that optax lacks: one a file."""
    found: Statement | None = None
    first: Minimize | None = None
    for minimize in training.minimize:
        rule = chain(minimize).rule
        if rule is None:
            continue
        if first is not None and not same_rule(first, minimize):
            raise unsupported_at("jax", "two optimizers that optax lacks", minimize.span)
        found, first = rule, first or minimize
    return [] if found is None else [found]


def same_rule(a: Minimize, b: Minimize) -> bool:
    return (a.optimizer, {**a.settings, "lr": 0}) == (b.optimizer, {**b.settings, "lr": 0})


class StepLosses(Forward):
    """The body of one step: gives its metrics by name."""

    metrics: tuple[str, ...] = ()
    stateful = False

    def result(self, value: ast.expr) -> ast.expr:
        outputs = value.elts if isinstance(value, ast.Tuple) and len(self.metrics) > 1 else [value]
        found = ast.Dict([python.constant(name) for name in self.metrics], list(outputs))
        return python.tuple_of(found, python.name("buffers")) if self.stateful else found


def alone(root: Function, step: Step) -> Function:
    """The training function with the call of one step only."""
    (call,) = (n for n in root.body if isinstance(n, CallNode) and n.slot is step.slot)
    new = replace_function(root)
    new.body, new.outputs, new.output_names = [call], call.results, step.metrics
    return new


def replace_function(f: Function) -> Function:
    new = type(f)(f.name, f.kind, f.specialisation)
    for key, value in vars(f).items():
        setattr(new, key, list(value) if isinstance(value, list) else value)  # type: ignore[arg-type]
    return new


def table(training: Training) -> list[Statement]:
    """`STEPS`."""
    entries: dict[str, ast.expr] = {}
    outputs = [id(v) for v in training.function.outputs]
    for step in training.steps:
        mine = [m for m in training.minimize if m.step == step.name]
        losses = [training.metrics[outputs.index(id(m.loss))] for m in mine]
        fields: dict[str, ast.expr] = {
            "minimized": python.constant(tuple(losses)),
            "trained": python.constant(tuple(m.over or ("",) for m in mine)),
            "optimizers": ast.Tuple([chain(m).transformation for m in mine], ast.Load()),
            "slots": python.constant(tuple(chain(m).names for m in mine)),
            "counts": python.constant(any(not isinstance(chain(m).optimizer, Sgd) for m in mine)),
        }
        for key, value in (("times", step.times), ("every", step.every)):
            if value != 1:
                fields[key] = python.constant(value)
        function = python.name(f"{step.name}_losses")
        entries[step.name] = python.call("Step", function, **fields)
    found = ast.Dict([python.constant(name) for name in entries], [*entries.values()])
    return [assign(["STEPS"], found)]


def statements(protocol: Protocol) -> list[list[Statement]]:
    """What trains: after the functions that give each step's losses."""
    stateful, random = protocol.traits.stateful, protocol.traits.random
    drawn = random and protocol.inputs_drawn
    arguments = protocol.loss_arguments(training=True).replace('state["params"]', "params")
    losses = f"metrics{', buffers' if stateful else ''} = step_.losses({arguments})"
    texts = {
        "chance": protocol.chance(),
        "and_buffers": ", and the buffers after it" if stateful else "",
        "buffers": ", buffers" if stateful else "",
        "losses": "\n".join(python.statement(losses, 8)),
        "aux": "(metrics, buffers)" if stateful else "metrics",
        "keep": KEEP if stateful else "",
        "entry": ' "buffers": buffers,' if stateful else "",
        "draws": ", draws=()" if drawn else "",
        "rest": ", _" if stateful else "",
        "take": "",
        "clip": "",
        "named": protocol.named("tree"),
    }
    assert protocol.unit.training is not None
    if limit := clipping(protocol.unit.training):
        texts["clip"] = f"    {limit}\n"
    decay = protocol.unit.training.ema
    texts["average"] = "" if decay is None else AVERAGE.format(decay=decay)
    if decay is not None:
        texts["entry"] += ' "average": average,'
    gradients = GRADIENTS
    if drawn:
        taken = "    counts = {counts}\n".replace("{counts}", repr(counts(protocol)))
        texts["take"] = taken
        gradients = gradients.replace(
            "    for name in STEPS:\n",
            "    for name in STEPS:\n"
            "        given, draws = draws[: counts[name]], draws[counts[name] :]\n",
        ).replace("name{chance}", "name, given")
    parts = [DIFFERENTIATE, UPDATE, TRAIN_STEP, gradients]
    texts["sums"] = ""
    if (count := protocol.unit.training.accumulate) > 1:
        parts[2:3] = [ACCUMULATE, TAKE_TURNS]
        texts["count"] = str(count)
        texts["added"] = ADDED.replace("COUNT", str(count))
        texts["sums"] = texts["added"] + TAKEN
        texts["new_buffers"] = ' "buffers": buffers,' if stateful else ""
        texts["entry"] += ' "sums": sums,'
    entries = f'"params": params,{texts["entry"]} "optimizer": optimizer, "runs": runs'
    texts["result"] = "\n".join(python.statement(f"return {{{entries}}}, metrics", 4))
    return [[Text(part.format(**texts))] for part in parts]


AVERAGE = """\
    paths = sum(STEPS[name].trained, ())
    old, new = part(state["average"], paths), part(params, paths)
    old = jax.tree.map(lambda a, p: a + (1 - {decay!r}) * (p - a), old, new)
    average = with_part(state["average"], old)
"""


def checkpoint(protocol: Protocol) -> list[list[Statement]]:
    """`export_optimizer` and `import_optimizer`."""
    assert protocol.unit.training is not None
    exports = imports = ""
    for kind, entry in protocol.updates(protocol.unit.training).stored.items():
        named = protocol.named(f'state["{entry}"]')
        exports += f'    arrays |= prefixed("{kind}/", {named})\n'
        renamed = protocol.renamed(f'without("{kind}/", arrays)', f'state["{entry}"]')
        imports += f', "{entry}": {renamed}'
    if protocol.unit.training.accumulate > 1:
        exports += SUMS_EXPORT.replace("NAMED", protocol.named("tree"))
        imports += ', "sums": sums, "taken": taken'
    export = EXPORT.replace("NAMED", protocol.named("tree")).replace("EXPORTS", exports)
    renamed = protocol.renamed("given", "tree")
    imported = IMPORT
    if protocol.unit.training.accumulate > 1:
        imported = imported.replace("RESULT", f"{SUMS_IMPORT}RESULT")
    result = f'return {{**state, "optimizer": found, "runs": runs{imports}}}'
    imported = imported.replace("RESULT", "\n".join(python.statement(result, 4)))
    return [text(export), text(imported.replace("RENAMED", renamed))]


def text(source: str) -> list[Statement]:
    return [Text(source)]


def counts(protocol: Protocol) -> dict[str, int]:
    """How many draws each step takes: they are handed over together, one step after the other."""
    from dlspec.ir.graph import OpNode, RepeatNode, walk

    def of(function: Function) -> int:
        found = 0
        for node in walk(function.body):
            if isinstance(node, OpNode) and isinstance(node.op, NextDraw):
                found += 1
            elif isinstance(node, CallNode):
                found += of(node.function)
            elif isinstance(node, RepeatNode):
                found += node.count.evaluate(function.values()) * of(node.function)
        return found

    training = protocol.unit.training
    assert training is not None
    return {step.name: of(step.slot.function) for step in training.steps}


def demonstration(training: Training) -> Text:
    return Text(DEMONSTRATION.format(numbers=only_numbers(training)))
