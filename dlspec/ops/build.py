"""A builder of function bodies, for passes and tests. The elaborator has its own, with spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from dlspec.codes import SHAPE, UNDECIDED
from dlspec.ir.facts import Facts, Truth
from dlspec.ir.graph import OpNode, Requirement, Value
from dlspec.ir.types import DType
from dlspec.ops.elementwise import Constant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codes import Code
    from dlspec.ir.dims import Dim
    from dlspec.ir.facts import Relation
    from dlspec.ir.graph import Function, Node
    from dlspec.ops.base import Op


class BuildError(Exception):
    """A shape error where there is no spec to blame: in a pass it is a bug."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


class FunctionBuilder:
    """Appends to `function.body`, or to `body` where one is given (a side of a branch).

    What is unknown becomes a requirement of the function. Constants are shared, as long as they
    are emitted into one body.
    """

    def __init__(
        self, function: Function, facts: Facts | None = None, body: list[Node] | None = None
    ) -> None:
        self.function = function
        self.facts = Facts() if facts is None else facts
        self.body = function.body if body is None else body
        self._required = {r.relation for r in function.requirements}
        self._constants: dict[tuple[str, DType], Value] = {}

    def emit(self, op: Op, *operands: Value) -> Value:
        (result,) = self.emit_all(op, *operands)
        return result

    def emit_all(self, op: Op, *operands: Value) -> tuple[Value, ...]:
        types = op.infer([v.type for v in operands], self)
        results = tuple(Value(type) for type in types)
        self.body.append(OpNode(op, operands, results))
        return results

    def constant(self, value: float, like: Value | None = None) -> Value:
        dtype = DType.FLOAT if like is None else like.type.dtype
        number = value if dtype is DType.BOOL else int(value) if dtype.is_int else float(value)
        key = (repr(number), dtype)
        if key not in self._constants:
            self._constants[key] = self.emit(Constant(number, dtype))
        return self._constants[key]

    def decide(self, relation: Relation) -> Truth:
        found = self.facts.decide(relation)
        if found is Truth.UNKNOWN and (values := self.function.values()):
            found = self.facts.decide(relation.substitute(values))
        return found

    def require(self, relation: Relation, reason: str, code: Code | None = None) -> None:
        match self.decide(relation):
            case Truth.PROVED:
                return
            case Truth.REFUTED:
                self.fail(code or SHAPE, reason)
            case Truth.UNKNOWN:
                if relation not in self._required:
                    self._required.add(relation)
                    need = Requirement(relation, None, reason, code or SHAPE)
                    self.function.requirements.append(need)

    def fail(
        self, code: Code, message: str, *, notes: Sequence[str] = (), help: str = ""
    ) -> NoReturn:
        raise BuildError(code, message)

    def known(self, dim: Dim) -> int:
        """The value of a dim made of constructor parameters."""
        found = dim.substitute(self.function.values())
        if not found.is_const:
            self.fail(UNDECIDED, f"`{dim}` must be known here")
        return found.value
