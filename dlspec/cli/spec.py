"""The one way from a command's arguments to a spec, its models and its problems."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dlspec.cli.options import settings
from dlspec.cli.output import tell

if TYPE_CHECKING:
    from dlspec.api import Model, Spec


def open_spec(args: argparse.Namespace) -> Spec:
    """Load the file; what does not parse is already among its diagnostics."""
    from dlspec.api import load

    return load(args.file, include=args.include)


def open_model(args: argparse.Namespace) -> tuple[Spec, Model | None]:
    """The spec, and the model asked for unless there are errors, which are shown."""
    spec = open_spec(args)
    model = spec.model(args.model, **settings(args)) if spec.diagnostics.ok else None
    failed = tell(spec.diagnostics, args)
    return spec, None if failed else model
