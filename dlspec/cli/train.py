"""`dlspec train`: run a training section on a backend."""

from __future__ import annotations

import argparse
import sys

from dlspec.cli import options
from dlspec.cli.options import UsageError
from dlspec.cli.spec import open_trainer
from dlspec.display import escape

INTERRUPTED = 130


def add_parser(commands: options.Subparsers) -> None:
    parser = commands.add_parser(
        "train",
        help="train on a backend",
        description="Run a training section; Ctrl-C stops it and keeps what was learnt.",
    )
    options.add_spec(parser)
    options.add_train(parser)
    parser.add_argument("--backend", default="numpy", help="numpy (the default), torch, jax, …")
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        help="where metrics, checkpoints and the code that ran go (default: runs/NAME-BACKEND-1)",
    )
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, … (default: the best that is there)"
    )
    parser.add_argument("--resume", metavar="DIR", help="continue the run in this folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    trainer = open_trainer(args)
    if trainer is None:
        return 1
    from dlspec.training.errors import RunError
    from dlspec.training.progress import Watch
    from dlspec.training.run import train

    watch = Watch(sys.stdout, f"{trainer.name} on {args.backend}")
    try:
        result = train(
            trainer,
            args.backend,
            run_dir=args.run_dir,
            resume=args.resume,
            watch=watch,
            device=args.device,
        )
    except RunError as error:
        raise UsageError(str(error)) from error
    print(f"{escape(str(result.run_dir))}: {result.status} at step {result.step}")
    if result.status == "interrupted":
        print(f"  continue with --resume {escape(str(result.run_dir))}")
        return INTERRUPTED
    return 0
