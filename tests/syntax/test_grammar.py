"""The grammar: free of conflicts, every rule built, tables cached safely."""

from __future__ import annotations

import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dlspec.resources import resources
from dlspec.syntax import tables as module
from dlspec.syntax.parser import find_action
from dlspec.syntax.tables import decode, generate, load, save, tables

if TYPE_CHECKING:
    from pathlib import Path

GRAMMAR = (resources("grammars") / "dls.lark").read_text(encoding="utf-8")


def test_grammar_has_no_conflict() -> None:
    pytest.importorskip("interegular")
    generate(GRAMMAR, strict=True)


def test_strict_mode_sees_a_conflict() -> None:
    pytest.importorskip("interegular")
    ambiguous = GRAMMAR.replace("?unit: postfix\n", '?unit: postfix\n     | unit "->" unit\n')
    assert ambiguous != GRAMMAR
    with pytest.raises(Exception, match="conflict"):
        generate(ambiguous, strict=True)


def test_every_rule_has_an_action() -> None:
    for rule in tables().rules:
        if rule.action:
            assert find_action(rule.action, rule.expand1) or rule.expand1


def test_cache_round_trip(tmp_path: Path) -> None:
    place = tmp_path / "dlspec" / "dls.json"
    data = generate(GRAMMAR)
    save(place, data)
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in place.parent.iterdir()] == ["dls.json"]
    read = load(place)
    assert read is not None
    assert decode(read) == decode(data)


@pytest.mark.parametrize("damage", ["", "{}", "x\n{}", "no json at all\n"])
def test_damaged_cache_is_ignored(tmp_path: Path, damage: str) -> None:
    place = tmp_path / "dls.json"
    tmp_path.chmod(0o700)
    place.write_text(damage, encoding="utf-8")
    assert load(place) is None


def test_changed_cache_is_ignored(tmp_path: Path) -> None:
    place = tmp_path / "dlspec" / "dls.json"
    save(place, generate(GRAMMAR))
    text = place.read_text(encoding="utf-8")
    place.write_text(text.replace("NAME", "NUMBER", 1), encoding="utf-8")
    assert load(place) is None


def test_cache_that_others_can_write_is_ignored(tmp_path: Path) -> None:
    place = tmp_path / "dlspec" / "dls.json"
    save(place, generate(GRAMMAR))
    place.parent.chmod(0o777)
    assert load(place) is None


def test_no_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    module.tables.cache_clear()
    try:
        assert module.tables() == tables()
    finally:
        module.tables.cache_clear()


def test_warm_start_imports_no_lark(tmp_path: Path) -> None:
    code = (
        "import sys; from dlspec.source import Source; from dlspec.diagnostics import Diagnostics\n"
        "from dlspec.syntax import parse\n"
        "assert parse(Source('x', 'const a = 1'), Diagnostics()).items\n"
        "print('lark' in sys.modules, 'dlspec.syntax.format' in sys.modules)\n"
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert runs == [["True", "False"], ["False", "False"]]
