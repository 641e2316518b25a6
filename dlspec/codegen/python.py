"""Python code as `ast` nodes, printed the way `ruff format` prints it.

Expressions are built by substitution into parsed templates, so brackets follow from precedence
and never from text. Layout rules: the Black style guide, line width 100.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache
from operator import is_not
from typing import Any, cast

WIDTH = 100
INDENT = "    "

_BINARY: dict[type[ast.operator], tuple[str, int]] = {
    ast.BitOr: ("|", 6),
    ast.BitXor: ("^", 7),
    ast.BitAnd: ("&", 8),
    ast.LShift: ("<<", 9),
    ast.RShift: (">>", 9),
    ast.Add: ("+", 10),
    ast.Sub: ("-", 10),
    ast.Mult: ("*", 11),
    ast.Div: ("/", 11),
    ast.FloorDiv: ("//", 11),
    ast.Mod: ("%", 11),
    ast.MatMult: ("@", 11),
    ast.Pow: ("**", 13),
}
_UNARY: dict[type[ast.unaryop], tuple[str, int]] = {
    ast.Not: ("not ", 4),
    ast.USub: ("-", 12),
    ast.UAdd: ("+", 12),
    ast.Invert: ("~", 12),
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_LAMBDA, _TERNARY, _OR, _AND, _COMPARISON, _ATOM = 0, 1, 2, 3, 5, 15


@lru_cache(maxsize=4096)
def expr(text: str) -> ast.expr:
    """The expression a text means. Shared: never mutate it."""
    return ast.parse(text, mode="eval").body


def name(text: str) -> ast.Name:
    return ast.Name(text, ast.Load())


def constant(value: Any) -> ast.expr:
    """A literal; lists, tuples and dicts of literals too. Infinities become `float("inf")`."""
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return expr(f'float("{value}")')
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return ast.UnaryOp(ast.USub(), constant(-value))
    if isinstance(value, list):
        return list_of(*map(constant, cast("list[Any]", value)))
    if isinstance(value, tuple):
        return tuple_of(*map(constant, cast("tuple[Any, ...]", value)))
    if isinstance(value, dict):
        entries = cast("dict[Any, Any]", value)
        return ast.Dict([constant(k) for k in entries], [constant(v) for v in entries.values()])
    return ast.Constant(value)


def call(function: ast.expr | str, *args: ast.expr, **keywords: ast.expr) -> ast.Call:
    """function(args, keywords)."""
    target = expr(function) if isinstance(function, str) else function
    return ast.Call(target, list(args), [ast.keyword(k, v) for k, v in keywords.items()])


def tuple_of(*items: ast.expr) -> ast.Tuple:
    return ast.Tuple(list(items), ast.Load())


def list_of(*items: ast.expr) -> ast.List:
    return ast.List(list(items), ast.Load())


def substitute(node: ast.expr, mapping: Mapping[str, ast.expr]) -> ast.expr:
    """node with names replaced. A tuple put for a starred name is spliced in."""
    return _Substitution(mapping).visit(node)


class _Substitution(ast.NodeTransformer):
    """Copies only what changes, so that shared templates stay as they are."""

    def __init__(self, mapping: Mapping[str, ast.expr]) -> None:
        self.mapping = mapping

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.mapping.get(node.id, node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        changed: dict[str, object] = {}
        for key, old in ast.iter_fields(node):
            if isinstance(old, list):
                items = cast("list[object]", old)
                new = list(self._items(items))
                if len(new) != len(items) or any(map(is_not, new, items)):
                    changed[key] = new
            elif isinstance(old, ast.AST):
                new_node = self.visit(old)
                if new_node is not old:
                    changed[key] = new_node
        if not changed:
            return node
        return type(node)(**{**dict(ast.iter_fields(node)), **changed})

    def _items(self, items: list[object]) -> Iterator[object]:
        for item in items:
            if isinstance(item, ast.Starred):
                value = self.visit(item.value)
                if isinstance(value, ast.Tuple):
                    yield from value.elts
                    continue
            yield self.visit(item) if isinstance(item, ast.AST) else item


def names_in(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


# --- flat ---------------------------------------------------------------------------------------


def precedence(node: ast.expr) -> int:
    match node:
        case ast.Lambda():
            return _LAMBDA
        case ast.IfExp():
            return _TERNARY
        case ast.BoolOp(op=ast.Or()):
            return _OR
        case ast.BoolOp():
            return _AND
        case ast.UnaryOp():
            return _UNARY[type(node.op)][1]
        case ast.Compare():
            return _COMPARISON
        case ast.BinOp():
            return _BINARY[type(node.op)][1]
        case ast.Tuple():
            return -1
        case _:
            return _ATOM


def flat(node: ast.expr, level: int = -1) -> str:
    """On one line; in brackets where it binds less than `level`."""
    text = _flat(node)
    return f"({text})" if precedence(node) < level else text


def _flat(node: ast.expr) -> str:
    match node:
        case ast.Name(id=text):
            return text
        case ast.Constant(value=value):
            return _literal(value)
        case ast.Attribute(value=value, attr=attr):
            base = flat(value, _ATOM)
            is_int = isinstance(value, ast.Constant) and isinstance(value.value, int)
            return f"({base}).{attr}" if is_int else f"{base}.{attr}"
        case ast.Call(func=func):
            return f"{flat(func, _ATOM)}({', '.join(_arguments(node))})"
        case ast.Subscript(value=value, slice=index):
            return f"{flat(value, _ATOM)}[{_index(index)}]"
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            tight = _simple(left) and _simple(right)
            gap = "" if tight else " "
            return f"{flat(left, 14)}{gap}**{gap}{flat(right, 12)}"
        case ast.BinOp(left=left, op=op, right=right):
            sign, level = _BINARY[type(op)]
            return f"{flat(left, level)} {sign} {flat(right, level + 1)}"
        case ast.UnaryOp(op=op, operand=operand):
            sign, level = _UNARY[type(op)]
            return sign + flat(operand, level)
        case ast.BoolOp(op=op, values=values):
            word, level = (" or ", _OR) if isinstance(op, ast.Or) else (" and ", _AND)
            return word.join(flat(v, level + 1) for v in values)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            parts = [flat(left, _COMPARISON + 1)]
            for op, right in zip(ops, rights, strict=True):
                parts += [_COMPARE[type(op)], flat(right, _COMPARISON + 1)]
            return " ".join(parts)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return f"{flat(body, _OR)} if {flat(test, _OR)} else {flat(orelse, _TERNARY)}"
        case ast.Tuple(elts=elts):
            items = [flat(e, 0) for e in elts]
            if not items:
                return "()"
            return ", ".join(items) if len(items) > 1 else f"{items[0]},"
        case ast.List(elts=elts):
            return f"[{', '.join(flat(e, 0) for e in elts)}]"
        case ast.Set(elts=elts):
            return f"{{{', '.join(flat(e, 0) for e in elts)}}}"
        case ast.Dict():
            return f"{{{', '.join(k + flat(v, 0) for k, v in _entries(node))}}}"
        case ast.Starred(value=value):
            return f"*{flat(value, 6)}"
        case ast.GeneratorExp(elt=elt, generators=generators):
            return f"({flat(elt, 0)}{''.join(_clauses(generators))})"
        case ast.ListComp(elt=elt, generators=generators):
            return f"[{flat(elt, 0)}{''.join(_clauses(generators))}]"
        case ast.SetComp(elt=elt, generators=generators):
            return f"{{{flat(elt, 0)}{''.join(_clauses(generators))}}}"
        case ast.DictComp(key=key, value=value, generators=generators):
            return f"{{{flat(key, 0)}: {flat(value, 0)}{''.join(_clauses(generators))}}}"
        case ast.Lambda(args=args, body=body):
            parameters = ", ".join(_parameters(args))
            return f"lambda{' ' if parameters else ''}{parameters}: {flat(body, _TERNARY)}"
        case ast.JoinedStr():
            return ast.unparse(node) if '"' in ast.unparse(node)[2:-1] else _double(node)
        case _:
            raise TypeError(f"cannot print {type(node).__name__}")


def _double(node: ast.JoinedStr) -> str:
    text = ast.unparse(node)
    return f'f"{text[2:-1]}"' if text.startswith("f'") else text


def _literal(value: object) -> str:
    text = repr(value)
    if isinstance(value, str) and text[0] == "'" and '"' not in text:
        return f'"{text[1:-1]}"'
    return "..." if value is Ellipsis else text


def _simple(node: ast.expr) -> bool:
    """What Black calls a simple operand of `**`: a name, number or attribute."""
    match node:
        case ast.Name() | ast.Constant():
            return True
        case ast.Attribute(value=value):
            return _simple(value) and not isinstance(value, ast.Constant)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _simple(operand)
        case _:
            return False


def _dotted(node: ast.expr) -> bool:
    return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Attribute)


def _index(node: ast.expr) -> str:
    match node:
        case ast.Tuple(elts=elts) if elts:
            items = [_index(e) if isinstance(e, ast.Slice) else flat(e, 0) for e in elts]
            return ", ".join(items) + ("," if len(items) == 1 else "")
        case ast.Slice(lower=lower, upper=upper, step=step):
            parts = [lower, upper] if step is None else [lower, upper, step]
            # an attribute is simple to `**` alone
            tight = all(p is None or (_simple(p) and not _dotted(p)) for p in parts)
            texts = ["" if p is None else flat(p, 0) for p in parts]
            if tight:
                return ":".join(texts)
            text = texts[0]
            for part in texts[1:]:
                text += f"{' ' if text and text[-1] != ':' else ''}:{' ' if part else ''}{part}"
            return text
        case _:
            return flat(node)


def _arguments(node: ast.Call) -> list[str]:
    if len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp) and not node.keywords:
        return [_flat(node.args[0])[1:-1]]
    positional = [flat(a, 0) for a in node.args]
    return positional + [_key(k) + flat(k.value, 0) for k in node.keywords]


def _key(keyword: ast.keyword) -> str:
    return "**" if keyword.arg is None else f"{keyword.arg}="


def _entries(node: ast.Dict) -> list[tuple[str, ast.expr]]:
    keys = ["**" if k is None else f"{flat(k, 0)}: " for k in node.keys]
    return list(zip(keys, node.values, strict=True))


def _clauses(generators: list[ast.comprehension]) -> list[str]:
    texts: list[str] = []
    for g in generators:
        texts.append(f" for {flat(g.target)} in {flat(g.iter, _OR)}")
        texts += [f" if {flat(i, _OR)}" for i in g.ifs]
    return texts


def _parameters(args: ast.arguments) -> list[str]:
    def one(arg: ast.arg, default: ast.expr | None) -> str:
        note = f": {flat(arg.annotation)}" if arg.annotation else ""
        if default is None:
            return arg.arg + note
        return f"{arg.arg}{note}{' = ' if note else '='}{flat(default, 0)}"

    plain = args.posonlyargs + args.args
    missing: list[ast.expr | None] = [None] * (len(plain) - len(args.defaults))
    texts = [one(a, d) for a, d in zip(plain, missing + list(args.defaults), strict=True)]
    if args.posonlyargs:
        texts.insert(len(args.posonlyargs), "/")
    if args.vararg:
        texts.append("*" + one(args.vararg, None))
    elif args.kwonlyargs:
        texts.append("*")
    texts += [one(a, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        texts.append("**" + one(args.kwarg, None))
    return texts


# --- over lines -----------------------------------------------------------------------------------


def layout(
    node: ast.expr, indent: int, prefix: str = "", suffix: str = "", *, bracketed: bool = False
) -> list[str]:
    """prefix, node, suffix as lines. bracketed: inside brackets, where a line may break freely."""
    pad = " " * indent
    level = 0 if bracketed else -1
    line = pad + prefix + flat(node, level) + suffix
    if len(line) <= WIDTH:
        return [line]
    match node:
        case ast.Call() if (
            not bracketed and _links(node) > 1 and len(pad + flat(node)) <= WIDTH - 4
        ):
            return [f"{pad}{prefix}(", f"{pad}    {flat(node)}", f"{pad}){suffix}"]
        case ast.Call() if (
            not bracketed
            and _links(node) > 1
            and all(len(pad + part) <= WIDTH - 4 for part in _chain(node))
        ):
            return [
                f"{pad}{prefix}(",
                *(f"{pad}    {part}" for part in _chain(node)),
                f"{pad}){suffix}",
            ]
        case ast.Call() if node.args or node.keywords:
            return _layout_call(node, indent, prefix, suffix)
        case ast.List(elts=elts) | ast.Set(elts=elts) if elts:
            opening, closing = ("[", "]") if isinstance(node, ast.List) else ("{", "}")
            body = [x for e in elts for x in layout(e, indent + 4, "", ",", bracketed=True)]
            return [pad + prefix + opening, *body, pad + closing + suffix]
        case ast.Tuple(elts=elts) if elts:
            body = [x for e in elts for x in layout(e, indent + 4, "", ",", bracketed=True)]
            return [f"{pad}{prefix}(", *body, f"{pad}){suffix}"]
        case ast.Dict() if node.keys:
            body = [
                x for k, v in _entries(node) for x in layout(v, indent + 4, k, ",", bracketed=True)
            ]
            return [f"{pad}{prefix}{{", *body, f"{pad}}}{suffix}"]
        case ast.ListComp(elt=elt, generators=g) | ast.GeneratorExp(elt=elt, generators=g):
            opening, closing = ("[", "]") if isinstance(node, ast.ListComp) else ("(", ")")
            body = _comprehension(node, layout(elt, indent + 4, bracketed=True), g, indent)
            return [pad + prefix + opening, *body, pad + closing + suffix]
        case ast.DictComp(key=key, value=value, generators=g):
            head = layout(value, indent + 4, f"{flat(key, 0)}: ", bracketed=True)
            body = _comprehension(node, head, g, indent)
            return [f"{pad}{prefix}{{", *body, f"{pad}}}{suffix}"]
        case ast.Starred(value=value):
            return layout(value, indent, prefix + "*", suffix, bracketed=bracketed)
        case ast.BinOp() | ast.BoolOp() | ast.Compare() | ast.IfExp():
            return _layout_operators(node, indent, prefix, suffix, bracketed)
        case _:
            return [line]


def _comprehension(
    node: ast.expr, head: list[str], generators: list[ast.comprehension], indent: int
) -> list[str]:
    """What stands in the brackets: on one line where it fits."""
    inner = " " * (indent + 4)
    joined = inner + flat(node)[1:-1]
    if len(joined) <= WIDTH:
        return [joined]
    return [*head, *(inner + clause.strip() for clause in _clauses(generators))]


def _links(node: ast.expr) -> int:
    """How many methods a chain calls on what a call or an index gave: two make it a whole, which
    the formatter rather puts in brackets than breaks in the last call."""
    count = 0
    while isinstance(node, ast.Call | ast.Subscript | ast.Attribute):
        inner = node.func if isinstance(node, ast.Call) else node.value
        count += isinstance(node, ast.Attribute) and isinstance(inner, ast.Call | ast.Subscript)
        node = inner
    return count


def _chain(node: ast.expr) -> list[str]:
    """`f(x)`, `.g(y)`, `.h(z)`: each method that is called on what a call or an index gave."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        inner = node.func.value
        if isinstance(inner, ast.Call | ast.Subscript):
            return [*_chain(inner), f".{node.func.attr}({', '.join(_arguments(node))})"]
    return [flat(node, _ATOM)]


