"""What can be told from the text alone, in every definition, training and test of a file.

Names, arguments of callees that are known without running static code, what is declared and never
used. A problem that elaboration would find too has the same code and place here, so that it is
told once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dlspec import codes
from dlspec.diagnostics import Diagnostic, Label, close_to
from dlspec.elaborate.callees import Callee, callee_of, check_call, layer_by_text, origin_module
from dlspec.elaborate.files import alias_of
from dlspec.elaborate.lists import element_type
from dlspec.elaborate.names import children
from dlspec.elaborate.resolve import Known, is_lost, not_yet, unresolved
from dlspec.elaborate.statements import last_stage, returns
from dlspec.schedules import SCHEDULES
from dlspec.syntax import ast

if TYPE_CHECKING:
    from dlspec.codes import Code
    from dlspec.elaborate.files import Module
    from dlspec.elaborate.session import Session
    from dlspec.source import Span

Kind = Literal["parameter", "input", "binding", "field", "dim", "local"]
# verbs that take names or words of their own
OWN_NAMES = frozenset({"evaluate", "step", "early_stop", "phase", "precision"})
WORDS = {"input": "input", "binding": "binding", "field": "data field"}


def lint(session: Session, module: Module) -> None:
    """Check the items of a file by their text. Problems join the session's diagnostics."""
    linter = Linter(session, module)
    for item in module.file.items:
        if session.broken(item):
            linter.touch(item)
        else:
            linter.item(item)
    linter.imports()


@dataclass(eq=False)
class Bound:
    """A name of a definition. by: the input whose type bound it, for a dim."""

    kind: Kind
    span: Span
    by: Bound | None = None
    used: bool = False


