"""Files of the trained specs are as the formatter leaves them, and without what nobody reads."""

from __future__ import annotations

import subprocess
import sys

import pytest
from dlspec_jax import Target as Jax
from dlspec_numpy import Target as Numpy
from dlspec_torch import Target as Torch

from .build import ROOT, text_unit, unit

PARTS = """model Net(x: [N, 4]) -> [N, 3] = x -> dense(16) as body -> relu -> dense(3) as head

train fit {
  data (x, label) from iris(batch = 16)
  share net = Net()
  minimize cross_entropy(net(x), label) over net.head using adam(1e-3) over net.body using sgd(1e-2)
  clip_norm 1.0
  accumulate 2
  ema 0.99
}
"""
TURNS = """model Net(x: [N, 4]) -> [N, 3] = x -> dense(16) -> batch_norm -> dense(3)

train fit {
  data (x, label) from iris(batch = 16)
  share a = Net()
  share b = Net()
  step first times 2 { minimize cross_entropy(a(x), label) over a using adam(1e-3) }
  step second { minimize cross_entropy(a(x) + b(x), label) over b using sgd(1e-2) }
  clip_norm 1.0
  accumulate 4
  ema 0.99
}
"""
TEXTS = {"parts": PARTS, "turns": TURNS}
SPECS = [
    *("generative/gan", "generative/wgan_gp", "generative/vae", "sequence/char_lstm"),
    *("generative/contractive_autoencoder", "sequence/nano_gpt", "sequence/transformer"),
]


@pytest.mark.parametrize("name", [*SPECS, *TEXTS])
@pytest.mark.parametrize("target", [Numpy(), Torch(), Jax()], ids=["numpy", "torch", "jax"])
def test_formatted_and_clean(target: Numpy | Torch | Jax, name: str) -> None:
    made = unit(ROOT / "specs" / f"{name}.dls", "train") if name in SPECS else None
    source = target.generate(made or text_unit(TEXTS[name], "train")).source
    options = ["--isolated", "--line-length", "100", "--stdin-filename", "emitted.py", "-"]
    for command in (["format", "--diff"], ["check", "--select", "E,F,W,I,B006,UP,SIM,C4"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options],
            input=source.encode(),
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()
