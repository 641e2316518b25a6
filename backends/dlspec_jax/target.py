"""One standalone JAX file from a model or a training section."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, ClassVar

from dlspec.codegen import (
    Generated,
    Text,
    blank,
    docstring,
    line,
    render,
    to_inputs,
)
from dlspec.codegen.code import Statement
from dlspec.codegen.inference import FOLDING
from dlspec.codegen.inference import NAMES as FOLD_NAMES
from dlspec.codegen.unit import rewritten
from dlspec.ir.graph import CallNode
from dlspec_jax.functions import forward_function
from dlspec_jax.groups import numbered
from dlspec_jax.library import INFERENCE, LIBRARY
from dlspec_jax.makers import maker_function
from dlspec_jax.program import Program
from dlspec_jax.protocol import PROTOCOL_NAMES, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlspec.codegen import Randomness, Unit
    from dlspec.codegen.inference import Precision
    from dlspec.ir.graph import Node, Training

IMPORTS = {
    "copy": "from copy import copy",
    "math": "import math",
    "re": "import re",
    "partial": "from functools import partial",
    "tee": "from itertools import tee",
    "Callable": "from collections.abc import Callable",
    "NamedTuple": "from typing import NamedTuple",
    "jax": "import jax",
    "jnp": "import jax.numpy as jnp",
    "np": "import numpy as np",
    "optax": "import optax",
    "lax": "from jax import lax",
}
STANDARD = ("copy", "math", "re", "tee", "partial", "Callable", "NamedTuple")
RESERVED = frozenset(IMPORTS) | PROTOCOL_NAMES


class Target:
    """The JAX backend."""

    name = "jax"
    inference: ClassVar[tuple[Precision, ...]] = ("float32", "bfloat16")

    def generate(self, unit: Unit, *, randomness: Randomness = "framework") -> Generated:
        """The file of a unit. Raises Failure (E0701) for an op that JAX code cannot be made of."""
        inputs_drawn = randomness == "inputs"
        if inputs_drawn:
            unit = rewritten(unit, to_inputs)
        root = unit.model if unit.training is None else unit.training.function
        apart, half = frozenset[str](), frozenset[int]()
        if unit.training is not None:
            apart = numbered(unit.training.minimize)
            half = frozenset(computing_in_half(unit.training))
        reserved = RESERVED | frozenset((*LIBRARY.definitions, *FOLD_NAMES))
        program = Program(root, reserved, inputs_drawn, apart, half)
        body: list[Statement] = []
        eliminated: list[tuple[Node, str]] = [*unit.inference.eliminated] if unit.inference else []
        for function in program.functions:
            if unit.training is not None and function is root:
                continue
            if program.traits[id(function)].made and function.of is None:
                body += [*blank(2), maker_function(program, function)]
            forward, lowered = forward_function(program, function, inputs_drawn=inputs_drawn)
            body += [*blank(2), forward]
            eliminated += [(n, "a static branch has one side") for n in lowered.taken_branches]
        protocol = Protocol(unit, program, inputs_drawn=inputs_drawn)
        body += protocol.statements()
        eliminated += protocol.eliminated
        head = _head(unit, body)
        source, line_map = render([*head, *body])
        return Generated("\n".join(source) + "\n", line_map, tuple(eliminated))


def computing_in_half(training: Training) -> Iterator[int]:
    """The ids of networks, and of what steps call them by, where they compute in bfloat16."""
    networks = set(map(id, training.networks)) if training.half else set[int]()
    yield from networks
    for node in training.function.body:
        if isinstance(node, CallNode):
            pairs = zip(node.function.references, node.refs, strict=True)
            yield from (id(own) for own, given in pairs if id(given) in networks)


def _head(unit: Unit, body: list[Statement]) -> list[Statement]:
    """Docstring, imports, and the library's definitions that the body uses."""
    used = names_used("\n".join(render(body)[0]))
    own = INFERENCE if unit.inference else LIBRARY
    library = [*FOLDING.closure(used), *own.closure(used)]
    for definition in library:
        used |= definition.uses
    imports = [n for n in IMPORTS if n in used]
    standard = sorted(IMPORTS[n] for n in imports if n in STANDARD)
    third = sorted((IMPORTS[n] for n in imports if n not in STANDARD), key=_import_order)
    title = (unit.title or unit.model.name).removesuffix(".")
    head: list[Statement] = [docstring(f"{title}, in JAX. Written by dlspec."), *blank()]
    # `import x` before `from x import y`, as isort has it
    head += [line(t) for t in sorted(standard, key=_import_order)]
    head += blank() if standard else []
    head += [line(t) for t in third]
    precision = 'jax.config.update("jax_default_matmul_precision", "float32")'
    head += [*blank(), line(precision, comment="also on devices that would round first")]
    for definition in library:
        head += [*blank(2), Text(definition.source)]
    return head


def _import_order(text: str) -> tuple[bool, str]:
    return text.startswith("from"), text


def names_used(source: str) -> set[str]:
    """All names that occur in a text of Python."""
    return {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
