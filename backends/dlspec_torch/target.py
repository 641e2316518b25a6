"""From a unit to a file for torch."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from dlspec.codegen import (
    Generated,
    Randomness,
    Statement,
    Text,
    Unit,
    blank,
    docstring,
    plans,
    python,
    render,
    to_inputs,
)
from dlspec.codegen.inference import FOLDING
from dlspec.codegen.unit import rewritten
from dlspec_torch.in_place import in_place
from dlspec_torch.library import LIBRARY
from dlspec_torch.modules import POLICY, Effects
from dlspec_torch.protocol import FILE_NAMES, Protocol
from dlspec_torch.table import TABLE, Dialect

if TYPE_CHECKING:
    from dlspec.codegen import Table
    from dlspec.codegen.inference import Precision
    from dlspec.ir.graph import Node


@dataclass
class Target:
    """table: what each op is. A backend of one's own may be this one with other rows."""

    name: str = "torch"
    table: Table = field(default_factory=lambda: TABLE)
    inference: ClassVar[tuple[Precision, ...]] = ("float32", "bfloat16")

    def generate(self, unit: Unit, *, randomness: Randomness = "framework") -> Generated:
        given = randomness == "inputs"
        if given:
            unit = rewritten(unit, to_inputs)
        root = unit.model if unit.training is None else unit.training.function
        table = plans(root, POLICY, also=(unit.model,), reserved=FILE_NAMES)
        effects = Effects.below(root, unit.model)
        if unit.inference is not None:
            effects = replace(effects, in_place=in_place(root, self.table))
        statements: list[Statement] = []
        eliminated: list[tuple[Node, str]] = [*unit.inference.eliminated] if unit.inference else []
        protocol = Protocol(unit, table, effects, given, Dialect(self.name, self.table))
        for module in protocol.classes():
            statements += [*blank(2), *module.statements()]
            eliminated += [(node, "static branch") for node in module.taken]
        statements += protocol.statements()
        eliminated += [(node, "static branch") for node in protocol.taken]
        used = python.names_in(ast.parse("\n".join(render(statements)[0])))
        library = [*FOLDING.closure(used), *LIBRARY.closure(used)]
        copied = [s for d in library for s in (*blank(2), Text(d.source))]
        body, line_map = render([*copied, *statements])
        title = unit.title or unit.model.doc or unit.model.name
        head, _ = render([docstring(title), *blank(), *protocol.imports("\n".join(body))])
        shifted = [(line + len(head), node, span) for line, node, span in line_map]
        return Generated("\n".join([*head, *body]) + "\n", shifted, tuple(eliminated))
