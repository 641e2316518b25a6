"""Files and their imports: what each file defines, and what it may see of others.

Imports stay inside the folder of the spec, the library `std`, and folders the user passed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Diagnostics, Failure, Label, close_to
from dlspec.files import read_source
from dlspec.resources import resources
from dlspec.syntax import ast, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dlspec.source import Source, Span

MAX_DEPTH = 100


@dataclass(eq=False)
class Module:
    """One file. names: what its items define; consts are evaluated when first asked for."""

    file: ast.File
    path: Path | None
    names: dict[str, ast.Definition | ast.Const | ast.Use | ast.Train] = field(
        default_factory=dict[str, "ast.Definition | ast.Const | ast.Use | ast.Train"]
    )
    imported: dict[str, tuple[Module, str]] = field(default_factory=dict[str, "tuple[Module, str]"])
    namespaces: dict[str, Module] = field(default_factory=dict[str, "Module"])
    consts: dict[str, Any] = field(default_factory=dict[str, Any])
    uses: list[Module] = field(default_factory=list["Module"])
    lost: set[str] = field(default_factory=set[str])  # what failed imports would have given
    incomplete: bool = False  # items with syntax errors are missing

    def definitions(self) -> Iterable[ast.Definition]:
        return (i for i in self.file.items if isinstance(i, ast.Definition))


@dataclass(eq=False)
class Loader:
    """Reads a file and all it imports, each once. base: the folder that imports stay in."""

    diagnostics: Diagnostics
    include: tuple[Path, ...] = ()
    modules: dict[Path, Module] = field(default_factory=dict[Path, Module])
    loading: list[Path] = field(default_factory=list[Path])
    base: Path | None = None

    def load(self, source: Source, path: Path | None, real: Path | None = None) -> Module:
        """Parse a file and load what it imports. path: as the user wrote it."""
        known = len(self.diagnostics.found)
        module = Module(parse(source, self.diagnostics), path)
        module.incomplete = len(self.diagnostics.found) > known
        self._collect(module)
        if path is not None:
            real = real or path.resolve()
            self.loading.append(real)
            self.base = self.base or path.parent
        for item in module.file.items:
            if isinstance(item, ast.Use):
                self._use(module, item)
        if real is not None:
            self.loading.pop()
            self.modules[real] = module
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

    def _use(self, module: Module, use: ast.Use) -> None:
        other = self._other(module, use)
        if other is None:
            module.lost.update([n.alias or n.name for n in use.names] or [alias_of(use)])
            return
        module.uses.append(other)
        if not use.names:
            module.namespaces[alias_of(use)] = other
        for name in use.names:
            known = name.alias or name.name
            if name.name in other.names:
                module.imported[known] = (other, name.name)
                continue
            module.lost.add(known)
            if name.name not in other.lost and not other.incomplete:
                self._missing(name, other, use)

    def _other(self, module: Module, use: ast.Use) -> Module | None:
        found = self._find(use, module)
        if found is None:
            return None
        path, real = found
        if real in self.loading:
            circle = self.loading[self.loading.index(real) :]
            cycle = " -> ".join(p.name for p in (*circle, real))
            message = f"the imports go in a circle: {cycle}"
            if self.loading[-1] == real:
                message = "the file imports itself"
            self.diagnostics.add(Diagnostic(codes.IMPORT_CYCLE, message, use.path_span))
            return None
        if real in self.modules:
            return self.modules[real]
        if len(self.loading) >= MAX_DEPTH:
            message = f"more than {MAX_DEPTH} files import one another in a row"
            self.diagnostics.add(Diagnostic(codes.LIMIT, message, use.path_span))
            return None
        return self._read(path, real, use)

    def _missing(self, name: ast.ImportedName, other: Module, use: ast.Use) -> None:
        self.diagnostics.add(
            Diagnostic(
                codes.NOT_IN_FILE,
                f"`{use.path}` does not define `{name.name}`",
                name.span,
                help=close_to(name.name, other.names),
            )
        )

    def _find(self, use: ast.Use, module: Module) -> tuple[Path, Path] | None:
        """The file as messages name it, and where it really is."""
        parts = use.path.split(".")
        library = resources("specs") / "std"
        if not use.path.endswith(".dls") and parts[0] == "std":
            return self._existing(
                use, [(library, library.joinpath(*parts[1:]).with_suffix(".dls"))]
            )
        relative = use.path if use.path.endswith(".dls") else "/".join(parts) + ".dls"
        places = [(root, root / relative) for root in self.include]
        if module.path is not None:
            own = module.path.parent
            base = library if own.resolve().is_relative_to(library.resolve()) else self.base or own
            places.insert(0, (base, own / relative))
        return self._existing(use, places)

    def _existing(
        self, use: ast.Use, places: Sequence[tuple[Path, Path]]
    ) -> tuple[Path, Path] | None:
        outside = False
        for root, target in places:
            try:
                real, base = target.resolve(), root.resolve()
                if not real.is_relative_to(base):
                    outside = True
                elif real.is_file():
                    return Path(os.path.normpath(target)), real
            except (OSError, ValueError, RuntimeError):  # no such name, or links in a circle
                continue
        if outside:
            message = f'"{use.path}" leaves the folder of the spec'
            help = "allow its folder with --include DIR"
            code = codes.IMPORT_OUTSIDE
        else:
            message, code = f'there is no file "{use.path}"', codes.NO_FILE
            help = "" if places else "a text without a file can import only from std"
        self.diagnostics.add(Diagnostic(code, message, use.path_span, help=help))
        return None

    def _read(self, path: Path, real: Path, use: ast.Use) -> Module | None:
        try:
            source = read_source(str(path))
        except Failure as failure:
            self.diagnostics.add(replace(failure.diagnostic, span=use.path_span))
            return None
        return self.load(source, path, real)


def alias_of(use: ast.Use) -> str:
    """The name under which a whole file is imported."""
    return use.alias or use.path.removesuffix(".dls").replace("/", ".").split(".")[-1]


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
            if not item.names:
                yield alias_of(item), item.path_span, item


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
