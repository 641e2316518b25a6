"""Pictures of models: view model, layout, display list, writers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from dlspec.ir.graph import Function

Format = Literal["svg", "mermaid", "dot"]


class Drawable(Protocol):
    """What holds a function, such as a model of `dlspec.api`."""

    @property
    def function(self) -> Function: ...


def draw(model: Drawable | Function, format: str = "svg", *, depth: int | None = None) -> str:
    """The picture of a model as text.

    depth: how many levels of blocks are open; without it, each kind of block is open once, and
    a model of few layers is open throughout.
    """
    from dlspec.ir.graph import Function
    from dlspec.render.dot import to_dot
    from dlspec.render.mermaid import to_mermaid
    from dlspec.render.scene import scene
    from dlspec.render.svg import to_svg
    from dlspec.render.view import view
    from dlspec.summary import summarise

    function = model if isinstance(model, Function) else model.function
    summary = summarise(function)
    match format:
        case "svg":
            return to_svg(scene(view(summary, depth)), function.name)
        case "mermaid":
            return to_mermaid(summary, depth)
        case "dot":
            return to_dot(view(summary, depth))
        case _:
            raise ValueError(f"no picture format {format!r}: svg, mermaid or dot")
