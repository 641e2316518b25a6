"""What happens to gradients before an update and to averages after it, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlspec.codegen import Text, block, line
from dlspec.ir.tree import untrained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import Statement
    from dlspec.ir.graph import Training


def clipping(training: Training, grads: str) -> list[Statement]:
    """`clip_norm` and `clip_value`, of all gradients of a step."""
    for name in ("clip_norm", "clip_value"):
        if name in training.settings:
            return [line(f"{name}({grads}, {training.settings[name]!r})")]
    return []


STEP_SUMS = """\
    state.sums[name] += state.grads / COUNT
    state.taken[name] = (state.taken[name] + 1) % COUNT
    if state.taken[name]:
        return state, metrics
    state.grads[...] = state.sums[name]
    state.sums[name].fill(0)
"""


@dataclass(frozen=True)
class Updates:
    """accumulate: batches an update; decay: of the averaged weights; owner: of the weights."""

    training: Training
    owner: str

    def started(self, optimizers: Statement) -> list[Statement]:
        """The end of `init`."""
        made = "State(network, weights, grads, optimizers)"
        more: list[Statement] = []
        if self.training.accumulate > 1 and self.training.steps:
            more.append(line("state.sums = {name: np.zeros_like(grads) for name in STEPS}"))
            more.append(line("state.taken = dict.fromkeys(STEPS, 0)"))
        elif self.training.accumulate > 1:
            more.append(line("state.sums = np.zeros_like(grads)"))
        if self.training.ema is not None:
            more.append(line("state.average = weights.copy()"))
        if not more:
            return [optimizers, line(f"return {made}")]
        return [optimizers, line(f"state = {made}"), *more, line("return state")]

    def update(self, step: Sequence[Statement]) -> list[Statement]:
        """The optimizers' steps and what belongs to them, when their turn has come."""
        body = [*clipping(self.training, "[o.grads for o in state.optimizers]"), *step]
        if self.training.ema is not None:
            text = f"state.average += (1 - {self.training.ema!r}) * (state.weights - state.average)"
            body.append(line(text))
        if self.training.accumulate == 1:
            return body
        taken: list[Statement] = [line("state.grads[...] = state.sums"), line("state.sums.fill(0)")]
        return [
            line(f"state.sums += state.grads / {self.training.accumulate}"),
            block(f"if (step + 1) % {self.training.accumulate} == 0:", [*taken, *body]),
        ]

    def before_step(self) -> str:
        """Most runs of a step only add their gradients up."""
        if self.training.accumulate == 1:
            return ""
        return STEP_SUMS.replace("COUNT", str(self.training.accumulate))

    def after_step(self) -> str:
        """Averages of what a step has trained."""
        if self.training.ema is None:
            return ""
        return (
            "    for optimizer in sum(state.optimizers[name], []):\n"
            "        part = optimizer.part\n"
            "        own = state.average[part]\n"
            f"        own += (1 - {self.training.ema!r}) * (state.weights[part] - own)\n"
        )

    def inference(self, call: Statement) -> Statement:
        """A computation in inference mode."""
        return block("with averaged(state):", [call]) if self.training.ema is not None else call

    @property
    def imports(self) -> list[Statement]:
        """The end of `import_weights`."""
        return [] if self.training.ema is None else [line("state.average[...] = state.weights")]

    @property
    def stored(self) -> list[tuple[str, str]]:
        """What belongs into a checkpoint besides the optimizers: its kind, and {path: view}."""
        found: list[tuple[str, str]] = []
        if self.training.accumulate > 1 and not self.training.steps:
            views = f"flat_views({self.owner}, state.sums)"
            if untrained(self.training, self.training.minimize):
                paths = tuple(path for m in self.training.minimize for path in m.over)
                views = f"{{k: a for k, a in {views}.items() if within(k, {paths!r})}}"
            found.append(("accumulated", views))
        if self.training.ema is not None:
            found.append(("ema", f"flat_views({self.owner}, state.average)"))
        return found

    def exports(self) -> list[Statement]:
        return [
            Text(
                f'for path, view in {views}.items():\n    arrays[f"{kind}/{{path}}"] = view.copy()'
            )
            for kind, views in self.stored
        ]

    def restores(self) -> list[Statement]:
        return [
            Text(f'for path, view in {views}.items():\n    view[...] = arrays[f"{kind}/{{path}}"]')
            for kind, views in self.stored
        ]
