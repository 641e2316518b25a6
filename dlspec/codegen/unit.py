"""From an elaborated model or training section to what a backend is given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dlspec.codegen.inference import Inference
from dlspec.codegen.tables import unsupported_at
from dlspec.codegen.target import Unit
from dlspec.codes import UNDECIDED
from dlspec.diagnostics import Diagnostic, Failure
from dlspec.ir.graph import ChildSlot, Function, Training, constructor_symbols
from dlspec.ir.tree import inside, network_path, weight_paths
from dlspec.passes.fold import fold
from dlspec.passes.fold_rules import rules
from dlspec.passes.hoist import hoist
from dlspec.passes.inference import as_constants, infer, keep_used_slots
from dlspec.passes.merge import merge
from dlspec.passes.randomness import replace_function
from dlspec.passes.roll import roll

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dlspec.codegen.inference import Precision
    from dlspec.codegen.target import Target
    from dlspec.ir.graph import DataSource, Slot, Step


def unit_of(graph: Function | Training, title: str) -> Unit:
    """The unit of a graph, with one function per definition. The graph stays as it is."""
    if isinstance(graph, Function):
        require_sizes(graph)
        model = merge(graph)
        hoist(model)
        roll(model)
        return Unit(model, None, title)
    training = merged_training(graph)
    hoist(training.function)
    roll(training.function)
    networks = training.networks
    model = networks[0].function if networks else training.function
    return Unit(model, training, title)


def for_inference(
    target: Target, graph: Function | Training, title: str, precision: Precision
) -> Unit:
    """The unit of a model that is never trained. Raises Failure where the backend writes none, or
    none in that precision."""
    offered: tuple[Precision, ...] = getattr(target, "inference", ())
    function = graph if isinstance(graph, Function) else graph.function
    if not offered:
        raise unsupported_at(target.name, "a file for inference", function.span)
    if precision not in offered:
        why = f"it computes in {' or '.join(offered)}"
        raise unsupported_at(target.name, f"`--precision {precision}`", function.span, why)
    return inference_unit(graph, title, precision)


def inference_unit(graph: Function | Training, title: str, precision: Precision) -> Unit:
    """The unit of a model, or of a training's network, that is never trained. The graph stays as
    it is."""
    original, network = (graph, "") if isinstance(graph, Function) else _network(graph)
    require_sizes(original)
    model = merge(original)
    gone = infer(model)
    folds = fold(model)
    gone += [(f.node, "batch norm folded") for found in folds.values() for f in found]
    folded = {id(f.norm) for found in folds.values() for f in found}
    fewer = keep_used_slots(model, folded)
    as_constants(model)
    made = Inference(rules(original, model, folds), precision, tuple(gone), fewer, network)
    hoist(model)
    roll(model)
    return Unit(model, None, title, made)


def _network(training: Training) -> tuple[Function, str]:
    """The network that a training's file predicts with, as a model; and its path."""
    if not training.networks:
        message = f"`{training.function.name}` trains no network"
        where = training.function.span
        assert where is not None
        raise Failure(Diagnostic(UNDECIDED, message, where, label="so there is none to infer with"))
    slot = training.networks[0]
    known = inside(slot, training.function.values())
    model = replace_function(slot.function)
    model.symbols = {
        name: symbol if symbol.value is not None else replace(symbol, value=known.get(name))
        for name, symbol in model.symbols.items()
    }
    return model, network_path(training, slot)


def rewritten(unit: Unit, rewrite: Callable[[Function], Function]) -> Unit:
    """The unit over what `rewrite` makes of its function: slots in the same order."""
    training = unit.training
    if training is None:
        return replace(unit, model=rewrite(unit.model))
    old, new = training.function, rewrite(training.function)
    slots = {id(a): b for a, b in zip(old.slots, new.slots, strict=True)}
    functions = {
        id(a.function): b.function
        for a, b in zip(old.slots, new.slots, strict=True)
        if isinstance(a, ChildSlot) and isinstance(b, ChildSlot)
    }

    changed = replace(training, function=new, steps=_steps(training, slots))
    model = new if unit.model is old else functions[id(unit.model)]
    return replace(unit, model=model, training=changed)


def require_sizes(function: Function) -> None:
    """Raises Failure where a weight's size depends on an open dim of the model's inputs."""
    missing = sorted(constructor_symbols(function) - function.values().keys())
    if not missing:
        return
    assert function.span is not None
    many = ", ".join(missing)
    raise Failure(
        Diagnostic(
            UNDECIDED,
            f"the weights of {function.name} depend on {many}, and that is open",
            function.span,
            help=f"give it a size: --set {missing[0]}=…, or write a number in the input type",
        )
    )


def merged_training(training: Training) -> Training:
    """The training section over its merged function: inputs, outputs and slots keep their order."""
    old, new = training.function, merge(training.function)
    inputs = {id(a): b for a, b in zip(old.inputs, new.inputs, strict=True)}
    slots = {id(a): b for a, b in zip(old.slots, new.slots, strict=True)}

    def moved(source: DataSource) -> DataSource:
        return replace(source, fields=tuple(inputs[id(v)] for v in source.fields))

    new.inputs = tuple(v for v in new.inputs if v.name)  # `_` is in no batch
    outputs = {id(a): b for a, b in zip(old.outputs, new.outputs, strict=True)}

    return replace(
        training,
        function=new,
        data=tuple(map(moved, training.data)),
        minimize=tuple(replace(m, loss=outputs[id(m.loss)]) for m in training.minimize),
        reports=tuple((name, metric, outputs[id(v)]) for name, metric, v in training.reports),
        evaluations=tuple((name, tuple(map(moved, each))) for name, each in training.evaluations),
        settings=dict(training.settings),
        steps=_steps(training, slots),
        weights=weight_paths(training),
    )


def _steps(training: Training, slots: Mapping[int, Slot]) -> tuple[Step, ...]:
    """The steps at their slots' new places. slots: by the ids of the old ones."""
    found: list[Step] = []
    for step in training.steps:
        slot = slots[id(step.slot)]
        assert isinstance(slot, ChildSlot)
        found.append(replace(step, slot=slot))
    return tuple(found)
