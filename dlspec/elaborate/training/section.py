"""A training section while it is elaborated."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from dlspec import codes
from dlspec.diagnostics import close_to
from dlspec.elaborate.expressions import Env, Evaluator
from dlspec.elaborate.scope import Names, Scope
from dlspec.elaborate.training.phased import repeated_in
from dlspec.ir.graph import DataSource, Function, Metric, Minimize, Value
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.files import Module
    from dlspec.elaborate.session import Session
    from dlspec.elaborate.training.divide import Draft
    from dlspec.elaborate.training.parts import Part, Wanted
    from dlspec.source import Span


class Section:
    """What its statements have said so far; each kind of statement has a module beside this."""

    def __init__(
        self, session: Session, module: Module, train: ast.Train, phase: int | None = None
    ) -> None:
        self.session = session
        self.train = train
        self.function = Function(train.name, "train", doc=train.doc, span=train.name_span)
        self.scope = Scope(self.function, Names(repeated_in(train.body)))
        self.evaluator = Evaluator(session, module, self.scope, Env())
        self.data: list[DataSource] = []
        self.minimized: list[Minimize] = []
        self.wanted: list[Wanted] = []  # what each of them trains
        self.frozen: list[Part] = []
        self.reports: list[tuple[str, Metric, Value]] = []
        self.evaluations: list[tuple[str, tuple[DataSource, ...]]] = []
        self.stop_span: Span | None = None  # of the metric that `early_stop` names
        self.loads: list[tuple[Part, str, str | None, Span]] = []
        self.scheduled: dict[str, dict[str, object]] = {}
        self.samples: dict[str, Value] = {}
        self.settings: dict[str, object] = {}
        self.steps: list[Draft] = []
        self.step: Draft | None = None  # whose body is being elaborated
        self.phase = phase  # the number of the one to elaborate
        self.phases: list[str] = []  # those met so far
        self.inside_phase = False
        self.own_settings: dict[str, object] = {}  # of the phase
        self.broken = False  # the loss is not known: its network's errors have been told

    def fail(self, code: codes.Code, message: str, help: str = "") -> NoReturn:
        self.scope.fail(code, message, help=help)

    def bad_setting(self, name: str, known: tuple[str, ...]) -> NoReturn:
        help = close_to(name, known) or f"there are {', '.join(known)}"
        self.fail(codes.BAD_SETTING, f"there is no setting `{name}`", help)

    def clause(self, statement: ast.Verb, word: str) -> ast.Clause | None:
        return next((c for c in statement.clauses if c.word == word), None)