class Linter:
    def __init__(self, session: Session, module: Module) -> None:
        self.session = session
        self.module = module
        self.names: dict[str, Bound] = {}
        self.schedules = False  # whether they have names here
        self.checked: set[int] = set()  # calls that a pipe gives a tensor
        self.used: set[str] = set()  # names of the file that something mentions

    # --- reports ---

    def tell(self, code: Code, message: str, span: Span, help: str = "", first: Span | None = None):
        labels = () if first is None else (Label(first, "first here"),)
        found = Diagnostic(code, message, span, labels=labels, help=help)
        self.session.diagnostics.add(found, foreseen=True)

    def imports(self) -> None:
        for item in self.module.file.items:
            if not isinstance(item, ast.Use):
                continue
            if not item.names:
                alias = alias_of(item)
                if alias not in self.used and alias in self.module.namespaces:
                    self.tell(
                        codes.UNUSED_IMPORT, f"`{alias}` is imported and never used", item.path_span
                    )
            for name in item.names:
                known = name.alias or name.name
                if known not in self.used and known in self.module.imported:
                    self.tell(
                        codes.UNUSED_IMPORT, f"`{known}` is imported and never used", name.span
                    )

    # --- items ---

    def item(self, item: ast.Item) -> None:
        self.names = {}
        self.schedules = isinstance(item, ast.Train)
        match item:
            case ast.Definition():
                self.definition(item)
            case ast.Train():
                self.train(item)
            case ast.Test():
                self.test(item)
            case ast.Const():
                self.expr(item.value)
            case ast.Use():
                pass

    def touch(self, item: object) -> None:
        """Count the names in what did not parse whole, and say nothing more about it."""
        todo = [item]
        while todo:
            node = todo.pop()
            if isinstance(node, ast.Name):
                self.used.add(node.id)
            todo.extend(children(node))

    def definition(self, item: ast.Definition) -> None:
        self.params(item.params)
        states = [p for p in item.params if p.state]
        if item.kind == "cell" and not states:
            message = f"the cell {item.name} has no state"
            self.tell(codes.MIXED_DEFINITION, message, item.name_span)
        for param in states:
            if item.kind != "cell":
                self.tell(codes.MIXED_DEFINITION, "state inputs stand in cells only", param.span)
        for param in item.params:
            if param.annotation is not None:
                self.type(param.annotation, self.names.get(param.name))
        for expr in (*(p.default for p in item.params if p.default), *item.where):
            self.expr(expr)
        if isinstance(item.body, tuple):
            self.body(item.body, "definition")
            if not returns(item.body):
                self.tell(codes.MIXED_DEFINITION, f"{item.name} returns nothing", item.name_span)
        else:
            self.expr(item.body)
        self.output(item.output)
        if not self.layer_with_inputs(item):
            self.unused(self.names)

    def layer_with_inputs(self, item: ast.Definition) -> bool:
        """`block Head(x: [N, D]) = dense(2)`: the input reaches nothing."""
        inputs = [b for b in self.names.values() if b.kind == "input"]
        body = item.body
        if isinstance(body, tuple) or not inputs or any(b.used for b in inputs):
            return False
        if not layer_by_text(self.module, body, self.names):
            return False
        self.tell(
            codes.MIXED_DEFINITION,
            f"{item.name} must return a tensor, not a layer",
            last_stage(body),
            help="apply the layer to an input: x -> …",
        )
        return True

    def output(self, output: ast.Expr | tuple[ast.Field, ...] | None) -> None:
        if output is None:
            return
        if not isinstance(output, tuple):
            self.type(output, None)
            return
        first: dict[str, Span] = {}
        for field in output:
            if field.name in first:
                message = f"there are two outputs `{field.name}`"
                self.tell(codes.DUPLICATE, message, field.span, first=first[field.name])
            first.setdefault(field.name, field.span)
            if field.annotation is not None:
                self.type(field.annotation, None)

    def params(self, params: Sequence[ast.Param]) -> None:
        for param in params:
            old = self.names.get(param.name)
            if old is not None:
                message = f"there are two parameters `{param.name}`"
                self.tell(codes.DUPLICATE, message, param.span, first=old.span)
                continue
            kind: Kind = "parameter" if param.annotation is None else "input"
            self.names[param.name] = Bound(kind, param.span)

    def train(self, item: ast.Train) -> None:
        self.params(item.params)
        for param in item.params:
            if param.default is not None:
                self.expr(param.default)
        self.body(item.body, "train")
        self.unused(self.names)

    def test(self, item: ast.Test) -> None:
        self.body(item.body, "test")
        self.unused(self.names)

    def unused(self, names: Mapping[str, Bound]) -> None:
        for name, bound in names.items():
            if bound.used or name.startswith("_"):
                continue
            if bound.kind == "parameter":
                self.tell(
                    codes.UNUSED_PARAMETER, f"the parameter `{name}` is never used", bound.span,
                    help="use it, or delete it",
                )  # fmt: skip
            elif bound.kind in WORDS:
                help = "" if bound.kind == "input" else "write `_` for what nobody needs"
                message = f"the {WORDS[bound.kind]} `{name}` is never used"
                self.tell(codes.UNUSED_BINDING, message, bound.span, help=help)

    # --- statements ---

    def body(self, statements: Iterable[ast.Stmt], where: str) -> None:
        for statement in statements:
            match statement:
                case ast.Binding():
                    self.binding(statement)
                case ast.Return():
                    self.expr(statement.value)
                    if where != "definition":
                        self.misplaced(statement, where)
                case ast.If():
                    self.expr(statement.condition)
                    self.body(statement.then, where)
                    self.body(statement.orelse, where)
                    if where == "test":
                        self.misplaced(statement, where)
                case ast.For():
                    self.expr(statement.iterable)
                    self.target(statement.target, "local")
                    self.body(statement.body, where)
                    if where == "test":
                        self.misplaced(statement, where)
                case ast.Assert():
                    self.expr(statement.condition)
                    if where != "test":
                        message = "`assert` stands in tests only"
                        self.tell(codes.TRAINING_FORM, message, statement.span)
                case ast.Verb():
                    self.verb(statement, where)

    def misplaced(self, statement: ast.Stmt, where: str) -> None:
        if where == "test":
            message = "a test has bindings and asserts only"
            self.tell(codes.STATIC_TYPE, message, statement.span)
        else:
            message = "`return` stands in definitions only"
            place = (
                last_stage(statement.value) if isinstance(statement, ast.Return) else statement.span
            )
            self.tell(codes.TRAINING_FORM, message, place)

    def binding(self, statement: ast.Binding) -> None:
        self.expr(statement.value)
        if statement.annotation is not None:
            self.type(statement.annotation, None)
        self.target(statement.target, "binding")

    def target(self, target: ast.Target, kind: Kind) -> None:
        if target.name is not None and target.name not in self.names:
            self.names[target.name] = Bound(kind, target.span)
        for item in target.items:
            self.target(item, kind)

    def verb(self, statement: ast.Verb, where: str) -> None:
        from dlspec.elaborate.training import VERBS

        if where != "train":
            if where == "definition":
                message = f"`{statement.name}` stands in training sections only"
                self.tell(codes.TRAINING_FORM, message, statement.span)
            else:
                self.misplaced(statement, where)
        if where != "train" or statement.name not in VERBS:  # elaboration tells
            self.touch_names(statement)
            return
        if statement.name == "data":
            self.data(statement)
        elif statement.name not in OWN_NAMES:
            for arg in statement.args:
                self.expr(arg)
        for clause in statement.clauses:
            for arg in clause.args:
                if clause.word in ("from", "on", "using"):
                    self.words(arg)
                else:
                    self.expr(arg)
        if statement.name == "phase":
            self.phase(statement)
        else:
            self.body(statement.body or (), where)

    def phase(self, statement: ast.Verb) -> None:
        """Its names are its own."""
        outer = dict(self.names)
        self.body(statement.body or (), "train")
        own = {name: bound for name, bound in self.names.items() if outer.get(name) is not bound}
        self.unused(own)
        self.names = outer

    def words(self, expr: ast.Expr) -> None:
        """A call of a source, an optimizer or a schedule: names of their own."""
        if isinstance(expr, ast.Call):
            for arg in (*expr.args, *(k.value for k in expr.keywords)):
                self.words(arg)
        elif not isinstance(expr, ast.Name) or expr.id in self.names:
            self.expr(expr)
        else:
            self.used.add(expr.id)

    def data(self, statement: ast.Verb) -> None:
        fields = [(f.name, f.span, f.annotation) for f in statement.fields]
        fields += [(a.id, a.span, None) for a in statement.args if isinstance(a, ast.Name)]
        for name, span, annotation in fields:
            old = self.names.get(name)
            if old is not None and old.kind == "field" and name != "_":
                self.tell(codes.DUPLICATE, f"there are two fields `{name}`", span, first=old.span)
            bound = Bound("field", span)
            self.names.setdefault(name, bound)
            if annotation is not None:
                self.type(annotation, bound)

    def touch_names(self, node: object) -> None:
        todo = [node]
        while todo:
            item = todo.pop()
            if isinstance(item, ast.Name):
                self.mark(item.id)
            elif isinstance(item, ast.Binding):
                self.target(item.target, "local")
            todo.extend(children(item))

    # --- types ---

    def type(self, annotation: ast.Expr, by: Bound | None) -> None:
        """A written type: bare names bind, expressions are read."""
        annotation = element_type(annotation) or annotation
        if isinstance(annotation, ast.ListExpr):
            items: tuple[object, ...] = annotation.items
        elif isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
            items = annotation.items
        else:
            return
        for item in items:
            if not isinstance(item, ast.Name):
                continue
            if item.id == "_" or item.id in self.names or item.id in self.module.names:
                self.mark(item.id)
            else:
                self.names[item.id] = Bound("dim", item.span, by)
        for item in items:
            if not isinstance(item, ast.Name | ast.EllipsisExpr):
                self.expr(item)

    # --- expressions ---

    def mark(self, name: str) -> bool:
        """Count a use. False: the definition does not know the name."""
        bound = self.names.get(name)
        if bound is None:
            self.used.add(name)
            return False
        bound.used = True
        if bound.by is not None:
            bound.by.used = True
        return True

    def expr(self, expr: object) -> None:
        todo: list[object] = [expr]
        while todo:
            node = todo.pop()
            match node:
                case ast.Name():
                    self.name(node)
                case ast.Attribute():
                    self.attribute(node, todo)
                case ast.Comprehension():
                    self.comprehension(node)
                case ast.Call():
                    if id(node) not in self.checked:
                        self.call(node, False)
                    todo.extend(children(node))
                case ast.Pipe():
                    self.pipe(node)
                    todo.extend(reversed(node.stages))
                case ast.As():
                    todo.append(node.value)
                    if node.index is not None:
                        todo.append(node.index)
                case _:
                    todo.extend(reversed(children(node)))

    def pipe(self, node: ast.Pipe) -> None:
        first = node.stages[0]
        if layer_by_text(self.module, first, self.names):
            return
        for stage in node.stages[1:]:
            inner = stage.value if isinstance(stage, ast.As) else stage
            if isinstance(inner, ast.Call):
                self.call(inner, True)
                self.checked.add(id(inner))

    def call(self, node: ast.Call, piped: bool) -> None:
        callee = self.callee(node)
        if callee is not None:
            check_call(self.tell, callee, node, piped)

    def callee(self, node: ast.Call) -> Callee | None:
        if isinstance(node.callee, ast.Name) and node.callee.id in self.names:
            return None
        return callee_of(self.module, node.callee)

    def name(self, node: ast.Name) -> None:
        if self.mark(node.id) or (self.schedules and node.id in SCHEDULES):
            return
        found = unresolved(self.module, node.id, set(self.names))
        match found:
            case Known.YES:
                return
            case Known.LATER:
                self.tell(codes.NOT_SUPPORTED, not_yet(node.id), node.span)
            case str():
                self.tell(codes.UNDEFINED, f"`{node.id}` is not defined", node.span, help=found)

    def attribute(self, node: ast.Attribute, todo: list[object]) -> None:
        base = node.value
        if not isinstance(base, ast.Name) or base.id in self.names:
            todo.append(base)
            return
        other = self.module.namespaces.get(base.id)
        if other is None:
            todo.append(base)
            return
        self.used.add(base.id)
        if origin_module(other, node.name) is None and not is_lost(other, node.name):
            message = f"the file does not define `{node.name}`"
            self.tell(codes.NOT_IN_FILE, message, node.span, help=close_to(node.name, other.names))

    def comprehension(self, node: ast.Comprehension) -> None:
        self.expr(node.iterable)
        outer = dict(self.names)
        for name in names_of(node.target):
            self.names[name] = Bound("local", node.target.span)
        if node.condition is not None:
            self.expr(node.condition)
        self.expr(node.element)
        self.names = outer


def names_of(target: ast.Target) -> list[str]:
    if target.name is not None:
        return [target.name]
    return [name for item in target.items for name in names_of(item)]
