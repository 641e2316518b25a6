"""The Python API: load a spec, look at its models, compile, train.

```
spec = dlspec.load("lenet5.dls")
model = spec.model("LeNet5", classes=10)
print(model.summary().text())
print(model.compile("torch").source)
```
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Diagnostics, Failure, close_to
from dlspec.elaborate.files import Loader, Module
from dlspec.elaborate.session import Session
from dlspec.elaborate.values import DefinedLayer
from dlspec.files import read_source
from dlspec.source import Source, Span
from dlspec.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dlspec.codegen import Generated
    from dlspec.codegen.inference import Precision
    from dlspec.ir.graph import Function, Requirement, Training
    from dlspec.summary import Summary

Randomness = Literal["own", "inputs"]
Purpose = Literal["training", "inference"]


class SpecError(Exception):
    """A spec has errors. diagnostics: all of them."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        first = diagnostics.errors[0]
        at = first.span.first
        super().__init__(
            f"{first.span.source.name}:{at.line}:{at.column}: "
            f"error[{first.code.name}]: {first.message}"
        )
        self.diagnostics = diagnostics


@dataclass(eq=False)
class Model:
    """A model of a spec, elaborated with its static arguments."""

    name: str
    function: Function
    required: tuple[Requirement, ...]
    path: Path | None
    title: str = ""
    fit: Callable[[], Training | None] | None = None
    include: tuple[Path, ...] = ()
    phase: str = ""  # a model has none
    phases: tuple[Trainer, ...] = ()

    def trial(self) -> Trainer | None:
        """The model in a training section made up for it (outputs drawn to given targets), so
        that `verify` can compare gradients and updates. None: it has no trainable weight."""
        training = None if self.fit is None else self.fit()
        if training is None:
            return None
        return Trainer(training.function.name, training, self.path, self.title)

    @property
    def graph(self) -> Function:
        return self.function

    @cached_property
    def requirements(self) -> list[str]:
        """What its inputs must satisfy, simplified."""
        return simplified(self.required)

    def summary(self) -> Summary:
        from dlspec.summary import summarise

        return summarise(self.function)

    def compile(
        self,
        backend: str,
        randomness: Randomness = "own",
        purpose: Purpose = "training",
        precision: Precision = "float32",
    ) -> Generated:
        """The standalone file for a backend. Failure: the backend lacks an op, or is missing.

        precision: what weights and arithmetic are in, of a file for inference.
        """
        title = self.title or self.name
        return generate(backend, self.function, title, randomness, purpose, precision)

    def code(self, backend: str, graph: Any = None, randomness: Randomness = "own") -> str:
        return generate(backend, graph or self.graph, self.title or self.name, randomness).source

    def ir_json(self) -> str:
        from dlspec.interchange import dump

        return dump(self.function)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.summary().text())}</pre>"


@dataclass(eq=False)
class Trainer:
    """A training section of a spec, or a phase of one, elaborated with its settings."""

    name: str
    training: Training
    path: Path | None
    title: str = ""
    include: tuple[Path, ...] = ()
    phase: str = ""
    phases: tuple[Trainer, ...] = ()  # of a section that has some; training is the first's

    @property
    def graph(self) -> Training:
        return self.training

    def trial(self) -> None:
        """It is a training section already."""

    def compile(
        self,
        backend: str,
        randomness: Randomness = "own",
        purpose: Purpose = "training",
        precision: Precision = "float32",
    ) -> Generated:
        """The file of the training; for inference, that of the network it predicts with."""
        title = self.title or self.name
        return generate(backend, self.training, title, randomness, purpose, precision)

    def code(self, backend: str, graph: Any = None, randomness: Randomness = "own") -> str:
        return generate(backend, graph or self.graph, self.title or self.name, randomness).source

    def ir_json(self) -> str:
        from dlspec.interchange import dump

        return dump(self.training)


