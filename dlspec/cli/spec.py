"""The one way from a command's arguments to a spec, its models and its problems."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from dlspec.cli.options import settings
from dlspec.cli.output import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from dlspec.api import Model, Spec, Trainer

T = TypeVar("T")


def open_spec(args: argparse.Namespace) -> Spec:
    """Load the file; what does not parse is already among its diagnostics."""
    from dlspec.api import load

    return load(args.file, include=args.include, is_path=True)


def open_model(args: argparse.Namespace) -> Model | None:
    """The model asked for, or None when there are errors, which are shown."""
    spec = open_spec(args)
    return _asked(spec, args, lambda: spec.model(args.model, **settings(args)))


def open_trainer(args: argparse.Namespace) -> Trainer | None:
    """The training section asked for, or None when there are errors, which are shown."""
    spec = open_spec(args)
    return _asked(spec, args, lambda: spec.trainer(args.train, **settings(args)))


def open_unit(args: argparse.Namespace) -> Model | Trainer | None:
    """The training section of a file, or a model where it has none or `--model` names one."""
    spec = open_spec(args)
    given = settings(args)
    if args.model is not None or (args.train is None and not spec.trainings):
        return _asked(spec, args, lambda: spec.model(args.model, **given))
    return _asked(spec, args, lambda: spec.trainer(args.train, **given))


def _asked(spec: Spec, args: argparse.Namespace, get: Callable[[], T]) -> T | None:
    """What get gives, unless there are errors: they are shown, those of get too."""
    from dlspec.api import SpecError

    found = None
    if spec.diagnostics.ok:
        with suppress(SpecError):
            found = get()
    return None if tell(spec.diagnostics, args) else found
