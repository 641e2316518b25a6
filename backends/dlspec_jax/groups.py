"""Training some of the weights, or with several optimizers: trees of what lies below paths."""

from __future__ import annotations

import ast
from itertools import pairwise
from typing import TYPE_CHECKING

from dlspec.codegen import Text, assign, python
from dlspec_jax.optimizers import chain

if TYPE_CHECKING:
    from dlspec.codegen import Statement
    from dlspec.ir.graph import Minimize, Training

DIFFERENTIATE = '''\
@jax.jit
def differentiate(state, batch{chance}):
    """Metrics of a batch in training mode, and the gradients of what is trained, by path."""
    batch = as_inputs(batch, state["params"])

    def loss(trained):
        params = with_part(state["params"], trained)
        return loss_and_reports({arguments})

    trained = part(state["params"], {paths})
    (loss, {aux}), grads = jax.value_and_grad(loss, has_aux=True)(trained)
{keep}    return {{"loss": loss, **reports}}, grads{buffers}'''

KEEP = """\
    # what is not trained keeps its running statistics
    buffers = with_part(state["buffers"], part(buffers, {paths}))
"""

EXPORT = '''\
def export_optimizer(state):
    """The optimizers' arrays as `kind/weight`, and the number of steps."""
    arrays = {{"step": np.array(state["step"])}}
    for optimizer, slots in zip(state["optimizer"], SLOTS, strict=True):
        for kind, own in slots.items():
            tree = optax.tree_utils.tree_get(optimizer, own)
            arrays |= prefixed(f"{{kind}}/", {named})
{more}    return arrays'''

IMPORT = '''\
def import_optimizer(state, arrays):
    """The state with these arrays in its optimizers."""
    step, optimizers = jnp.array(arrays["step"]), []
    for optimizer, slots in zip(state["optimizer"], SLOTS, strict=True):
        for kind, own in slots.items():
            tree, given = optax.tree_utils.tree_get(optimizer, own), without(f"{{kind}}/", arrays)
            optimizer = optax.tree_utils.tree_set(optimizer, **{{own: {renamed}}})
        if optax.tree_utils.tree_get(optimizer, "count") is not None:
            count = jnp.array(step, jnp.int32)  # an array of its own: the step donates both
            optimizer = optax.tree_utils.tree_set(optimizer, count=count)
        optimizers.append(optimizer)
{more}    return {{**state, "optimizer": optimizers, "step": step{entries}}}'''


def is_grouped(training: Training) -> bool:
    """Whether other than all weights are trained by one optimizer."""
    return not training.steps and any(m.over for m in training.minimize)


def optimizers(training: Training) -> list[Statement]:
    """The optimizers, and the paths of what each trains."""
    if len(training.minimize) == 1:
        (minimize,) = training.minimize
        found = chain(minimize)
        made = assign(
            ["OPTIMIZER"], found.transformation, comment=f"{minimize.optimizer}, without lr"
        )
        return [made, assign(["TRAINED"], python.constant(minimize.over))]
    chains = [chain(m) for m in training.minimize]
    made = ast.Tuple([c.transformation for c in chains], ast.Load())
    names = ", ".join(m.optimizer for m in training.minimize)
    return [
        assign(["OPTIMIZERS"], made, comment=f"{names}, without lr"),
        assign(["TRAINED"], python.constant(tuple(m.over for m in training.minimize))),
        assign(["SLOTS"], python.constant(tuple(c.names for c in chains))),
    ]


def started(training: Training) -> str:
    """The optimizer's state, or a list of them."""
    if len(training.minimize) == 1:
        return "OPTIMIZER.init(part(params, TRAINED))"
    pairs = "zip(OPTIMIZERS, TRAINED, strict=True)"
    return f"[optimizer.init(part(params, paths)) for optimizer, paths in {pairs}]"


def differentiate(
    training: Training, arguments: str, chance: str, *, stateful: bool
) -> list[Statement]:
    """`differentiate`."""
    one = len(training.minimize) == 1
    paths = "TRAINED" if one else "sum(TRAINED, ())"
    texts = {
        "chance": chance,
        "arguments": arguments.replace('state["params"]', "params"),
        "paths": paths,
        "aux": "(reports, buffers)" if stateful else "reports",
        "keep": KEEP.format(paths=paths) if stateful else "",
        "buffers": ", buffers" if stateful else "",
    }
    return [Text(DIFFERENTIATE.format(**texts))]


def checkpoint_functions(*, stacks: bool, stored: dict[str, str]) -> list[list[Statement]]:
    """`export_optimizer` and `import_optimizer` of several optimizers."""
    named = "named(unstacked(tree))" if stacks else "named(tree)"
    renamed = "renamed(tree, given)"
    if stacks:
        renamed = "restacked(renamed(unstacked(tree), given), tree)"
    exported = imported = entries = ""
    for kind, entry in stored.items():
        exported += f'    tree = state["{entry}"]\n    arrays |= prefixed("{kind}/", {named})\n'
        imported += f'    tree, given = state["{entry}"], without("{kind}/", arrays)\n'
        imported += f"    {entry} = {renamed}\n"
        entries += f', "{entry}": {entry}'
    return [
        [Text(EXPORT.format(named=named, more=exported))],
        [Text(IMPORT.format(renamed=renamed, more=imported, entries=entries))],
    ]


def numbered(minimized: tuple[Minimize, ...]) -> frozenset[str]:
    """Names of whose blocks single ones are trained: they are no stack."""
    found: set[str] = set()
    for minimize in minimized:
        for path in minimize.over:
            parts = path.split(".")
            found.update(name for name, index in pairwise(parts) if index.isdigit())
    return frozenset(found)