def _layout_call(node: ast.Call, indent: int, prefix: str, suffix: str) -> list[str]:
    pad, inner = " " * indent, " " * (indent + 4)
    head = f"{pad}{prefix}{flat(node.func, _ATOM)}("
    joined = inner + ", ".join(_arguments(node))
    if len(joined) <= WIDTH:
        return [head, joined, f"{pad}){suffix}"]
    if len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp) and not node.keywords:
        generator = node.args[0]
        lines = layout(generator.elt, indent + 4, bracketed=True)
        body = _comprehension(generator, lines, generator.generators, indent)
    else:
        items = [("", a) for a in node.args] + [(_key(k), k.value) for k in node.keywords]
        comma = "," if len(items) > 1 else ""  # a sole argument takes none
        body = [x for key, a in items for x in layout(a, indent + 4, key, comma, bracketed=True)]
    return [head, *body, f"{pad}){suffix}"]


def _operands(node: ast.expr) -> list[tuple[str, ast.expr, int]]:
    """(operator before it, operand, level): the chain at the weakest precedence of node."""
    match node:
        case ast.BinOp(op=op):
            _, level = _BINARY[type(op)]
            chain: list[tuple[str, ast.expr, int]] = []
            left: ast.expr = node
            while isinstance(left, ast.BinOp) and _BINARY[type(left.op)][1] == level:
                chain.append((_BINARY[type(left.op)][0] + " ", left.right, level + 1))
                left = left.left
            return [("", left, level), *reversed(chain)]
        case ast.BoolOp(op=op, values=values):
            word, level = ("or ", _OR) if isinstance(op, ast.Or) else ("and ", _AND)
            return [("" if not i else word, v, level + 1) for i, v in enumerate(values)]
        case ast.Compare(left=left, ops=ops, comparators=rights):
            rest = [(_COMPARE[type(o)] + " ", r, 6) for o, r in zip(ops, rights, strict=True)]
            return [("", left, 6), *rest]
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return [("", body, _OR), ("if ", test, _OR), ("else ", orelse, _TERNARY)]
        case _:
            return [("", node, 0)]


