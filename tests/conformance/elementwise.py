"""Functions of each element, and activations, against torch's."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .table import Input, Table, below, flags, positive, rows, unit

RANDOM = {"still": False, "note": "tests/ops/test_random.py and test_noise.py have the draws"}
KINK = {"smooth": False, "note": "the gradient of a step is 0"}

ROWS = rows(
    *((f"{name}(x)", getattr(torch, name)) for name in ("exp", "expm1", "sin", "cos", "erf")),
    *((f"{name}(x)", getattr(torch, name)) for name in ("square", "abs", "tan", "asinh", "atan")),
    *((f"{name}(x)", getattr(torch, name)) for name in ("sinh", "cosh", "tanh", "exp2", "erfc")),
    *((f"{name}(v)", getattr(torch, name)) for name in ("log", "log1p", "sqrt", "rsqrt")),
    *((f"{name}(v)", getattr(torch, name)) for name in ("reciprocal", "log2", "log10")),
    *((f"{name}(u)", getattr(torch, name)) for name in ("asin", "acos", "atanh")),
    ("acosh(v + 1)", lambda v: torch.acosh(v + 1)),
    *((f"{name}(x)", getattr(torch, name)) for name in ("sign", "floor", "ceil", "round", "trunc")),
    *((f"{name}(x)", getattr(torch, name)) for name in ("isnan", "isinf", "isfinite")),
    ("pow(v, y)", lambda v, y: v**y),
    ("pow(x, 3)", lambda x: x**3),
    ("x ** 2 - y / v + 3 * x", lambda x, y, v: x**2 - y / v + 3 * x),
    ("maximum(x, y)", torch.maximum),
    ("minimum(x, 0.3)", lambda x: x.clamp(max=0.3)),
    ("fmod(x, 0.7)", lambda x: torch.fmod(x, 0.7)),
    ("clip(x, -0.5, 0.5)", lambda x: x.clamp(-0.5, 0.5)),
    ("clip(x, low = 0.1)", lambda x: x.clamp(min=0.1)),
    ("where(on, x, y)", lambda on, x, y: torch.where(on, x, y)),
    ("where(on, x, 0)", lambda on, x: torch.where(on, x, 0.0)),
    ('cast(i, "float") * x', lambda i, x: i * x),
    ('cast(x, "i64")', lambda x: x.long()),
    ('cast(on, "float")', lambda on: on.double()),
    ('cast(i, "bool")', lambda i: i.bool()),
    ("logical_not(on)", torch.logical_not),
    ("logical_xor(on, i > 1)", lambda on, i: on ^ (i > 1)),
    ("(x > y) & ~on | (i == 2)", lambda x, y, on, i: (x > y) & ~on | (i == 2)),
    ("stop_gradient(x) * y", lambda x, y: x.detach() * y, {"smooth": False}),
    ("identity(x)", lambda x: x),
    ("relu(x)", F.relu),
    ("relu6(3 * x)", lambda x: F.relu6(3 * x)),
    ("sigmoid(x)", torch.sigmoid),
    ("log_sigmoid(x)", F.logsigmoid),
    ("softplus(x)", lambda x: F.softplus(x, 1, 40)),
    ("softsign(x)", lambda x: F.softsign(x)),
    ("selu(x)", lambda x: F.selu(x)),
    ("silu(x)", lambda x: F.silu(x)),
    ("swish(x)", lambda x: F.silu(x)),
    ("mish(x)", lambda x: F.mish(x)),
    ("hard_sigmoid(3 * x)", lambda x: (x / 2 + 0.5).clamp(0, 1)),
    ("hard_swish(3 * x)", lambda x: F.hardswish(3 * x)),
    ("step(x)", lambda x: (x > 0).double(), KINK),
    ("heaviside(x)", lambda x: (x > 0).double(), KINK),
    ("leaky_relu(x)", lambda x: F.leaky_relu(x)),
    ("leaky_relu(x, 0.2)", lambda x: F.leaky_relu(x, 0.2)),
    ("elu(x, alpha = 0.7)", lambda x: F.elu(x, 0.7)),
    ("gelu(x)", lambda x: F.gelu(x)),
    ('gelu(x, approximate = "tanh")', lambda x: F.gelu(x, approximate="tanh")),
    ("softmax(x)", lambda x: x.softmax(-1)),
    ("softmax(f, axis = 1)", lambda f: f.softmax(1)),
    ("log_softmax(f, axis = 2)", lambda f: f.log_softmax(2)),
    ("prelu(x)", lambda x, p: F.prelu(x, *p)),
    ("prelu(f, per_channel = true)", lambda f, p: F.prelu(f, *p)),
    ("rrelu(x)", lambda x: F.leaky_relu(x, 11 / 48), RANDOM),
    # what is random in training, in inference
    *(
        (f"{name}(f, 0.4)", lambda f: f, RANDOM)
        for name in (
            *("dropout", "dropout1d", "drop_path", "alpha_dropout", "feature_alpha_dropout"),
            *("gaussian_dropout", "gaussian_noise"),
        )
    ),
    ("dropout2d(unsqueeze(f, 3), 0.4)", lambda f: f[..., None], RANDOM),
    ("dropout3d(unsqueeze(f, [3, 4]), 0.4)", lambda f: f[..., None, None], RANDOM),
)  # fmt: skip

INPUTS = {
    "x": Input("[N, 5]"),
    "y": Input("[N, 5]"),
    "v": Input("[N, 5]", positive),
    "u": Input("[N, 5]", unit),
    "f": Input("[N, 3, 7]"),
    "on": Input("bool[N, 5]", flags),
    "i": Input("i64[N, 5]", below(4)),
}
TABLE = Table("elementwise", INPUTS, ROWS)
