"""The one way from a command's arguments to a spec, its models and its problems."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING

from dlspec.cli.options import settings
from dlspec.cli.output import tell

if TYPE_CHECKING:
    from dlspec.api import Model, Spec, Trainer


def open_spec(args: argparse.Namespace) -> Spec:
    """Load the file; what does not parse is already among its diagnostics."""
    from dlspec.api import load

    return load(args.file, include=args.include, is_path=True)


def open_model(args: argparse.Namespace) -> Model | None:
    """The model asked for, or None when there are errors, which are shown."""
    from dlspec.api import SpecError

    spec = open_spec(args)
    model = None
    if spec.diagnostics.ok:
        with suppress(SpecError):  # told below, with everything else
            model = spec.model(args.model, **settings(args))
    return None if tell(spec.diagnostics, args) else model


def open_trainer(args: argparse.Namespace) -> Trainer | None:
    """The training section asked for, or None when there are errors, which are shown."""
    from dlspec.api import SpecError

    spec = open_spec(args)
    trainer = None
    if spec.diagnostics.ok:
        with suppress(SpecError):  # told below, with everything else
            trainer = spec.trainer(args.train, **settings(args))
    return None if tell(spec.diagnostics, args) else trainer


def open_unit(args: argparse.Namespace) -> Model | Trainer | None:
    """The training section of a file, or a model where it has none or `--model` names one."""
    from dlspec.api import load

    if args.model is not None:
        return open_model(args)
    if args.train is None and not load(args.file, include=args.include, is_path=True).trainings:
        return open_model(args)
    return open_trainer(args)
