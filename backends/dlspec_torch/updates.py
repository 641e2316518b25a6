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

    def after_step(self) -> list[Statement]:
        """Averages of what a step has trained, and the newest statistics."""
        if self.training.ema is None:
            return []
        found: list[Statement] = [Text(FOLLOW_STEP.format(decay=self.training.ema))]
        return [*found, Text(FOLLOW_BUFFERS)] if self.buffers else found

    def exports(self) -> list[Statement]:
        """What belongs into a checkpoint besides the optimizer."""
        return self._stored(EXPORT_ACCUMULATED, EXPORT_AVERAGE)

    def imports(self) -> list[Statement]:
        return self._stored(IMPORT_ACCUMULATED, IMPORT_AVERAGE)

    def _stored(self, accumulated: str, average: str) -> list[Statement]:
        found: list[Statement] = []
        if self.training.accumulate > 1:
            found.append(Text(accumulated.format(key=self.key)))
        if self.training.ema is not None:
            found.append(Text(average.format(key=self.key)))
        return found
