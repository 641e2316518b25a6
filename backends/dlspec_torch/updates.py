"""What happens to gradients before an update and to averages after it, as torch says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlspec.codegen import Text, block, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import Statement
    from dlspec.ir.graph import Training

FOLLOW = """\
with torch.no_grad():
    pairs = zip(state.average.parameters(), state.net.parameters(), strict=True)
    for average, weight in pairs:
        average.lerp_(weight, 1 - {decay!r})"""
FOLLOW_STEP = """\
with torch.no_grad():
    for key, average in state.average.named_parameters():
        if f"{{key}}.".startswith(STEPS[name].trained):
            average.lerp_(state.net.get_parameter(key), 1 - {decay!r})"""
FOLLOW_BUFFERS = """\
for own, buffer in zip(state.average.buffers(), state.net.buffers(), strict=True):
    own.copy_(buffer)"""
EXPORT_ACCUMULATED = """\
for name, parameter in state.net.named_parameters():
    if parameter.requires_grad:
        grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        arrays["accumulated/" + {key}] = grad.detach().cpu().numpy().copy()"""
IMPORT_ACCUMULATED = """\
for name, parameter in state.net.named_parameters():
    if parameter.requires_grad:
        saved = torch.as_tensor(arrays["accumulated/" + {key}])
        parameter.grad = torch.zeros_like(parameter).copy_(saved)"""
STEP_SUMS = """\
sums = {
    name: {
        key: torch.zeros_like(parameter)
        for key, parameter in net.named_parameters()
        if parameter.requires_grad and f"{key}.".startswith(step.trained)
    }
    for name, step in STEPS.items()
}
taken = dict.fromkeys(STEPS, 0)"""
ADD_STEP = """\
for key, total in state.sums[name].items():
    grad = state.net.get_parameter(key).grad
    if grad is not None:
        total.add_(grad, alpha=1 / COUNT)
state.taken[name] = (state.taken[name] + 1) % COUNT"""
TAKE_STEP = """\
for key, total in state.sums[name].items():
    state.net.get_parameter(key).grad = total.clone()
    total.zero_()"""
EXPORT_STEPS = """\
for name, sums in state.sums.items():
    arrays["taken/" + name] = np.asarray(state.taken[name])
    for key, total in sums.items():
        arrays["accumulated/" + name + "/" + {key}] = total.cpu().numpy().copy()"""
IMPORT_STEPS = """\
for name, sums in state.sums.items():
    state.taken[name] = int(arrays["taken/" + name])
    for key, total in sums.items():
        total.copy_(torch.as_tensor(arrays["accumulated/" + name + "/" + {key}]))"""
EXPORT_AVERAGE = """\
for name, average in state.average.named_parameters():
    arrays["ema/" + {key}] = average.cpu().numpy().copy()"""
IMPORT_AVERAGE = """\
for name, average in state.average.named_parameters():
    average.copy_(torch.as_tensor(arrays["ema/" + {key}]))"""


AUTOCAST = "with torch.autocast(torch.get_default_device().type, dtype=torch.bfloat16):"


def in_precision(training: Training | None, lines: Sequence[Statement]) -> list[Statement]:
    """Losses, in bfloat16 where the section asks for it."""
    if training is None or not training.half:
        return list(lines)
    return [block(AUTOCAST, list(lines))]


def clipping(training: Training) -> list[Statement]:
    """`clip_norm` and `clip_value`, of all gradients of a step."""
    for name, function in (("clip_norm", "clip_grad_norm_"), ("clip_value", "clip_grad_value_")):
        if name in training.settings:
            limit = training.settings[name]
            return [line(f"nn.utils.{function}(state.net.parameters(), {limit!r})")]
    return []


@dataclass(frozen=True)
class Updates:
    """accumulate: batches an update; decay: of the averaged weights; key: of the name."""

    training: Training
    key: str
    buffers: bool

    @property
    def stored_key(self) -> str:
        """The name in a checkpoint, of `key` where there are several steps."""
        return self.key.replace("name", "key") if self.training.steps else self.key

    @property
    def opening(self) -> Statement:
        """Before the losses: gradients of several batches add up."""
        return line("state.net.train()" + ("" if self.training.accumulate > 1 else ".zero_grad()"))

    @property
    def backward(self) -> Statement:
        if self.training.accumulate == 1:
            return line('metrics["loss"].backward()')
        return line(f'(metrics["loss"] / {self.training.accumulate}).backward()')

    def update(self, step: Sequence[Statement]) -> list[Statement]:
        """The optimizer's step and what belongs to it, when its turn has come."""
        body: list[Statement] = [*clipping(self.training), *step]
        if self.training.ema is not None:
            body.append(Text(FOLLOW.format(decay=self.training.ema)))
        if self.training.accumulate > 1:
            body.append(line("state.net.zero_grad()"))
            body = [block(f"if (step + 1) % {self.training.accumulate} == 0:", body)]
        if self.training.ema is not None and self.buffers:
            body.append(Text(FOLLOW_BUFFERS))
        return body

    def of_step(self, step: Sequence[Statement]) -> list[Statement]:
        """The optimizers' steps when their turn has come, averages of what a step has trained, and
        the newest statistics."""
        body: list[Statement] = [*clipping(self.training), *step]
        if self.training.ema is not None:
            body.append(Text(FOLLOW_STEP.format(decay=self.training.ema)))
        if self.training.accumulate > 1:
            added = Text(ADD_STEP.replace("COUNT", str(self.training.accumulate)))
            body = [added, block("if state.taken[name] == 0:", [Text(TAKE_STEP), *body])]
        if self.training.ema is not None and self.buffers:
            body.append(Text(FOLLOW_BUFFERS))
        return body

    def exports(self) -> list[Statement]:
        """What belongs into a checkpoint besides the optimizer."""
        sums = EXPORT_STEPS if self.training.steps else EXPORT_ACCUMULATED
        return self._stored(sums, EXPORT_AVERAGE)

    def imports(self) -> list[Statement]:
        sums = IMPORT_STEPS if self.training.steps else IMPORT_ACCUMULATED
        return self._stored(sums, IMPORT_AVERAGE)

    def _stored(self, accumulated: str, average: str) -> list[Statement]:
        found: list[Statement] = []
        if self.training.accumulate > 1:
            found.append(Text(accumulated.format(key=self.stored_key)))
        if self.training.ema is not None:
            found.append(Text(average.format(key=self.key)))
        return found
