"""`sample x`: what a run shows of its networks after each epoch, as a program of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.elaborate import static
from dlspec.elaborate.training.divide import Draft, Part, needed, reads
from dlspec.elaborate.training.reports import report_name
from dlspec.elaborate.values import Unknown
from dlspec.ir.graph import (
    CallNode,
    ChildSlot,
    Function,
    LayerSlot,
    Reference,
    Slot,
    Value,
    WeightSlot,
)
from dlspec.ir.tree import weight_paths
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.training.section import Section


def sample_verb(section: Section, statement: ast.Verb) -> None:
    with section.scope.at(statement.name_span):
        if not statement.args:
            section.fail(codes.TRAINING_FORM, "`sample` needs a tensor", "write: sample fake")
        if section.step is not None:
            section.fail(
                codes.TRAINING_FORM,
                "`sample` stands outside the steps",
                "it is evaluated after an epoch, not in a step",
            )
    for arg in statement.args:
        name = arg.name if isinstance(arg, ast.As) else report_name(arg, "sample")
        value = section.evaluator.evaluate(arg.value if isinstance(arg, ast.As) else arg)
        if isinstance(value, Unknown):
            continue
        with section.scope.at(arg.span):
            if not isinstance(value, Value):
                static.wrong_kind(
                    section.scope, f"a sample is a tensor, not {static.describe(value)}"
                )
            if name in section.samples:
                section.fail(
                    codes.DUPLICATE, f"there is a sample `{name}` already", "name it: … as other"
                )
        section.samples[name] = value


def sampling(section: Section) -> Function | None:
    """The model whose outputs are the samples."""
    if not section.samples:
        return None
    draft = Draft(section.train.name, section.train.name_span)
    return Sampling(section.function, draft).model(section.samples)


def without_samples(section: Section, samples: Function | None) -> None:
    """Take what only samples need, or nothing at all, out of what is trained."""
    function = section.function
    if section.steps:
        calls = [node for node in function.body if isinstance(node, CallNode)]
        kept = {id(slot) for call in calls for slot in (call.slot, *call.refs)}
    elif samples:
        function.body[:] = needed(function.body, function.outputs)
        draft = Draft(section.train.name, section.train.name_span)
        named = zip(function.output_names, function.outputs, strict=True)
        kept = {id(slot) for slot in Sampling(function, draft).model(dict(named)).slots}
    else:
        return
    for slot in samples.slots if samples else ():
        if id(slot) not in kept and _has_weights(slot):
            span = slot.span if isinstance(slot, ChildSlot | LayerSlot) else None
            with section.scope.at(span or section.train.name_span):
                section.fail(
                    codes.TRAINING_FORM,
                    f"a sample of `{slot.segment}`, which no loss or report has: nothing trains "
                    "its weights",
                )
    function.slots[:] = [slot for slot in function.slots if id(slot) in kept]


def _has_weights(slot: Slot) -> bool:
    match slot:
        case ChildSlot():
            return bool(weight_paths(slot.function))
        case LayerSlot():
            return bool(slot.weights)
        case WeightSlot() | Reference():
            return True


class Sampling(Part):
    """Copies what the samples need into a model with the same networks."""

    def model(self, samples: dict[str, Value]) -> Function:
        outputs = tuple(samples.values())
        kept = needed(self.root.body, outputs)
        used = {id(v) for node in kept for v in reads(node)} | {id(v) for v in outputs}
        self.used: set[int] = set()
        made = self.function
        made.name, made.kind = self.root.name, "model"
        made.inputs = self.some(self.inputs(kept, used))
        made.body.extend(self.node(node) for node in kept)
        made.outputs = self.some(outputs)
        made.output_names = tuple(samples)
        made.slots = [slot for slot in self.root.slots if id(slot) in self.used]
        return made

    def slot(self, old: Slot) -> Slot:
        assert not isinstance(old, Reference)  # nobody hands anything to a training section
        self.used.add(id(old))
        return old
