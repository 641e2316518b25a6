"""The parser tables: built by Lark from `grammars/dls.lark`, kept as JSON in a private cache.

Only the first parse after a change of the grammar imports Lark. The cache holds plain numbers and
words, checked by a digest; one that cannot be read or trusted is ignored and written anew.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dlspec.resources import resources

if TYPE_CHECKING:
    from collections.abc import Callable

STARTS = ("item", "body", "exprs")
LAYOUT = "2"  # of the cache file; change it together with `generate`


class Rule(NamedTuple):
    """One production. picks: the children's positions, -1 for an absent optional one;
    splices: those picks whose value is a list to be taken apart."""

    origin: str
    size: int
    expand1: bool
    picks: tuple[int, ...]
    splices: frozenset[int]
    action: str


@dataclass(frozen=True)
class Tables:
    """states: from a symbol to a state to enter, or to -1 - i for reducing by rules[i]."""

    states: list[dict[str, int]]
    rules: list[Rule]
    starts: dict[str, int]
    ends: dict[str, int]
    pattern: str  # one alternative a terminal, in the order to try them
    words: dict[str, str]  # "if" -> "IF"


@cache
def tables() -> Tables:
    """The tables of the grammar in force."""
    grammar = (resources("grammars") / "dls.lark").read_text(encoding="utf-8")
    key = sha256(f"{LAYOUT}\0{lark_version()}\0{grammar}".encode()).hexdigest()[:32]
    place = cache_folder() / f"dls-{key}.json"
    data = load(place)
    if data is None:
        data = generate(grammar)
        save(place, data)
    return decode(data)


def decode(data: dict[str, Any]) -> Tables:
    rules = [Rule(o, n, x, tuple(p), frozenset(s), a) for o, n, x, p, s, a in data["rules"]]
    return Tables(
        data["states"], rules, data["starts"], data["ends"], data["pattern"], data["words"]
    )


# --- from the grammar ---


def generate(grammar: str, *, strict: bool = False) -> dict[str, Any]:
    """Tables as plain JSON data. strict: any conflict in the grammar is an error."""
    from lark import Lark
    from lark.grammar import Rule as LarkRule
    from lark.lexer import TerminalDef

    lark = Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        start=list(STARTS),
        maybe_placeholders=True,
        strict=strict,
    )
    serialize = cast(
        "Callable[[list[type]], tuple[dict[str, Any], dict[int, dict[str, Any]]]]",
        lark.memo_serialize,  # pyright: ignore[reportUnknownMemberType]
    )
    data, memo = serialize([TerminalDef, LarkRule])
    table = data["parser"]["parser"]
    tokens: dict[int, str] = table["tokens"]
    numbers = {key: n for n, key in enumerate(k for k, v in memo.items() if is_rule(v))}
    states: list[dict[str, int]] = [
        {
            tokens[token]: -1 - numbers[target["@"]] if reduce else target
            for token, (reduce, target) in table["states"][state].items()
        }
        for state in range(len(table["states"]))
    ]
    pattern, words = scanner([v for v in memo.values() if not is_rule(v)])
    return {
        "states": states,
        "rules": [production(memo[key]) for key in numbers],
        "starts": table["start_states"],
        "ends": table["end_states"],
        "pattern": pattern,
        "words": words,
    }


def is_rule(data: dict[str, Any]) -> bool:
    return data["__type__"] == "Rule"


def production(rule: dict[str, Any]) -> list[Any]:
    """How Lark would shape the children of a rule, as the fields of `Rule`."""
    expansion: list[dict[str, Any]] = rule["expansion"]
    absent: tuple[bool, ...] = rule["options"]["empty_indices"] or (False,) * len(expansion)
    picks: list[int] = []
    splices: list[int] = []
    symbols = iter(enumerate(expansion))
    for empty in absent:
        if empty:
            picks.append(-1)
            continue
        at, symbol = next(symbols)
        if not symbol.get("filter_out"):
            if symbol["__type__"] == "NonTerminal" and symbol["name"].startswith("_"):
                splices.append(len(picks))
            picks.append(at)
    origin: str = rule["origin"]["name"]
    alias: str | None = rule["alias"]
    expand1: bool = rule["options"]["expand1"] and not alias
    action = "" if origin.startswith("_") else alias or origin
    return [origin, len(expansion), expand1, picks, splices, action]


def scanner(terminals: list[dict[str, Any]]) -> tuple[str, dict[str, str]]:
    """One pattern for the terminals that are not words, and the words."""
    words: dict[str, str] = {}
    rest: list[tuple[int, int, str, str]] = []
    for terminal in terminals:
        value: str = terminal["pattern"]["value"]
        literal = terminal["pattern"]["__type__"] == "PatternStr"
        if literal and value.isalpha():
            words[value] = terminal["name"]
        else:
            regex = re.escape(value) if literal else value
            rest.append((-terminal["priority"], -len(value), terminal["name"], regex))
    return "|".join(f"(?P<{name}>{regex})" for _, _, name, regex in sorted(rest)), words


# --- the cache ---


def lark_version() -> str:
    """The version of the installed Lark, without importing it."""
    spec = find_spec("lark")
    if spec is None or spec.origin is None:
        return ""
    found = re.search(r'__version__[^"\n]*"([^"]+)"', Path(spec.origin).read_text(encoding="utf-8"))
    return found[1] if found else ""


def cache_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path("~/.cache").expanduser()) / "dlspec"


def load(place: Path) -> dict[str, Any] | None:
    """The cached data, or None where there is none to be trusted."""
    try:
        if not private(place.parent):
            return None
        digest, _, text = place.read_text(encoding="utf-8").partition("\n")
        return json.loads(text) if sha256(text.encode()).hexdigest() == digest else None
    except (OSError, ValueError, RuntimeError):
        return None


def save(place: Path, data: dict[str, Any]) -> None:
    """Write by rename, so that a reader sees all or nothing; nothing where it cannot be written."""
    import tempfile  # not needed on a warm start

    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not private(place.parent):
            return
        text = json.dumps(data, separators=(",", ":"))
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=place.stem, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{sha256(text.encode()).hexdigest()}\n{text}")
        Path(name).replace(place)
    except OSError:
        return


def private(folder: Path) -> bool:
    """Whether nobody but this user can have written into the folder."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022
