"""Phases: trainings one after the other, with one state."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import dlspec
from dlspec.cli import main
from dlspec.training.errors import RunError
from dlspec.training.phases import ended
from dlspec.training.run import train
from dlspec.verification import verify

FINE_TUNING = """
model Net(x: [N, 4]) -> [N, 3] = x -> dense(8) as body -> relu -> dense(3) as head

train fit {
  data (x, label) from iris(batch = 30)
  share net = Net()
  loss = cross_entropy(net(x), label)
  phase head {
    minimize loss over net.head using adam(0.01)
    epochs 2
  }
  phase all {
    minimize loss over net.head using sgd(0.1) over net.body using adam(0.01)
    steps 3
  }
  report accuracy(net(x), label)
  evaluate on iris(split = "test")
}
"""
GROWING = """
block Block(x: [N, D]) = x -> dense(D) -> relu
model Tower(x: [N, 4], level) -> [N, 3] {
  for i in range(level) { x = x -> Block as block[i] }
  return x -> dense(3) as head
}

train grow {
  data (x, label) from iris(batch = 30)
  for level in range(3) {
    phase grow[level] {
      share net = Tower(level = level)
      fade = linear(0.0, 1.0)
      minimize fade * cross_entropy(net(x), label) using adam(0.01)
      report fade
    }
  }
  epochs 1
}
"""
# a code first, with its own data; then a network on top of it
STAGED = """
model Encoder(x: [N, 4]) -> [N, 2] = x -> dense(2)
model Decoder(code: [N, 2]) -> [N, 4] = code -> dense(4)
model Classifier(code: [N, 2]) -> [N, 3] = code -> dense(3)

train staged {
  share encoder = Encoder()
  phase codes {
    data (x, _) from iris(batch = 20)
    share decoder = Decoder()
    step forth { minimize mse(decoder(encoder(x)), x) over encoder using adam(0.01) }
    step back { minimize mse(decoder(encoder(x)), x) over decoder using adam(0.01) }
    steps 3
  }
  phase classes {
    data (x, label) from iris(batch = 40)
    share classifier = Classifier()
    code = stop_gradient(encoder(x))
    minimize cross_entropy(classifier(code), label) over classifier using sgd(0.1)
    evaluate on iris(split = "test")
    sample classifier(encoder(x)) as logits
    epochs 1
  }
}
"""
# the statement stands outside: its optimizer goes on
OUTER = """
model Line(x: [N, 1]) -> [N, 1] = x -> dense(1)

