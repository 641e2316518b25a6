"""All tables, and the built-ins that have their test elsewhere."""

from __future__ import annotations

from . import elementwise, images, losses, reductions, tensors

TABLES = (elementwise.TABLE, reductions.TABLE, losses.TABLE, tensors.TABLE, images.TABLE)
_OPS = "tests/ops/test_"
ELSEWHERE: dict[str, str] = {
    **dict.fromkeys(("bernoulli", "gumbel", "gumbel_softmax"), _OPS + "random.py"),
    **dict.fromkeys(
        ("auc", "average_precision", "confusion_matrix", "correlation", "f1", "r2"),
        _OPS + "classified.py",
    ),
    **dict.fromkeys(("precision", "recall", "mean_iou", "mean_dice"), _OPS + "classified.py"),
    **dict.fromkeys(("bleu", "span_f1", "ssim"), _OPS + "sequence_metrics.py"),
    **dict.fromkeys(("iou", "dice_score", "perplexity"), _OPS + "metrics.py"),
    **dict.fromkeys(("lstm", "gru", "rnn"), "tests/recurrence/test_layers.py"),
    **dict.fromkeys(("normal", "uniform"), _OPS + "semantics.py"),
    "grad": "tests/autodiff/test_grad.py",
    "update": _OPS + "state.py",
}
