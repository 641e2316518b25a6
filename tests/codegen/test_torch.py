"""The torch backend: golden files, which are run and compared with modules written by hand."""

from __future__ import annotations

import difflib
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlspec_torch import Target
from dlspec_torch.layers import LAYERS
from torch import Tensor, nn

from dlspec.diagnostics import Failure
from dlspec.ir.graph import functions_below, walk
from dlspec.passes.randomness import draws

from .build import SPECS, check_golden, golden_unit, load, module, text_unit, unit

TARGET = Target()


@pytest.mark.parametrize("name", SPECS)
def test_golden(name: str) -> None:
    check_golden("torch", name, TARGET.generate(golden_unit(name)).source)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("randomness", ["framework", "inputs"])
def test_every_node_has_one_line(name: str, randomness: str) -> None:
    made = golden_unit(name)
    if randomness == "inputs":  # nodes are made anew; only the count can be compared
        generated = TARGET.generate(made, randomness="inputs")
        seen = Counter(id(node) for _, node, _ in generated.line_map)
        assert set(seen.values()) == {1}
        return
    generated = TARGET.generate(made)
    root = made.model if made.training is None else made.training.function
    nodes = [n for f in functions_below(root) for n in walk(f.body)]
    found = [node for _, node, _ in generated.line_map] + [n for n, _ in generated.eliminated]
    assert Counter(map(id, found)) == Counter(map(id, nodes))
    lines = generated.source.split("\n")
    assert all(lines[number - 1].strip() for number, _, _ in generated.line_map)


@pytest.mark.parametrize("name", SPECS)
def test_formatted_and_clean(name: str) -> None:
    source = TARGET.generate(golden_unit(name)).source
    options = ["--isolated", "--line-length", "100", "--stdin-filename", "emitted.py", "-"]
    for command in (["format", "--check"], ["check", "--select", "E,F,W,I,B,UP,SIM,C4,RET"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options],
            input=source.encode(),
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()


def test_same_bytes_whatever_the_hash_seed() -> None:
    program = (
        "import sys; from tests.codegen.build import golden_unit; from dlspec_torch import Target\n"
        "for name in ('lenet5', 'resnet18', 'shared'):\n"
        "    sys.stdout.write(Target().generate(golden_unit(name)).source)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": ".:backends"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert "torch" not in _imported("from dlspec_torch import Target")


def _imported(program: str) -> list[str]:
    """The top-level modules that a program imports."""
    listing = f"{program}\nimport sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    ran = subprocess.run(
        [sys.executable, "-c", listing],
        env={"PATH": "", "PYTHONPATH": ".:backends"},
        capture_output=True,
        check=True,
        text=True,
    )
    return ran.stdout.split()


# --- against modules written by hand ---


class LeNet5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5, padding=2)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.f5 = nn.Linear(400, 120)
        self.f6 = nn.Linear(120, 84)
        self.head = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.c1(x).tanh(), 2)
        x = F.max_pool2d(self.c3(x).tanh(), 2)
        x = self.f6(self.f5(x.reshape(len(x), -1)).tanh()).tanh()
        return self.head(x)


def test_lenet5_trains_as_by_hand() -> None:
    emitted = module(TARGET, golden_unit("lenet5"))
    rng = np.random.default_rng(0)
    state = emitted.init(seed=1, dtype="float64")
    net = LeNet5().double()
    net.load_state_dict({k: torch.tensor(v) for k, v in emitted.export_weights(state).items()})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for step in range(4):
        image, label = rng.standard_normal((8, 1, 28, 28)), rng.integers(0, 10, 8)
        batch = {"image": image, "label": label}
        logits = net(torch.tensor(image))
        loss = F.cross_entropy(logits, torch.tensor(label))
        optimizer.zero_grad()
        loss.backward()
        metrics, gradients = emitted.gradients(state, batch)
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None
            np.testing.assert_allclose(gradients[name], parameter.grad, rtol=1e-10, atol=1e-13)
        lr = 0.05 / (step + 1)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        state, metrics = emitted.train_step(state, batch, lr)
        assert not metrics["loss"].requires_grad
        assert abs(float(metrics["loss"]) - loss.item()) < 1e-12
        right = (logits.argmax(1) == torch.tensor(label)).double().mean().item()
        assert float(metrics["accuracy"]) == right
    weights = emitted.export_weights(state)
    for name, parameter in net.named_parameters():
        np.testing.assert_allclose(weights[name], parameter.detach(), rtol=1e-10, atol=1e-13)
    with torch.no_grad():
        expected = net(torch.tensor(image))
    np.testing.assert_allclose(emitted.predict(state, image=image), expected, rtol=1e-10)
    assert (
        abs(
            float(emitted.evaluate(state, batch)["loss"])
            - float(F.cross_entropy(expected, torch.tensor(label)))
        )
        < 1e-12
    )


