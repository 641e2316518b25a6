"""Everything that a file for torch makes is where its network is: run on the device that computes
no numbers, a tensor that was made elsewhere raises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dlspec_torch import Target

from dlspec.codegen import sample_inputs
from dlspec.ir.types import DType

from .build import ROOT, module, unit

TRAINED = ["generative/gan", "generative/vae", "sequence/nano_gpt", "sequence/transformer"]


@pytest.mark.parametrize("name", TRAINED)
def test_losses(name: str) -> None:
    made = unit(ROOT / "specs" / f"{name}.dls", "train")
    emitted = module(Target(), made)
    assert made.training is not None
    batch: dict[str, np.ndarray] = {}
    for sample in sample_inputs(made.training.function):
        kind = np.float32 if sample.dtype is DType.FLOAT else np.int64
        batch[sample.name] = np.zeros(sample.shape, kind)
    net = emitted.init().net.to("meta").train()
    steps = getattr(emitted, "STEPS", None)
    losses = [emitted.losses] if steps is None else [s.losses for s in steps.values()]
    for loss in losses:
        with torch.device("meta"):
            metrics = loss(net, batch)
        assert {value.device.type for value in metrics.values()} == {"meta"}


def test_the_device_is_chosen_at_the_start() -> None:
    source = Target().generate(unit(ROOT / "specs" / "basics" / "mlp.dls", "train")).source
    assert 'if torch.cuda.is_available():\n        torch.set_default_device("cuda")' in source
    lines = [line for line in source.splitlines() if ".numpy()" in line]
    assert lines and all(".cpu().numpy()" in line for line in lines)
