"""Random valid specs, specs that once failed, and the examples of the reference: each is checked,
formatted, dumped and compiled, and three backends compute the same outputs, losses, gradients and
weights in float64.

DLSPEC_SPECS=300 makes the slow test run so many random specs.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dlspec.api import load

from .agree import Outcome, outcomes
from .specs import generate

pytest.importorskip("torch")
pytest.importorskip("optax")

PAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text()
EXAMPLES = re.compile(r"^```dls\n(.*?)^```$", re.M | re.S)
FOUND = sorted(Path(__file__).with_name("found").glob("*.dls"))
CHUNK = 20
FAST = 40
MANY = int(os.environ.get("DLSPEC_SPECS", "0"))
SIZES = (4, 6, 8, 10)  # budgets, from seed to seed


def random_specs(start: int, budgets: tuple[int, ...] = SIZES) -> dict[str, str]:
    seeds = range(start, start + CHUNK)
    return {f"seed{s}": generate(s, budgets[s % len(budgets)]) for s in seeds}


def assert_equal(texts: dict[str, str], folder: Path, ill: int = 0) -> None:
    """All are valid and computed alike; at most `ill` of them are ill-conditioned."""
    found = outcomes(texts, folder)
    bad = {name: o for name, o in found.items() if o.problem}
    told = "\n\n".join(f"--- {name}: {o.problem}\n{texts[name]}" for name, o in bad.items())
    assert not bad, f"{len(bad)} of {len(texts)}\n{told}"
    assert sum(o.ill for o in found.values()) <= ill, [n for n, o in found.items() if o.ill]


@pytest.mark.parametrize("start", range(0, FAST, CHUNK))
def test_random_specs(start: int, tmp_path: Path) -> None:
    assert_equal(random_specs(start, (4, 6)), tmp_path, ill=CHUNK // 20)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("start", range(0, MANY, CHUNK))
def test_many_random_specs(start: int, tmp_path: Path) -> None:
    assert_equal(random_specs(start), tmp_path, ill=CHUNK // 20)


def test_specs_that_once_failed(tmp_path: Path) -> None:
    assert FOUND
    assert_equal({path.stem: path.read_text() for path in FOUND}, tmp_path)


def test_examples_of_the_reference(tmp_path: Path) -> None:
    """Those with a model whose training needs no data of a known size."""
    texts: dict[str, str] = {}
    for match in EXAMPLES.finditer(PAGE):
        text = match[1]
        if load(text).models and "\ntrain " not in text:
            texts[f"line{PAGE[: match.start()].count(chr(10)) + 1}"] = text
    assert len(texts) > 15
    assert_equal(texts, tmp_path)


def test_a_difference_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that computes something else, and one whose file fails, are told."""
    from dlspec_torch import Target

    whole = Target.generate

    def wrong(self: object, *args: object, **options: object) -> object:
        found = whole(self, *args, **options)  # type: ignore[arg-type]
        return replace(found, source=found.source.replace("torch.tanh(", "torch.sin("))

    monkeypatch.setattr(Target, "generate", wrong)
    text = "model Net(x: [N, 4]) = x -> dense(3) -> tanh\n"
    found = outcomes({"one": text, "two": "model Net(x: [N, 4]) = x -> relu\n"}, tmp_path)
    assert "numpy-torch output" in found["one"].problem
    assert found["two"] == Outcome()