def _layout_operators(
    node: ast.expr, indent: int, prefix: str, suffix: str, bracketed: bool
) -> list[str]:
    pad = " " * indent
    if not bracketed:
        last = node.right if isinstance(node, ast.BinOp) else None
        operators = sum(isinstance(n, ast.BinOp) for n in _outside_brackets(node))
        if isinstance(last, ast.Call) and operators == 1 and (last.args or last.keywords):
            head = flat(node)[: -len(flat(last))]
            lines = _layout_call(last, indent, prefix + head, suffix)
            if max(map(len, lines)) <= WIDTH:
                return lines
        body = layout(node, indent + 4, bracketed=True)
        return [f"{pad}{prefix}(", *body, f"{pad}){suffix}"]
    lines: list[str] = []
    operands = _operands(node)
    for position, (sign, operand, level) in enumerate(operands):
        lead = (prefix if not position else "") + sign
        tail = suffix if position == len(operands) - 1 else ""
        text = pad + lead + flat(operand, level) + tail
        if len(text) <= WIDTH:
            lines.append(text)
        elif precedence(operand) < level:
            body = layout(operand, indent + 4, bracketed=True)
            lines += [f"{pad}{lead}(", *body, f"{pad}){tail}"]
        else:
            lines += layout(operand, indent, lead, tail, bracketed=True)
    return lines