train line {
  data (x: [N, 1], y: [N, 1]) from npz("xy.npz", fields = ["x", "y"], batch = 4, shuffle = false)
  share net = Line()
  minimize mse(net(x), y) using adam(0.05)
  PHASES
}
"""


def run(text: str, folder: Path, **words: object):
    return train(dlspec.load(text).trainer(), "numpy", run_dir=folder, **words)


def test_freezing_then_all(tmp_path: Path):
    events = []
    found = run(FINE_TUNING, tmp_path, watch=events.append)
    assert (found.status, found.step) == ("finished", 11)
    assert [p.run_dir.name for p in found.phases] == ["1-head", "2-all"]
    assert [e["phase"] for e in events if e["event"] == "phase"] == ["head", "all"]
    from dlspec.weights import initial_weights

    first = found.phases[0].weights
    start = initial_weights(dlspec.load(FINE_TUNING).trainer("fit.head").training, 0)
    for name, array in start.items():
        assert np.array_equal(first[name], array.astype(np.float32)) == ("body" in name), name
    assert any(not np.array_equal(found.weights[n], w) for n, w in first.items() if "body" in n)
    assert "accuracy" in found.final["test"]


def test_growing(tmp_path: Path):
    found = run(GROWING, tmp_path)
    names = [sorted({n.rsplit(".", 1)[0] for n in p.weights}) for p in found.phases]
    assert names == [
        ["head"],
        ["block.0.dense", "head"],
        ["block.0.dense", "block.1.dense", "head"],
    ]
    for phase in found.phases:
        fades = [r["fade"] for r in phase.records if r["split"] == "batch"]
        np.testing.assert_allclose(fades, [0, 0.25, 0.5, 0.75])
    # a rate of zero at first: a phase begins with what the one before ended with
    second = dlspec.load(GROWING.replace("adam(0.01)", "sgd(0.0)")).trainer()
    still = train(second, "numpy", run_dir=tmp_path / "still")
    for first, later in zip(still.phases, still.phases[1:], strict=False):
        for name, array in first.weights.items():
            np.testing.assert_array_equal(array, later.weights[name])


def test_own_data_steps_and_samples(tmp_path: Path):
    found = run(STAGED, tmp_path)
    codes, classes = found.phases
    assert {"forth_loss", "back_loss"} <= codes.records[0].keys()
    assert "loss" in classes.records[0]
    assert (classes.run_dir / "samples" / "logits-1.npz").exists()
    for name in ("encoder.dense.weight", "encoder.dense.bias"):
        np.testing.assert_array_equal(codes.weights[name], classes.weights[name])
    assert not any(name.startswith("decoder") for name in classes.weights)


def test_the_optimizer_of_an_outer_minimize_goes_on(tmp_path: Path):
    x = np.arange(8.0)[:, None]
    np.savez(tmp_path / "xy.npz", x=x, y=2 * x)
    found = {}
    for name, phases in {
        "whole": "epochs 5",
        "parts": "phase a { epochs 2 }\n  phase b { epochs 3 }",
    }.items():
        (tmp_path / f"{name}.dls").write_text(OUTER.replace("PHASES", phases))
        unit = dlspec.load(str(tmp_path / f"{name}.dls")).trainer()
        found[name] = train(unit, "numpy", run_dir=tmp_path / name)
    for name, array in found["whole"].weights.items():
        np.testing.assert_array_equal(array, found["parts"].weights[name])


AVERAGED = """
model Net(x: [N, 4]) -> [N, 3] = x -> dense(3)

