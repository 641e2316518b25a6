"""The core that backends share: IR functions to Python source that reads as if written by hand.

A backend is a class with a `name` and `generate(unit, randomness=…) -> Generated`
(`target.Target`), found through the entry points `dlspec.backends`. Its parts:

    TABLE: Table = {
        Add: "a, b: a + b",                        # operands by name, before the colon
        Softmax: "x: torch.softmax(x, dim=axis)",  # `axis` is a field of the op
        Linear: ("x, w: F.linear(x, w)", "x, w, b: F.linear(x, w, b)"),  # by operand count
        Concat: "*xs: torch.cat([*xs], dim=axis)",
        Reshape: lower_reshape,                    # (node, operands, static) -> ast.expr | str
        Erf: Unsupported("has no erf"),            # E0701, naming backend and op
    }

Expressions are `ast` nodes (`python.expr("a + b")`, `python.call("f", x, dim=y)`,
`python.substitute`), so brackets and spacing are never a backend's business; `python.layout`
prints them as `ruff format` would at width 100.

1. `plans(root, Policy(slot, op))` says, per definition, which parameters and dims its constructor
   takes (`Plan.arguments`), which its body reads, and where dims can be read from inputs
   (`Plan.dims`). `Policy` yields the static values that the backend prints for a slot and an op:
   `slot_statics` (attributes of layers), `weight_statics` (shapes), `op_statics`,
   `free_op_statics` (none for the op of a layer).
2. `construction(slot, plan, static)` gives a child's constructor arguments.
   `owned_slots(function)` yields slots with the branch that creates them (None: always);
   `side_condition(branch, slot)` the condition.
3. `StaticPrinter(function.symbols, lookup)` prints dims, origins and static values; `lookup(name)`
   is the expression of a parameter or dim there (`self.kernel`, `n`). `DimScope` does so for a body
   and binds dims of inputs (`n, c, h, w = x.shape`) when they are used.
4. `Body(function, table, names, static)` lowers a body. Subclass it: `weight(value)`,
   `call(node, operands)`, `repeat(node, carried, held)`; override `op` for layers. A hook returns
   `Lowered(expr, extra=(targets…), effect=…)`; extra targets are assigned with the results
   (`y, saved = …`, `y, state = …`). `bind(value, name)` says where inputs are; `run()` gives
   statements with the `return`.
5. `code`: `line`, `block`, `assign`, `Text` build statements; `render` gives lines and the line
   map. A statement names the IR nodes it carries out; each node must come exactly once, or be in
   `Generated.eliminated` with the pass that removed it (`Body.taken_branches`: branches
   with a single side need no `if`).
   `drawing(root)` and `updating(root)`: which functions draw or update buffers (effects).
6. `sample_inputs(function)` for the random batch of `__main__`; `Names`, `snake`, `identifier` for
   names; `unsupported_at` for gaps outside the table. `Library` holds functions that files copy.

Before that: `passes.merge.merge(root)` makes one function per definition. For randomness "inputs",
`to_inputs(root)` turns random ops into `NextDraw` and what follows from it; a backend prints it as
`next(draws)` and hands `draws` to every function for which `drawing(root)` says so.
"""

from dlspec.codegen.code import (
    Block,
    Line,
    Statement,
    Text,
    assign,
    blank,
    block,
    docstring,
    line,
    render,
)
from dlspec.codegen.library import Library
from dlspec.codegen.lower import (
    Body,
    Lowered,
    attribute_of,
    has_effect,
    operands_of,
    shape_text,
    uses,
)
from dlspec.codegen.names import Names, identifier, plural, snake
from dlspec.codegen.plan import (
    NO_DEFAULT,
    Argument,
    Plan,
    Policy,
    construction,
    evaluated,
    free_op_statics,
    given_value,
    op_statics,
    owned_slots,
    plans,
    root_arguments,
    side_condition,
    slot_statics,
    weight_statics,
)
from dlspec.codegen.samples import Sample, only_numbers, sample_inputs
from dlspec.codegen.scope import DimScope
from dlspec.codegen.statics import StaticPrinter, names_of, negated
from dlspec.codegen.tables import Row, Table, Unsupported, lower, unsupported, unsupported_at
from dlspec.codegen.target import Generated, Randomness, Target, Unit, installed, load
from dlspec.passes.paths import deriving
from dlspec.passes.randomness import NextDraw, drawing, to_inputs, updating

__all__ = [
    "NO_DEFAULT",
    "Argument",
    "Block",
    "Body",
    "DimScope",
    "Generated",
    "Library",
    "Line",
    "Lowered",
    "Names",
    "NextDraw",
    "Plan",
    "Policy",
    "Randomness",
    "Row",
    "Sample",
    "Statement",
    "StaticPrinter",
    "Table",
    "Target",
    "Text",
    "Unit",
    "Unsupported",
    "assign",
    "attribute_of",
    "blank",
    "block",
    "construction",
    "deriving",
    "docstring",
    "drawing",
    "evaluated",
    "free_op_statics",
    "given_value",
    "has_effect",
    "identifier",
    "installed",
    "line",
    "load",
    "lower",
    "names_of",
    "negated",
    "only_numbers",
    "op_statics",
    "operands_of",
    "owned_slots",
    "plans",
    "plural",
    "render",
    "root_arguments",
    "sample_inputs",
    "shape_text",
    "side_condition",
    "slot_statics",
    "snake",
    "to_inputs",
    "unsupported",
    "unsupported_at",
    "updating",
    "uses",
    "weight_statics",
]