class Residual(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != channels:
            conv = nn.Conv2d(inputs, channels, 1, stride, bias=False)
            self.skip = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        return F.relu(y + self.skip(x))


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.norm = nn.BatchNorm2d(64)
        sizes = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        blocks = [b for i, c, s in sizes for b in (Residual(i, c, s), Residual(c, c, 1))]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 3, 2, 1)
        return self.head(self.blocks(x).mean((2, 3)))


def test_resnet18_predicts_as_by_hand() -> None:
    emitted = module(TARGET, golden_unit("resnet18"))
    state = emitted.init(dtype="float64")
    weights = emitted.export_weights(state)
    assert sum(p.numel() for p in state.net.parameters()) == 11_689_512
    assert len(weights) == 102 and "stage.1.basic.0.conv_norm.2.batch_norm.running_var" in weights
    net = ResNet18().double().eval()
    ours = {k: v for k, v in net.state_dict().items() if "num_batches" not in k}
    # both hold the same layers in the same order
    for (name, tensor), (theirs, array) in zip(ours.items(), weights.items(), strict=True):
        assert tensor.shape == array.shape, (name, theirs)
        tensor.copy_(torch.tensor(array))
    image = np.random.default_rng(0).standard_normal((2, 3, 64, 64))
    with torch.no_grad():
        expected = net(torch.tensor(image)).numpy()
    np.testing.assert_allclose(emitted.predict(state, image=image), expected, rtol=1e-9, atol=1e-12)


def test_resnet_stays_small() -> None:
    source = TARGET.generate(golden_unit("resnet18")).source
    assert source.count("\nclass ") <= 5 and source.count("\n") <= 130


def test_resnet34_differs_in_constructor_numbers_only() -> None:
    path, what, _ = SPECS["resnet18"]
    small = TARGET.generate(unit(path, what)).source.split("\n")
    large = TARGET.generate(unit(path, what, depths=[3, 4, 6, 3])).source.split("\n")
    changed = [d for d in difflib.ndiff(small, large) if d[0] in "+-"]
    assert [d.split("(")[0].split()[1:] for d in changed] == [["net", "=", "ResNet18"]] * 2


def test_a_shared_layer_is_one_layer() -> None:
    emitted = module(TARGET, golden_unit("shared"))
    weights = emitted.export_weights(emitted.init())
    shapes = sorted(w.shape for name, w in weights.items() if name.startswith("mix"))
    assert shapes == [(16,), (16, 16)]
    assert len([n for n in weights if n.startswith("step")]) == 6


# --- state that moves between files ---


@pytest.mark.parametrize("name", ["lenet5", "shared"])
def test_training_resumes_from_arrays(name: str) -> None:
    emitted = module(TARGET, golden_unit(name))
    rng = np.random.default_rng(0)
    shape = {"lenet5": (8, 1, 28, 28), "shared": (8, 8)}[name]
    field = {"lenet5": "image", "shared": "x"}[name]
    high = {"lenet5": 10, "shared": 4}[name]
    batches = [
        {field: rng.standard_normal(shape), "label": rng.integers(0, high, 8)} for _ in range(4)
    ]
    state = emitted.init(dtype="float64")
    for step in (0, 1):
        state, _ = emitted.train_step(state, batches[step], 0.01, seed=3, step=step)
    other = emitted.init(seed=5, dtype="float64")
    other = emitted.import_weights(other, emitted.export_weights(state))
    other = emitted.import_optimizer(other, emitted.export_optimizer(state))
    for step in (2, 3):
        state, first = emitted.train_step(state, batches[step], 0.01, seed=3, step=step)
        other, second = emitted.train_step(other, batches[step], 0.01, seed=3, step=step)
        assert float(first["loss"]) == float(second["loss"])
    ours, theirs = emitted.export_weights(state), emitted.export_weights(other)
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[key])
    kinds = {key.split("/")[0] for key in emitted.export_optimizer(state)}
    momentum = {"lenet5": {"momentum"}, "shared": {"exp_avg", "exp_avg_sq"}}[name]
    assert kinds == {"step", *momentum}


def test_gradients_leave_the_state_alone() -> None:
    text = NORM_TRAIN
    emitted = module(TARGET, text_unit(text, "train"))
    state = emitted.init()
    before = {k: v.copy() for k, v in emitted.export_weights(state).items()}
    rng = np.random.default_rng(0)
    emitted.gradients(state, {"x": rng.standard_normal((8, 4)), "y": rng.standard_normal((8, 2))})
    for key, array in emitted.export_weights(state).items():
        np.testing.assert_array_equal(array, before[key])