def _outside_brackets(node: ast.expr) -> Iterator[ast.expr]:
    yield node
    if isinstance(node, ast.BinOp):
        yield from _outside_brackets(node.left)
        yield from _outside_brackets(node.right)


def statement(text: str, indent: int = 0) -> list[str]:
    """A simple statement or the header of a compound one (`def f(x):`), formatted."""
    header = text.endswith(":")
    tree = ast.parse(f"{text} pass" if header else text).body[0]
    return layout_statement(tree, indent)


def layout_statement(tree: ast.stmt, indent: int = 0) -> list[str]:
    pad = " " * indent
    match tree:
        case ast.Assign(targets=targets, value=value):
            prefix = "".join(f"{flat(t)} = " for t in targets)
            lines = layout(value, indent, prefix)
            if len(lines[0]) > WIDTH:  # not even its head fits behind the targets
                body = layout(value, indent + 4, bracketed=True)
                return [f"{pad}{prefix}(", *body, f"{pad})"]
            return lines
        case ast.AnnAssign(target=target, annotation=note, value=value):
            head = f"{flat(target)}: {flat(note)}"
            return [pad + head] if value is None else layout(value, indent, f"{head} = ")
        case ast.AugAssign(target=target, op=op, value=value):
            return layout(value, indent, f"{flat(target)} {_BINARY[type(op)][0]}= ")
        case ast.Return(value=None):
            return [f"{pad}return"]
        case ast.Return(value=value) if value is not None:
            return layout(value, indent, "return ")
        case ast.Expr(value=value):
            return layout(value, indent)
        case ast.Assert(test=test, msg=msg):
            return [pad + ast.unparse(tree)] if msg else layout(test, indent, "assert ")
        case ast.Raise(exc=ast.expr() as error):
            return layout(error, indent, "raise ")
        case ast.If(test=test):
            return layout(test, indent, "if ", ":")
        case ast.While(test=test):
            return layout(test, indent, "while ", ":")
        case ast.For(target=target, iter=items):
            return layout(items, indent, f"for {flat(target)} in ", ":")
        case ast.With(items=[item]):
            bound = f" as {flat(item.optional_vars)}" if item.optional_vars else ""
            return layout(item.context_expr, indent, "with ", f"{bound}:")
        case ast.ClassDef(name=title, bases=bases):
            inherited = f"({', '.join(flat(b) for b in bases)})" if bases else ""
            return [f"{pad}class {title}{inherited}:"]
        case ast.FunctionDef(name=title, args=args, returns=returns):
            return _layout_def(title, _parameters(args), returns, indent)
        case _:
            return [pad + ast.unparse(tree)]


def _layout_def(
    title: str, parameters: list[str], returns: ast.expr | None, indent: int
) -> list[str]:
    pad, inner = " " * indent, " " * (indent + 4)
    tail = f") -> {flat(returns)}:" if returns is not None else "):"
    joined = ", ".join(parameters)
    if len(f"{pad}def {title}({joined}{tail}") <= WIDTH:
        return [f"{pad}def {title}({joined}{tail}"]
    if len(inner + joined) <= WIDTH:
        return [f"{pad}def {title}(", inner + joined, pad + tail]
    # no comma after `*args` alone is needed: the last one may always take it
    return [f"{pad}def {title}(", *(f"{inner}{p}," for p in parameters), pad + tail]
