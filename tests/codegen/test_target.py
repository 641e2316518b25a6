"""Backends are found when asked for, and a broken one breaks nothing else."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from dlspec.codegen import target
from dlspec.diagnostics import Failure


def _install(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    found = [EntryPoint(name, value, target.GROUP) for name, value in entries]
    monkeypatch.setattr(target, "entry_points", lambda **_: found)


def _failure(name: str) -> Any:
    with pytest.raises(Failure) as caught:
        target.load(name)
    return caught.value.diagnostic


def test_a_broken_plugin_breaks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(
        monkeypatch, ("broken", "no_such_package_at_all:Target"), ("torch", "dlspec_torch:Target")
    )
    assert list(target.installed()) == ["broken", "torch"]
    assert target.load("torch").name == "torch"
    diagnostic = _failure("broken")
    assert diagnostic.code.name == "E0702" and "no_such_package_at_all" in str(diagnostic.notes)


def test_an_unknown_backend_lists_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, ("torch", "dlspec_torch:Target"))
    diagnostic = _failure("torhc")
    assert diagnostic.code.name == "E0703" and "torch" in diagnostic.help


def test_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch)
    diagnostic = _failure("torch")
    assert diagnostic.code.name == "E0703" and "pip install -e ." in diagnostic.help
