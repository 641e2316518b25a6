"""`early_stop dev.accuracy patience 3`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from dlspec import codes
from dlspec.diagnostics import close_to
from dlspec.elaborate.training.steps import read_count
from dlspec.ir.graph import Metric
from dlspec.ops import registry
from dlspec.ops.whole import Pooled
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.elaborate.training.section import Section
    from dlspec.ir.graph import Training

# metrics of which more is better; of losses and all others, less
LARGER = frozenset(
    {
        *("accuracy", "binary_accuracy", "top_k_accuracy", "precision", "recall", "f1"),
        *("iou", "mean_iou", "dice_score", "mean_dice", "psnr", "ssim", "bleu", "span_f1"),
        *("auc", "average_precision", "r2", "correlation"),
    }
)


def stop_verb(section: Section, statement: ast.Verb) -> None:
    """The metric is looked up when all reports are known."""
    args = statement.args
    with section.scope.at(statement.name_span):
        if len(args) != 1 or section.clause(statement, "patience") is None:
            section.fail(
                codes.TRAINING_FORM,
                "`early_stop` needs a metric and its patience",
                "write: early_stop accuracy patience 3",
            )
        if "early_stop" in section.settings:
            section.fail(codes.BAD_SETTING, "`early_stop` is set twice")
    patience = read_count(section, statement, "patience")
    match args[0]:
        case ast.Name():
            split, metric = None, args[0].id
        case ast.Attribute(value=ast.Name()):
            assert isinstance(args[0].value, ast.Name)
            split, metric = args[0].value.id, args[0].name
        case _:
            with section.scope.at(args[0].span):
                section.fail(
                    codes.TRAINING_FORM, "`early_stop` names a metric: early_stop accuracy …"
                )
    section.settings["early_stop"] = {"metric": metric, "split": split, "patience": patience}
    section.stop_span = args[0].span


def check_stop(section: Section, training: Training) -> None:
    """That the metric and its source are there; which way it improves."""
    found = training.settings.get("early_stop")
    if not isinstance(found, dict):
        return
    told = cast("dict[str, object]", found)
    assert section.stop_span is not None
    with section.scope.at(section.stop_span):
        find_split(section, training, told)
        names = training.metrics
        name = str(told["metric"])
        if name not in names:
            section.fail(
                codes.UNDEFINED,
                f"there is no metric `{name}`",
                close_to(name, names) or f"there are {', '.join(names)}",
            )
        kinds = {report: metric for report, metric, _ in training.reports}
        kind = kinds.get(name, Metric())
        builtin = registry.find(kind.name)
        pooled = builtin is not None and isinstance(builtin.whole, Pooled)
        several = pooled and kind.name not in LARGER  # a matrix
        if several or dict(kind.settings).get("average") == "none":
            section.fail(codes.BAD_SETTING, f"`{name}` is no number that could improve")
        told["larger"] = kind.name in LARGER


def find_split(section: Section, training: Training, told: dict[str, object]) -> None:
    splits = [name for name, _ in training.evaluations]
    if told["split"] is None:
        told["split"] = splits[0] if splits else "train"
    elif told["split"] not in (*splits, "train"):
        section.fail(
            codes.UNDEFINED,
            f"there is no evaluation `{told['split']}`",
            close_to(str(told["split"]), splits) or f"there are {', '.join([*splits, 'train'])}",
        )
