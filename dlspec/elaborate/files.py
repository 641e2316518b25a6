"""Files and their imports: what each file defines, and what it may see of others.

Imports stay inside the folder of the spec, the library `std`, and folders the user passed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Diagnostics, Label
from dlspec.resources import resources
from dlspec.source import Source
from dlspec.syntax import ast, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dlspec.source import Span

MAX_FILE = 4 * 1024 * 1024


@dataclass(eq=False)
class Module:
    """One file. names: what its items define; consts are evaluated when first asked for."""

    file: ast.File
    path: Path | None
    names: dict[str, ast.Definition | ast.Const | ast.Use | ast.Train] = field(
        default_factory=dict[str, "ast.Definition | ast.Const | ast.Use | ast.Train"]
    )
    imported: dict[str, tuple[Module, str]] = field(
        default_factory=dict[str, "tuple[Module, str]"]
    )
    namespaces: dict[str, Module] = field(default_factory=dict[str, "Module"])
    consts: dict[str, Any] = field(default_factory=dict[str, Any])
    uses: list[Module] = field(default_factory=list["Module"])

    def definitions(self) -> Iterable[ast.Definition]:
        return (i for i in self.file.items if isinstance(i, ast.Definition))


@dataclass(eq=False)
class Loader:
    """Reads a file and all it imports, each once."""

    diagnostics: Diagnostics
    include: tuple[Path, ...] = ()
    modules: dict[Path, Module] = field(default_factory=dict[Path, Module])
    loading: list[Path] = field(default_factory=list[Path])

    def load_text(self, text: str, name: str, path: Path | None) -> Module:
        file = parse(Source(name, text), self.diagnostics)
        module = Module(file, path)
        root = path.parent if path is not None else None
        self._collect(module)
        for item in file.items:
            if isinstance(item, ast.Use):
                self._use(module, item, root)
        return module

    def _collect(self, module: Module) -> None:
        first: dict[str, Span] = {}
        for name, span, item in _defined(module.file):
            if name in first:
                label = (Label(first[name], "first defined here"),)
                message = f"`{name}` is defined twice"
                self.diagnostics.add(Diagnostic(codes.DUPLICATE, message, span, labels=label))
                continue
            first[name] = span
            module.names[name] = item
            if isinstance(item, ast.Definition) and _is_builtin(name):
                self.diagnostics.add(
                    Diagnostic(
                        codes.SHADOWS,
                        f"`{name}` is a built-in of the language",
                        span,
                        help=f"choose another name, such as `{name.capitalize()}`",
                    )
                )

    def _use(self, module: Module, use: ast.Use, root: Path | None) -> None:
        found = self._find(use, root)
        if found is None:
            return
        if found in self.loading:
            cycle = " -> ".join(p.name for p in (*self.loading, found))
            message = f"the imports go in a circle: {cycle}"
            self.diagnostics.add(Diagnostic(codes.IMPORT_CYCLE, message, use.path_span))
            return
        other = self.modules.get(found) or self._read(found, use.path_span)
        if other is None:
            return
        module.uses.append(other)
        if not use.names:
            alias = use.alias or found.stem
            module.namespaces[alias] = other
        for name in use.names:
            if name.name in other.names:
                module.imported[name.alias or name.name] = (other, name.name)
            else:
                self._missing(name, other, use)

    def _missing(self, name: ast.ImportedName, other: Module, use: ast.Use) -> None:
        close = get_close_matches(name.name, other.names, 1)
        self.diagnostics.add(
            Diagnostic(
                codes.NOT_IN_FILE,
                f"`{use.path}` does not define `{name.name}`",
                name.span,
                help=f"did you mean `{close[0]}`?" if close else "",
            )
        )

    def _find(self, use: ast.Use, root: Path | None) -> Path | None:
        parts = use.path.split(".")
        if not use.path.endswith(".dls") and parts[0] == "std":
            library = resources("specs") / "std"
            target = library.joinpath(*parts[1:]).with_suffix(".dls")
            return self._existing(use, [(library, target)])
        relative = use.path if use.path.endswith(".dls") else "/".join(parts) + ".dls"
        roots = ([root] if root is not None else []) + list(self.include)
        return self._existing(use, [(r, r / relative) for r in roots])

    def _existing(self, use: ast.Use, places: Sequence[tuple[Path, Path]]) -> Path | None:
        outside = False
        for root, target in places:
            try:
                real, base = target.resolve(), root.resolve()
            except (OSError, ValueError, RuntimeError):
                continue
            if not real.is_relative_to(base):
                outside = True
            elif real.is_file():
                return real
        if outside:
            message = f'"{use.path}" leaves the folder of the spec'
            help = "allow its folder with --include DIR"
            code = codes.IMPORT_OUTSIDE
        else:
            message, code = f'there is no file "{use.path}"', codes.NO_FILE
            help = "" if places else "a text without a file can import only from std"
        self.diagnostics.add(Diagnostic(code, message, use.path_span, help=help))
        return None

    def _read(self, path: Path, span: Span) -> Module | None:
        text = read(path)
        if not isinstance(text, str):
            message = f'"{path.name}" cannot be read: {text.reason}'
            self.diagnostics.add(Diagnostic(codes.NO_FILE, message, span))
            return None
        self.loading.append(path)
        module = self.load_text(text, str(path), path)
        self.loading.pop()
        self.modules[path] = module
        return module


@dataclass(frozen=True)
class Unreadable:
    reason: str


def read(path: Path) -> str | Unreadable:
    """The text of a file, UTF-8."""
    try:
        if path.stat().st_size > MAX_FILE:
            return Unreadable("it is larger than 4 MiB")
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        return Unreadable("it is not UTF-8 text")
    except OSError as error:
        return Unreadable(error.strerror or "unknown reason")
    except ValueError:
        return Unreadable("its name is not a file name")


def _defined(
    file: ast.File,
) -> Iterable[tuple[str, Span, ast.Definition | ast.Const | ast.Use | ast.Train]]:
    for item in file.items:
        if isinstance(item, ast.Definition | ast.Train):
            yield item.name, item.name_span, item
        elif isinstance(item, ast.Const):
            for name, span in target_names(item.target):
                yield name, span, item
        elif isinstance(item, ast.Use):
            for name in item.names:
                yield name.alias or name.name, name.span, item


def target_names(target: ast.Target) -> Iterable[tuple[str, Span]]:
    if target.name is not None:
        if target.name != "_":
            yield target.name, target.span
        return
    for item in target.items:
        yield from target_names(item)


def _is_builtin(name: str) -> bool:
    from dlspec.elaborate.static import STATIC_NAMES
    from dlspec.ops import registry

    return name in STATIC_NAMES or name in registry.names()