NORM_TRAIN = """
model Net(x: [N, 4]) -> [N, 2] = x -> dense(3) -> batch_norm -> relu -> dense(2) as head
train net {
  data (x: [N, 4], y: [N, 2]) from npz("x.npz", fields = "x, y", batch = 8)
  minimize mse(x -> Net, y) using sgd(0.1)
  epochs 1
}
"""


# --- randomness ---


def test_draws_as_inputs() -> None:
    made = golden_unit("shared")
    emitted = module(TARGET, made, "inputs")
    assert made.training is not None
    (spec,) = draws(made.training.function, {"N": 8})
    assert spec.shape == (8, 16) and spec.modal
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((8, 8)), "label": rng.integers(0, 4, 8)}
    mask = (rng.random(spec.shape) > 0.25) / 0.75
    state = emitted.init(dtype="float64")
    metrics, _ = emitted.gradients(state, batch, [mask])
    net = state.net
    x = torch.tensor(batch["x"])
    weights = {k: torch.tensor(v) for k, v in emitted.export_weights(state).items()}
    mix = next(k for k in weights if k.startswith("mix")).removesuffix(".weight")
    first = next(k for k in weights if k.startswith("dense")).removesuffix(".weight")

    def dense(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    h = dense(dense(x, first), mix)
    for i in range(3):
        h = h + torch.tanh(dense(dense(h, f"step.{i}.dense"), mix))
    logits = dense(dense(h, mix) * torch.tensor(mask), "head")
    loss = F.cross_entropy(logits, torch.tensor(batch["label"]))
    assert abs(float(metrics["loss"]) - float(loss)) < 1e-12
    assert net is state.net
    evaluated = float(emitted.evaluate(state, batch)["loss"])
    plain = F.cross_entropy(dense(dense(h, mix), "head"), torch.tensor(batch["label"]))
    assert abs(evaluated - float(plain)) < 1e-12


def test_draws_are_keyed_by_seed_and_step() -> None:
    emitted = module(TARGET, golden_unit("shared"))
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((8, 8)), "label": rng.integers(0, 4, 8)}
    state = emitted.init()

    def loss(seed: int, step: int) -> float:
        return float(emitted.gradients(state, batch, seed=seed, step=step)[0]["loss"])

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(0, 1), loss(1, 0)}) == 3


# --- gaps ---


@pytest.mark.parametrize("kind", LAYERS)
def test_a_missing_layer_is_told(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(LAYERS, kind)
    units = [golden_unit("lenet5"), golden_unit("resnet18"), text_unit(EMBEDDING, "Words")]
    units += [text_unit(OTHERS, "Others"), text_unit(RECURRENT, "Recurrent")]
    failures: list[str] = []
    for made in units:
        try:
            TARGET.generate(made)
        except Failure as failure:
            assert failure.diagnostic.code.name == "E0701"
            failures.append(failure.diagnostic.message)
    assert failures and all(kind in message and "torch" in message for message in failures)


OTHERS = """model Others(x: [N, 4, 6]) {
  y = x -> conv_transpose(4, 1) -> group_norm(2)
    -> instance_norm(scale = true, shift = true) -> layer_norm
  return bilinear(y, y -> prelu -> rms_norm, 3)
}
"""
RECURRENT = "model Recurrent(x: [N, T, 4]) = x -> lstm(8) -> gru(8) -> rnn(8)\n"
EMBEDDING = "model Words(x: i64[N, T]) -> [N, T, 8] = x -> embedding(20, 8)\n"


def test_names_of_modules_are_kept_in_paths() -> None:
    text = "model Net(x: [N, 4]) -> [N, 4] = x -> dense(4) as half -> dense(4) as train\n"
    emitted = module(TARGET, text_unit(text, "Net"))
    state = emitted.init()
    assert sorted(emitted.export_weights(state)) == [
        "half.bias",
        "half.weight",
        "train.bias",
        "train.weight",
    ]
    emitted.import_weights(state, emitted.export_weights(state))


def test_a_main_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for name in SPECS:
        source = TARGET.generate(golden_unit(name)).source
        exec(compile(source, name, "exec"), {"__name__": "__main__"})
    assert "loss" in capsys.readouterr().out


def test_units_are_not_changed() -> None:
    made = golden_unit("lenet5")
    first = TARGET.generate(made).source
    TARGET.generate(made, randomness="inputs")
    assert TARGET.generate(replace(made)).source == first


def test_the_loader_is_no_import() -> None:
    assert load("x = 1").x == 1
