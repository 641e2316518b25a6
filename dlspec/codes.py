"""The registry of diagnostic codes. Each has a page in `docs/errors/`, shown by `dlspec explain`.

E01xx syntax, E02xx names and calls, E03xx shapes and dims, E04xx static code, E05xx training,
E06xx files and imports, E07xx backends and the installation, W09xx warnings.
"""

from __future__ import annotations

from dataclasses import dataclass

from dlspec.diagnostics import Severity


@dataclass(frozen=True)
class Code:
    name: str
    title: str

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self.name.startswith("W") else Severity.ERROR


CODES: dict[str, Code] = {}


def _code(name: str, title: str) -> Code:
    code = Code(name, title)
    CODES[name] = code
    return code


SYNTAX = _code("E0101", "syntax error")
UNCLOSED = _code("E0102", "unclosed bracket")
BARE_OPERATOR = _code("E0103", "operator bare on the left of ->")
TOO_DEEP = _code("E0104", "nesting too deep")
BAD_LITERAL = _code("E0105", "malformed number or string")

UNDEFINED = _code("E0201", "undefined name")
DUPLICATE = _code("E0202", "duplicate definition")
SHADOWS = _code("E0203", "name shadows a built-in")
BAD_ARGUMENT = _code("E0204", "wrong argument")
MISSING_ARGUMENT = _code("E0205", "missing argument")
NOT_CALLABLE = _code("E0206", "not a layer or a function")
UNUSED_PARAMETER = _code("E0207", "unused static parameter")
MIXED_DEFINITION = _code("E0208", "definition with a body that does not fit its inputs")
PATH_CLASH = _code("E0209", "two weights with one path")
NOT_SUPPORTED = _code("E0210", "not supported yet")

SHAPE = _code("E0301", "shapes do not fit")
RANK = _code("E0302", "wrong number of axes")
DTYPE = _code("E0303", "wrong element type")
OUTPUT_TYPE = _code("E0304", "declared output differs")
NEGATIVE_SIZE = _code("E0305", "size would not be positive")
NOT_DIVISIBLE = _code("E0306", "not divisible")
UNDECIDED = _code("E0307", "static condition on an open dimension")
PRECONDITION = _code("E0308", "precondition violated")
SINGLE_VALUE_NORM = _code("E0309", "batch norm over a single value per channel")
STATE = _code("E0310", "state of a cell that changes its type")
NO_GRADIENT = _code("E0311", "gradient for a tensor that plays no part")

STATIC_TYPE = _code("E0401", "wrong kind of value")
STATIC_VALUE = _code("E0402", "bad value in static code")
LIMIT = _code("E0403", "limit on unrolling exceeded")
RECURSION = _code("E0404", "recursion does not end")
ASSERTION = _code("E0405", "assertion failed")

BAD_SETTING = _code("E0501", "unknown or misused training setting")
NOTHING_TO_LEARN = _code("E0502", "minimize reaches no parameter")
BAD_DATA = _code("E0503", "data source and fields do not fit")
TRAINING_FORM = _code("E0504", "malformed training section")

NO_FILE = _code("E0601", "file cannot be read")
IMPORT_OUTSIDE = _code("E0602", "import leaves the allowed folders")
IMPORT_CYCLE = _code("E0603", "import cycle")
NOT_IN_FILE = _code("E0604", "file does not define the name")

UNSUPPORTED_OP = _code("E0701", "backend cannot lower an operation")
MISSING_EXTRA = _code("E0702", "package is not installed")
NO_BACKEND = _code("E0703", "unknown backend")

UNUSED_BINDING = _code("W0901", "unused binding or input")
DOUBLE_SOFTMAX = _code("W0902", "softmax before cross_entropy")
BCE_PROBABILITIES = _code("W0903", "probabilities where logits are safer")
UNUSED_IMPORT = _code("W0904", "unused import")
