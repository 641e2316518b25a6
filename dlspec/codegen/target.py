"""What a backend is, what it is given and what it gives; and how installed ones are found."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Literal, Protocol

from dlspec.codes import MISSING_EXTRA, NO_BACKEND
from dlspec.diagnostics import Diagnostic, Failure
from dlspec.source import Source, Span

if TYPE_CHECKING:
    from dlspec.codegen.code import LineMap
    from dlspec.codegen.inference import Inference
    from dlspec.ir.graph import ChildSlot, Function, Node, Training

GROUP = "dlspec.backends"


@dataclass(frozen=True)
class Unit:
    """What one file is made from. Every function below has been merged (`passes.merge`).

    model: the entry point, None when a training section holds no network. training: its
    function's slots are the networks; model is the function of the first of them.
    arguments: the model's constructor statics and dims are its own known values
    (`Function.statics`, `Symbol.value`), or those of the training function's slot.
    title: names the file's docstring. inference: of a model that is never trained; a backend that
    writes such files says `inference = True`.
    """

    model: Function
    training: Training | None = None
    title: str = ""
    inference: Inference | None = None

    @property
    def networks(self) -> list[ChildSlot]:
        """The networks of the training section, in order; none without one."""
        return [] if self.training is None else self.training.networks


@dataclass(frozen=True)
class Generated:
    """One standalone file. line_map: (line from 1, IR node, its span) for every node.

    eliminated: nodes that have no line, with the pass that removed or fused them.
    """

    source: str
    line_map: LineMap
    eliminated: tuple[tuple[Node, str], ...] = field(default=())


Randomness = Literal["framework", "inputs"]


class Target(Protocol):
    """A backend. The class that an entry point of `dlspec.backends` names; made without arguments.

    randomness "inputs": random ops take their draws from `draws`, a list of arrays in source
    order, an extra argument of `train_step` and `gradients`.
    """

    name: str

    def generate(self, unit: Unit, *, randomness: Randomness = "framework") -> Generated:
        """Raises Failure (E0701) for an op that the backend cannot lower."""
        ...


def installed() -> dict[str, EntryPoint]:
    """Backends by name, none of them loaded. Of two with one name, the first found."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        found.setdefault(entry.name, entry)
    return found


def load(name: str, span: Span | None = None) -> Target:
    """The backend of that name. Only this one is imported.

    Raises Failure: E0703 for a name nobody has, E0702 where its package fails to load.
    """
    where = span or Span(Source("<command line>", name), 0, len(name))
    backends = installed()
    entry = backends.get(name)
    if entry is None:
        if not backends:
            raise Failure(
                Diagnostic(
                    NO_BACKEND,
                    f"no backend is installed, so not `{name}` either",
                    where,
                    help="run `pip install -e .` in the checkout, so that backends are found",
                )
            )
        choices = ", ".join(backends)
        raise Failure(
            Diagnostic(NO_BACKEND, f"unknown backend `{name}`", where, help=f"there are: {choices}")
        )
    try:
        return entry.load()()
    except Exception as error:  # whatever a plug-in does while it loads is its own fault
        reason = f"{type(error).__name__}: {error}"
        message = f"backend `{name}` ({entry.value}) cannot be loaded"
        raise Failure(Diagnostic(MISSING_EXTRA, message, where, notes=(reason,))) from error