train fit {
  data (x, label) from iris(batch = 30, shuffle = false)
  share net = Net()
  OUTSIDE
  phase first {
    ema 0.9
    INSIDE
    epochs 2
  }
  phase second {
    SECOND
    epochs 1
  }
}
"""
MINIMIZE = "minimize cross_entropy(net(x), label) using sgd(0.1, momentum = 0.9)"


def averaged(folder: Path, outside: str, inside: str, second: str):
    text = AVERAGED.replace("OUTSIDE", outside).replace("INSIDE", inside)
    return run(text.replace("SECOND", second), folder).phases


def test_averages_are_handed_on(tmp_path: Path):
    """What was evaluated: the rate of zero keeps it. Of the phase itself the weights are kept."""
    still = MINIMIZE.replace("0.1", "0.0")
    first, second = averaged(tmp_path, "", MINIMIZE, still)
    average = ended(first.run_dir).evaluated
    for name, array in average.items():
        assert not np.array_equal(array, first.weights[name])
        np.testing.assert_array_equal(array, second.weights[name])


def test_averages_go_on_with_the_optimizer(tmp_path: Path):
    both = averaged(tmp_path / "both", MINIMIZE, "", "ema 0.9")
    text = AVERAGED[: AVERAGED.index("  phase")].replace("OUTSIDE", f"{MINIMIZE}\n  ema 0.9")
    whole = run(f"{text}  epochs 3\n}}\n", tmp_path / "whole")
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(array, both[1].weights[name])
    found = [ended(folder).evaluated for folder in (whole.run_dir, both[1].run_dir)]
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name])


def test_a_phase_without_averages_takes_no_state_of_one_with_them(tmp_path: Path):
    _, second = averaged(tmp_path, MINIMIZE, "", "clip_norm 100")
    assert not any(name.startswith("ema/") for name in ended(second.run_dir).optimizer)


def test_resumed_after_a_phase(tmp_path: Path):
    whole = run(STAGED, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts" / "2-classes")
    resumed = train(dlspec.load(STAGED).trainer(), "numpy", resume=tmp_path / "parts")
    assert resumed.step == whole.step
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(array, resumed.weights[name])


@pytest.mark.parametrize("phase", ["head", "all"])
def test_backends_agree(phase: str):
    found = verify(
        dlspec.load(FINE_TUNING).trainer(f"fit.{phase}"), optimizers=["declared"], steps=2
    )
    assert found.ok, found.text()


def test_verify_compares_every_phase(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "fit.dls"
    path.write_text(FINE_TUNING)
    words = ["--backend", "numpy", "--backend", "torch", "--optimizer", "declared", "--json"]
    assert main(["verify", str(path), "--steps", "1", *words]) == 0
    told = json.loads(capsys.readouterr().out)["phases"]
    assert list(told) == ["head", "all"]
    assert all(found["ok"] for found in told.values())
    with pytest.raises(RunError, match="has phases"):
        verify(dlspec.load(FINE_TUNING).trainer())


def test_a_program_for_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "fit.dls"
    path.write_text(FINE_TUNING)
    assert main(["compile", str(path), "--train", "fit.all", "--backend", "torch"]) == 0
    assert "def train_step" in capsys.readouterr().out
    assert main(["compile", str(path)]) == 2
    assert "fit.head, fit.all" in capsys.readouterr().err
    assert main(["compile", str(path), "--train", "fit.al"]) == 1
    assert "did you mean `all`" in capsys.readouterr().err


HEAD = """
model Net(x: [N, 4], out = 3) -> [N, out] = x -> dense(out)
train t {
  data (x, label) from iris()
"""
STEP = "minimize cross_entropy(Net(x), label) using sgd(0.1)"
SHARED = "share net = Net()\n minimize cross_entropy(net(x), label) using sgd(0.1)"


@pytest.mark.parametrize(
    ("body", "code", "blamed"),
    [
        ("phase { " + STEP + " }", "E0504", "phase"),
        ("phase a", "E0504", "phase"),
        ("phase 3 { " + STEP + " }", "E0504", "3"),
        (f"phase a {{ {SHARED} }}\n phase a {{ {SHARED} }}", "E0202", "a"),
        (f"phase a {{ phase b {{ {SHARED} }} }}", "E0504", "phase"),
        (f"step s {{ phase b {{ {SHARED} }} }}", "E0504", "phase"),
        (f"phase a {{ {SHARED} }}\n phase b {{ x = 3 }}", "E0504", "t"),
        (f"phase a {{ {SHARED} }}\n phase b {{ {SHARED}\n epochs 0 }}", "E0501", "0"),
        (f"phase a {{ {STEP} }}\n phase b {{ {STEP} }}", "E0504", "Net(x)"),
        (f"phase a {{ {SHARED}\n y = 3 }}\n report y", "E0201", "y"),
        (f"if 1 > 2 {{ phase a {{ {SHARED} }} }}", "E0504", "t"),
        (f"phase a times 2 {{ {SHARED} }}", "E0504", "times 2"),
    ],
)
def test_mistakes(body: str, code: str, blamed: str):
    spec = dlspec.load(f"{HEAD} {body}\n}}\n")
    spec.check()
    errors = [d for d in spec.diagnostics.found if d.code.name.startswith("E")]
    assert [(d.code.name, d.span.text) for d in errors] == [(code, blamed)]


def test_a_weight_has_one_shape(tmp_path: Path):
    def phase(name: str, out: int) -> str:
        return (
            f"phase {name} {{ share net = Net(out = {out})\n minimize mean(net(x)) using sgd(1) }}"
        )

    text = f"{HEAD.replace('label', '_')}\n{phase('a', 3)}\n{phase('b', 2)}\n}}\n"
    with pytest.raises(Exception, match=r"is \[3, 4\] in the phase `a`, and \[2, 4\] in `b`"):
        run(text, tmp_path)
