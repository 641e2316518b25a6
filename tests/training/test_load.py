"""`load net from "file" using "map.toml"`."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import dlspec
from dlspec.diagnostics import Failure
from dlspec.interchange import dump, load
from dlspec.training.run import train
from dlspec.weights import read_weights, write_weights
from dlspec.weights.foreign import LoadError, NameMap, fitted, read_any, read_map

SPEC = """
model Net(x: [N, 4]) -> [N, 3] {
  for i in range(2) { x = x -> dense(4) as block[i] -> relu }
  return x -> dense(3) as head
}

train fit {
  data (x, label) from iris(batch = 30)
  share net = Net()
  LOAD
  loss = cross_entropy(net(x), label)
  minimize loss using sgd(0)
  steps 1
}
"""
MAP = """
ignore = ["fc", "num_batches_tracked"]
[names]
"layer{i}.lin" = "block.{i}"
"out" = "head"
"""


def arrays(*names: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"weight": (4, 4), "bias": (4,)}
    found = {n: rng.normal(size=shapes[n.rsplit(".", 1)[-1]]).astype(np.float32) for n in names}
    for name in found:
        if name.startswith(("head", "out")):
            found[name] = found[name][:3]
    return found


BLOCKS = ("layer0.lin.weight", "layer0.lin.bias", "layer1.lin.weight", "layer1.lin.bias")
FOREIGN = arrays(*BLOCKS, "out.weight", "out.bias", "fc.weight")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_weights(tmp_path / "foreign.safetensors", FOREIGN)
    (tmp_path / "map.toml").write_text(MAP)
    return tmp_path


def run(folder: Path, statement: str, name: str = "spec", text: str = SPEC, **words: object):
    (folder / f"{name}.dls").write_text(text.replace("LOAD", statement))
    unit = dlspec.load(str(folder / f"{name}.dls"), **words).trainer()
    return train(unit, "numpy", run_dir=folder / "run")


def test_a_run_begins_with_what_it_loads(folder: Path):
    found = run(folder, 'load net from "foreign.safetensors" using "map.toml"').weights
    np.testing.assert_array_equal(found["block.1.weight"], FOREIGN["layer1.lin.weight"])
    np.testing.assert_array_equal(found["head.bias"], FOREIGN["out.bias"])


def test_a_part(folder: Path):
    """Only what lies below the path is replaced; names are relative to it."""
    write_weights(folder / "head.safetensors", arrays("weight", "bias") | {
        "weight": np.ones((3, 4)), "bias": np.ones(3)})  # fmt: skip
    found = run(folder, 'load net.head from "head.safetensors"').weights
    assert (found["head.weight"] == 1).all()
    assert found["head.weight"].dtype == np.float32
    assert not (found["block.0.weight"] == 1).any()


@pytest.mark.parametrize("kind", ["pt", "npz", "state_dict"])
def test_other_files(folder: Path, kind: str):
    import torch

    tensors = {name: torch.nn.Parameter(torch.as_tensor(a)) for name, a in FOREIGN.items()}
    tensors["fc.half"] = torch.ones(2, dtype=torch.bfloat16)
    if kind == "npz":
        np.savez(folder / "w.npz", **FOREIGN)
    else:
        torch.save(
            tensors if kind == "pt" else {"state_dict": tensors, "epoch": 3}, folder / "w.pt"
        )
    file = "w.npz" if kind == "npz" else "w.pt"
    found = run(folder, f'load net from "{file}" using "map.toml"').weights
    np.testing.assert_array_equal(found["block.0.bias"], FOREIGN["layer0.lin.bias"])


def test_a_pickle_does_not_run(folder: Path):
    class Bad:
        def __reduce__(self):
            return (Path.touch, (folder / "touched",))

    (folder / "bad.pt").write_bytes(pickle.dumps({"w": Bad()}, protocol=2))
    with pytest.raises(Failure, match=r"cannot read"):
        run(folder, 'load net from "bad.pt"')
    assert not (folder / "touched").exists()
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ('load net from "no.safetensors"', 'there is no file "no.safetensors"'),
        ('load net from "foreign.safetensors" using "no.toml"', 'there is no file "no.toml"'),
        (
            'load net from "foreign.safetensors"',
            "the file has `fc.weight`, and the network has not",
        ),
        ('load net from "../foreign.safetensors"', "leaves the folder of the spec"),
        ('load net.head from "foreign.safetensors" using "map.toml"', r"`layer0.* \(here `block"),
        ('load net from "map.toml"', "cannot read"),
    ],
)
def test_what_does_not_fit(folder: Path, statement: str, message: str):
    (folder / "inner").mkdir()
    for name in ("foreign.safetensors", "map.toml"):
        (folder / "inner" / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(Failure, match=message):
        run(folder / "inner", statement)
    assert not (folder / "inner" / "run").exists()


def test_an_allowed_folder(folder: Path):
    (folder / "inner").mkdir()
    found = run(folder / "inner", 'load net from "foreign.safetensors" using "map.toml"',
                include=[folder]).weights  # fmt: skip
    np.testing.assert_array_equal(found["head.bias"], FOREIGN["out.bias"])


def test_shapes_and_names():
    wanted = {"a": np.zeros((2, 3)), "b": np.zeros(2)}
    with pytest.raises(LoadError, match=r"`a` is \[3, 2\] in the file and \[2, 3\]"):
        fitted(wanted, {"a": np.zeros((3, 2)), "b": np.zeros(2)}, NameMap())
    with pytest.raises(LoadError, match="the file lacks `b`; it has `a`"):
        fitted(wanted, {"a": np.zeros((2, 3))}, NameMap())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names = 3", "`names` is a table"),
        ("[name]\na = 'b'", "has `name`"),
        ("[names]\na = 3", "names are texts"),
        ("[names]\na = 'b{i}'", r"`b\{i\}` does not go with `a`"),
        ("[names]\n'a{' = 'b'", "does not go with"),
        ("names", "is no TOML"),
    ],
)
def test_bad_maps(tmp_path: Path, text: str, message: str):
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(LoadError, match=message):
        read_map(tmp_path / "map.toml")


def test_maps(folder: Path):
    names = read_map(folder / "map.toml")
    assert names.ours("layer12.lin.weight") == "block.12.weight"
    assert names.ours("layer1.linear.weight") == "layer1.linear.weight"
    assert names.ours("x.num_batches_tracked") is None
    assert names.ours("out") == "head"
    assert read_any(folder / "foreign.safetensors").keys() == FOREIGN.keys()


def test_in_phases(folder: Path):
    """One outside of the phases is for the first; a phase's own replaces what was learnt."""
    text = SPEC.replace(
        "minimize loss using sgd(0)\n  steps 1",
        "minimize loss using sgd(0.5)\n  epochs 1\n  phase a { seed 1 }\n  phase b { seed 2 }\n"
        '  phase c { load net.head from "head.safetensors"\n steps 1 }',
    )
    write_weights(folder / "head.safetensors", {"weight": np.ones((3, 4)), "bias": np.full(3, 5.0)})
    found = run(folder, 'load net from "foreign.safetensors" using "map.toml"', text=text)
    a, b, c = (phase.weights for phase in found.phases)
    assert not np.array_equal(a["head.bias"], b["head.bias"])
    assert abs(a["head.bias"] - FOREIGN["out.bias"]).max() < 2
    assert abs(c["head.bias"] - 5).max() < 1
    path = found.phases[1].run_dir / "checkpoints"
    assert path.exists()
    assert read_weights(next(path.glob("step-?.safetensors"))).keys() == b.keys()


def test_round_trip():
    text = SPEC.replace(
        "LOAD", 'load net.head from "a.safetensors" using "b.toml"\n  freeze net.head'
    )
    training = dlspec.load(text).trainer().training
    (found,) = training.loads
    assert (found.path, found.file, found.names) == ("head", "a.safetensors", "b.toml")
    (again,) = load(dump(training)).loads
    assert (again.path, again.file, again.names) == (found.path, found.file, found.names)


@pytest.mark.parametrize(
    ("statement", "code", "blamed"),
    [
        ("load net", "E0504", "load"),
        ('load net from "a", "b"', "E0504", 'from "a", "b"'),
        ("load net from 3", "E0504", "from 3"),
        ('load x from "a"', "E0504", "x"),
        ('load net.tail from "a"', "E0201", "net.tail"),
        ('load net from "a" over net', "E0504", "over net"),
    ],
)
def test_mistakes(statement: str, code: str, blamed: str):
    spec = dlspec.load(SPEC.replace("LOAD", statement))
    spec.check()
    assert [(d.code.name, d.span.text) for d in spec.diagnostics.found] == [(code, blamed)]
