"""An update from a batch's gradients: limits, sums over batches, optimizers, averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlspec.codegen import Text, block, line

if TYPE_CHECKING:
    from dlspec.codegen import Statement
    from dlspec.ir.graph import Training

LOOP = """\
params, optimizer = state["params"], list(state["optimizer"])
for i, (rule, paths) in enumerate(zip(OPTIMIZERS, TRAINED, strict=True)):
    trained = part(params, paths)
    found = {path: grads[path] for path in trained}
    updates, optimizer[i] = rule.update(found, optimizer[i], trained)
    trained = jax.tree.map(lambda p, u, rate=lr[i]: p - rate * u, trained, updates)
    params = with_part(params, trained)"""
PART = """\
trained = part(state["params"], TRAINED)
updates, optimizer = OPTIMIZER.update(grads, state["optimizer"], trained)
trained = jax.tree.map(lambda p, u: p - lr * u, trained, updates)
params = with_part(state["params"], trained)"""
WHOLE = """\
updates, optimizer = OPTIMIZER.update(grads, state["optimizer"], state["params"])
params = jax.tree.map(lambda p, u: p - lr * u, state["params"], updates)"""


def clipping(training: Training) -> str:
    """`clip_norm` or `clip_value`, of all gradients of a step, or nothing."""
    for name in ("clip_norm", "clip_value"):
        if name in training.settings:
            return f"grads = {name}(grads, {training.settings[name]!r})"
    return ""


@dataclass(frozen=True)
class Updates:
    """chance: parameters that draws depend on; grouped: parts are trained, or with several
    optimizers."""

    training: Training
    chance: str
    stateful: bool
    grouped: bool

    @property
    def differentiated(self) -> Statement:
        results = "metrics, grads, buffers" if self.stateful else "metrics, grads"
        return line(f"{results} = differentiate(state, batch{self.chance})")

    @property
    def added(self) -> Statement:
        share = f"s + g / {self.training.accumulate}"
        return line(f'sums = jax.tree.map(lambda s, g: {share}, state["sums"], grads)')

    def functions(self) -> list[list[Statement]]:
        """`update`, and `accumulate` for the batches before it."""
        found = [self.update()]
        if self.training.accumulate > 1:
            buffers = '"buffers": buffers, ' if self.stateful else ""
            body: list[Statement] = [
                Text('"""One more batch for the next update. The old state is used up."""'),
                self.differentiated,
                self.added,
                line(f'return {{**state, {buffers}"sums": sums}}, metrics'),
            ]
            head = f"def accumulate(state, batch{self.chance}):"
            found.append([line("@partial(jax.jit, donate_argnums=0)"), block(head, body)])
        return found

    def update(self) -> list[Statement]:
        several = len(self.training.minimize) > 1
        what = "each optimizer" if several else "the optimizer"
        body: list[Statement] = [
            Text(f'"""One step of {what}. The old state\'s memory is used again."""'),
            self.differentiated,
        ]
        entries = ['"params": params', '"optimizer": optimizer', '"step": state["step"] + 1']
        if self.stateful:
            entries.insert(1, '"buffers": buffers')
        if self.training.accumulate > 1:
            body.append(self.added)
            entries.append('"sums": jax.tree.map(jnp.zeros_like, sums)')
        limit = clipping(self.training)
        if self.training.accumulate > 1:
            body.append(line(limit.replace("(grads", "(sums") or "grads = sums"))
        elif limit:
            body.append(line(limit))
        body.append(Text(LOOP if several else PART if self.grouped else WHOLE))
        if self.training.ema is not None:
            text = f"lambda a, p: a + (1 - {self.training.ema!r}) * (p - a)"
            body.append(line(f'average = jax.tree.map({text}, state["average"], params)'))
            entries.append('"average": average')
        body.append(line(f"return {{{', '.join(entries)}}}, metrics"))
        decorator = line("@partial(jax.jit, donate_argnums=0)")
        return [decorator, block(f"def update(state, batch, lr{self.chance}):", body)]

    @property
    def first(self) -> list[Statement]:
        """In `train_step`, before the update."""
        if self.training.accumulate == 1:
            return []
        call = line(f"return accumulate(state, batch{self.chance})")
        return [block(f"if (step + 1) % {self.training.accumulate}:", [call])]

    @property
    def started(self) -> list[str]:
        """Entries of a new state."""
        found: list[str] = []
        if self.training.accumulate > 1 and not self.training.steps:
            several = len(self.training.minimize) > 1
            tree = "params"
            if self.grouped:
                tree = f"part(params, {'sum(TRAINED, ())' if several else 'TRAINED'})"
            found.append(f'"sums": jax.tree.map(jnp.zeros_like, {tree})')
        if self.training.ema is not None:
            found.append('"average": jax.tree.map(jnp.copy, params)')
        return found

    @property
    def stored(self) -> dict[str, str]:
        """The entries of a state that belong into a checkpoint besides the optimizer, by kind."""
        found: dict[str, str] = {}
        if self.training.accumulate > 1 and not self.training.steps:
            found["accumulated"] = "sums"
        return found | ({"ema": "average"} if self.training.ema is not None else {})
