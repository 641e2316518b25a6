"""What a test asks of a model: `params`, `macs` and `shape`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec import codes
from dlspec.diagnostics import close_to
from dlspec.elaborate import static
from dlspec.elaborate.bodies import strip
from dlspec.elaborate.entry import entered, open_function, split_sizes
from dlspec.elaborate.values import UNKNOWN, DefinedLayer, is_layer
from dlspec.ir.static import Sequence
from dlspec.summary import summarise

if TYPE_CHECKING:
    from dlspec.elaborate.expressions import Evaluator
    from dlspec.elaborate.values import AnyValue
    from dlspec.ir.types import TensorType
    from dlspec.summary import Summary


def measure(
    e: Evaluator, name: str, args: tuple[AnyValue, ...], keywords: dict[str, AnyValue]
) -> AnyValue:
    """`params(Model(…))`, `macs(Model(…), H = 224)`, `shape(Model(…), "stage.0", H = 224)`;
    keywords size open dims, and what is counted is for a batch of one."""
    paths = args[1:] if name == "shape" else ()
    if len(args) - len(paths) != 1 or len(paths) > 1 or not is_layer(args[0]):
        said = (
            'shape(Model(), "path of a layer")' if name == "shape" else f"{name}(Model(size = 10))"
        )
        e.scope.fail(codes.BAD_ARGUMENT, f"{name} takes one model: {said}")
    layer = strip(args[0])
    if not isinstance(layer, DefinedLayer):
        e.scope.fail(codes.BAD_ARGUMENT, f"{name} takes a model or a block with typed inputs")
    given = {k: e.scope.known(static.integer(e.scope, v, k)) for k, v in keywords.items()}
    rest, sizes = split_sizes((entered(e.session, layer) or layer).definition, given)
    for unknown in rest:
        e.scope.fail(codes.BAD_ARGUMENT, f"{layer.definition.name} has no open dim `{unknown}`")
    found = open_function(e.session, layer, sizes)
    if found is None:
        return UNKNOWN
    summary = summarise(found.function)
    if name == "shape":
        return shape(e, summary, static.raw(paths[0]) if paths else None)
    return summary.params if name == "params" else summary.macs


def shape(e: Evaluator, summary: Summary, path: object) -> AnyValue:
    """The extents of what a layer gives, of each of its outputs where there are several."""
    if path is None:
        types = summary.outputs
    elif not isinstance(path, str):
        e.scope.fail(codes.STATIC_TYPE, "the path of a layer is a string, as `summary` prints it")
    elif (types := summary.at(path)) is None:
        nearest = close_to(path, summary.paths())
        e.scope.fail(
            codes.BAD_ARGUMENT,
            f"no layer of the model is at `{path}`",
            help=nearest or "`dlspec summary` prints the paths",
        )
    shapes = [extents(e, summary, kind) for kind in types]
    return shapes[0] if len(shapes) == 1 else Sequence(tuple(shapes))


def extents(e: Evaluator, summary: Summary, kind: TensorType) -> Sequence:
    shape = tuple(summary.for_one(extent) for extent in kind.shape)
    for extent in shape:
        if not extent.is_const:
            name = min(extent.symbols)
            e.scope.fail(codes.BAD_ARGUMENT, f"shape needs the size of `{name}`: {name} = 8")
    return Sequence(shape)