@dataclass(eq=False)
class Spec:
    """A loaded file. diagnostics: everything found so far; what `check` and `model` find joins."""

    module: Module
    diagnostics: Diagnostics
    path: Path | None
    loader: Loader
    found: dict[str, Model] = field(default_factory=dict[str, Model])

    @cached_property
    def session(self) -> Session:
        return Session(self.diagnostics)

    @property
    def models(self) -> list[str]:
        return [d.name for d in self.module.definitions() if d.kind == "model"]

    @property
    def trainings(self) -> list[str]:
        return [t.name for t in self.module.file.items if isinstance(t, ast.Train)]

    @property
    def title(self) -> str:
        """The first line of the file's docstring."""
        doc = self.module.file.doc or ""
        return doc.strip().split("\n", 1)[0]

    @property
    def requirements(self) -> list[str]:
        """The requirements of all models checked so far."""
        return [*dict.fromkeys(r for found in self.required.values() for r in found)]

    @property
    def required(self) -> dict[str, list[str]]:
        """The requirements of each model checked so far, by its name."""
        found: dict[str, list[str]] = {}
        for model in self.found.values():
            lines = found.setdefault(model.name, [])
            lines += [r for r in model.requirements if r not in lines]
        return found

    def check(self) -> bool:
        """Check every definition and training section. True: no errors."""
        from dlspec.elaborate.lint import lint

        lint(self.session, self.module)
        self.session.check_constants(self.module)
        for definition in self.module.definitions():
            if definition.kind == "model" and elaborable(definition):
                self.try_model(definition.name, {})
        for name in self.trainings:
            self.try_trainer(name, {})
        return self.diagnostics.ok

    def model(self, name: str | None = None, /, **static: Any) -> Model:
        """A model with static arguments; without a name the last of the file.

        A name of an open dim gives it a size (`H=224`). Raises SpecError with all problems.
        """
        model = self.try_model(name, static)
        if model is None or not self.diagnostics.ok:
            raise SpecError(self.diagnostics)
        return model

    def try_model(self, name: str | None, static: dict[str, Any]) -> Model | None:
        """The model, or None: what is wrong joins the diagnostics."""
        from dlspec.elaborate.entry import chosen, open_function, open_training

        definition = self.pick(name, self.models or [d.name for d in self.module.definitions()])
        if definition is None:
            return None
        layer = DefinedLayer(definition, self.module, (), (), definition.name_span)
        layer, sizes = chosen(self.session, layer, static)
        entry = open_function(self.session, layer, sizes)
        if entry is None:
            return None
        fit = partial(open_training, self.session, layer, sizes)
        model = Model(
            definition.name, entry.function, entry.requirements, self.path, self.title, fit
        )
        self.found[definition.name] = model
        return model

    def trainer(self, name: str | None = None, /, **static: Any) -> Trainer:
        """A training section with parameters and settings overridden; "name.phase" is one of its
        phases. Raises SpecError."""
        found = self.try_trainer(name, static)
        if found is None or not self.diagnostics.ok:
            raise SpecError(self.diagnostics)
        return found

    def try_trainer(self, name: str | None, static: dict[str, Any]) -> Trainer | None:
        """The training section, or None: what is wrong joins the diagnostics."""
        from dlspec.elaborate.entry import lift
        from dlspec.elaborate.training import build_phases

        section, _, phase = (name or "").partition(".")
        train = self.pick(section or None, self.trainings)
        if not isinstance(train, ast.Train):
            return None
        overrides = {k: lift(v) for k, v in static.items()}
        found = build_phases(self.session, self.module, train, overrides)
        if found is None:
            return None
        made = [
            Trainer(train.name, t, self.path, self.title, self.loader.include, n) for n, t in found
        ]
        if phase:
            return self.pick_phase(train, phase, made)
        return made[0] if not made[0].phase else replace(made[0], phase="", phases=tuple(made))

    def pick_phase(self, train: ast.Train, name: str, phases: list[Trainer]) -> Trainer | None:
        for trainer in phases:
            if trainer.phase == name:
                return trainer
        names = [trainer.phase for trainer in phases if trainer.phase]
        message = f"`{train.name}` has no phase `{name}`"
        help = close_to(name, names) or f"it has {', '.join(names) or 'none'}"
        self.diagnostics.add(Diagnostic(codes.UNDEFINED, message, train.name_span, help=help))
        return None

    def pick(self, name: str | None, names: list[str]) -> Any:
        wanted = name or (names[-1] if names else None)
        item = None if wanted is None else self.module.names.get(wanted)
        if isinstance(item, ast.Definition | ast.Train) and wanted in (*names, name):
            return item
        span = Span(self.module.file.source, 0, 0)
        if wanted is None:
            message, help = "the file has none of what was asked for", ""
        else:
            message = f"the file does not define `{wanted}`"
            help = close_to(wanted, names) or f"it has {', '.join(names)}"
        self.diagnostics.add(Diagnostic(codes.UNDEFINED, message, span, help=help))
        return None

    def test(self) -> int:
        """Run the spec's tests; failures join the diagnostics. The number that passed."""
        from dlspec.elaborate.tests import run_tests

        return run_tests(self.session, self.module)


def load(
    path_or_text: str | Path, *, include: Iterable[str | Path] = (), is_path: bool = False
) -> Spec:
    """Load a spec from a path, or from text: a string with a line end, `{` or `=`."""
    diagnostics = Diagnostics()
    loader = Loader(diagnostics, tuple(Path(p) for p in include))
    text = str(path_or_text)
    if isinstance(path_or_text, str) and not is_path and any(c in text for c in "\n{="):
        module = loader.load(Source("<text>", text), None)
        return Spec(module, diagnostics, None, loader)
    path = Path(path_or_text)
    try:
        source = read_source(text)
    except Failure as failure:
        diagnostics.add(failure.diagnostic)
        empty = ast.File(Source(text, ""), None, (), ())
        return Spec(Module(empty, path), diagnostics, path, loader)
    return Spec(loader.load(source, path), diagnostics, path, loader)


def elaborable(definition: ast.Definition) -> bool:
    """Whether all static parameters of a model have defaults."""
    return all(p.default is not None for p in definition.params if p.annotation is None)


def simplified(required: Iterable[Requirement]) -> list[str]:
    from dlspec.ir.facts import Facts
    from dlspec.ir.requirements import simplify_requirements

    relations = [r.relation for r in required]
    return [str(r) for r in simplify_requirements(relations, Facts())]


def generate(
    backend: str,
    graph: Any,
    title: str,
    randomness: Randomness,
    purpose: Purpose = "training",
    precision: Precision = "float32",
) -> Generated:
    """Merge, then lower with the backend's tables."""
    from dlspec.codegen.target import load as load_backend
    from dlspec.codegen.unit import for_inference, unit_of

    target = load_backend(backend)
    mode = "framework" if randomness == "own" else "inputs"
    if purpose == "inference":
        unit = for_inference(target, graph, title, precision)
    else:
        unit = unit_of(graph, title)
    return target.generate(unit, randomness=mode)
