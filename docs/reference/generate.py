"""Writes the pages of the reference from the registry, the docstrings and the examples:

    python docs/reference/generate.py

Signatures are those of the built-ins, shapes those of the examples once they are checked.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from dlspec.api import load
from dlspec.diagnostics import Diagnostics
from dlspec.elaborate.callees import shown, signature
from dlspec.ir.graph import Function, LayerSlot, OpNode, WeightSlot
from dlspec.ir.inits import INIT_DOCS, INIT_KINDS
from dlspec.ops import registry
from dlspec.ops.base import Builtin
from dlspec.ops.optimizers import OPTIMIZERS, Optimizer
from dlspec.schedules import REQUIRED, SCHEDULES
from dlspec.source import Source
from dlspec.syntax import ast
from dlspec.syntax.format import format_source
from dlspec.syntax.parser import parse

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STD = ROOT / "specs" / "std"
sys.path.insert(0, str(HERE))

import examples  # noqa: E402

Pages = dict[str, str]


class Missing(Exception):
    """A name without a docstring or an example that checks."""


# --- examples ---


def spec_of(name: str, text: str, head: str = "") -> str:
    """The spec that an entry of `examples` stands for, with the result's type written in."""
    if "\n" in text:
        return checked(name, head + text)
    inputs, _, body = text.partition("|")
    expression, _, condition = body.partition(" where ")
    where = f" where {condition.strip()}" if condition else ""

    def model(result: str) -> str:
        return f"{head}model Example({inputs.strip()}){result}{where} = {expression.strip()}\n"

    plain = checked(name, model(""))
    function = load(plain).model().function
    if len(function.outputs) == 1:
        spec = load(typed := model(f" -> {function.outputs[0].type}"))
        if spec.check():
            return formatted(typed)
    return plain


def checked(name: str, text: str) -> str:
    spec = load(text)
    spec.check()
    if spec.diagnostics.found:
        raise Missing(f"{name}: {spec.diagnostics.found[0].message}\n{text}")
    return formatted(text)


def formatted(text: str) -> str:
    return format_source(text, "example").strip()


def example_of(builtin: Builtin) -> str:
    found = examples.EXAMPLES.get(builtin.name)
    if found is None:
        inputs = examples.TENSORS.get(builtin.tensors)
        if inputs is None:
            raise Missing(f"{builtin.name} needs an example in docs/reference/examples.py")
        found = f"{inputs} | {builtin.name}({', '.join(builtin.tensors)})"
    return spec_of(builtin.name, found)


def facts(text: str) -> Iterator[str]:
    """What a checked example owns and requires."""
    spec = load(text)
    model = spec.model() if spec.models else None
    if model is None or spec.trainings:
        return
    weights = list(owned(model.function))
    if weights:
        yield f"Weights: {', '.join(weights)}."
    if model.requirements:
        needs = ", ".join(f"`{r}`" for r in model.requirements)
        yield f"Requires {needs}."


def owned(function: Function) -> Iterator[str]:
    for slot in function.slots:
        if isinstance(slot, LayerSlot):
            for weight in slot.weights.values():
                yield f"`{weight.name} {weight.type}`"
        elif isinstance(slot, WeightSlot):
            yield f"`{slot.weight.name} {slot.weight.type}`"


def meaning(builtin: Builtin, text: str) -> str:
    """The docstring of the op, where the built-in is one and it says more."""
    spec = load(text)
    if spec.trainings or not spec.models:
        return ""
    body = spec.model().function.body
    ops = [node.op for node in body if isinstance(node, OpNode)]
    wanted = builtin.name.replace("_", "")
    found = next((op for op in ops if type(op).__name__.lower() == wanted), None)
    doc = "" if found is None else inspect.getdoc(type(found)) or ""
    return doc if flat(doc).rstrip(".") != flat(builtin.doc).rstrip(".") else ""


def flat(text: str) -> str:
    return " ".join(text.split())


# --- pages ---


def entry(name: str, said: str, docs: list[str], example: str) -> str:
    parts = [f"## {name}", f"`{said}`", *filter(None, docs), f"```dls\n{example}\n```"]
    return "\n\n".join([*parts, *facts(example)])


def quoted(text: str) -> str:
    """A docstring as Markdown: formulas are no emphasis, but what stands in backticks is code."""
    parts = re.split(r"(`[^`]*`)", inspect.cleandoc(text))
    return flat("".join(p if p.startswith("`") else re.sub(r"([*_])", r"\\\1", p) for p in parts))


def builtin_entry(builtin: Builtin) -> str:
    if not builtin.doc.strip():
        raise Missing(f"{builtin.name} has no doc")
    example = example_of(builtin)
    docs = [quoted(builtin.doc), quoted(meaning(builtin, example))]
    return entry(builtin.name, f"{builtin.name}({signature(builtin)})", docs, example)


def family_page(family: str, names: tuple[str, ...]) -> str:
    module = import_module(f"dlspec.ops.{family}")
    found = {builtin.name: builtin for builtin in module.BUILTINS}
    head = [f"# Family `{family}`", quoted((inspect.getdoc(module) or "").split("\n\n")[0])]
    foot = f"Source: [dlspec/ops/{family}.py](../../dlspec/ops/{family}.py)."
    return page([*head, *(builtin_entry(found[name]) for name in names), foot])


def arguments(settings: dict[str, object]) -> str:
    required = REQUIRED
    return ", ".join(k if v is required else f"{k} = {shown(v)}" for k, v in settings.items())


TRAIN = """model Net(x: [N, 4]) -> [N, 3] = x -> dense(3)

train fit {{
  data (x, label) from iris(batch = 10)
  minimize cross_entropy(Net(x), label) using {optimizer}
  epochs 1
}}
"""


def optimizers_page() -> str:
    def one(name: str, kind: type[Optimizer]) -> str:
        rate: object = REQUIRED if kind.rate is None else kind.rate
        said = f"{name}({arguments({'lr': rate, **kind().settings()})})"
        default = f"{name}(0.1)" if kind.rate is None else f"{name}({shown(kind.rate)})"
        optimizer = examples.OPTIMIZERS.get(name, default)
        text = checked(name, TRAIN.format(optimizer=optimizer))
        return entry(name, said, [quoted(documented(name, kind))], text)

    foot = "Source: [dlspec/ops/optimizers.py](../../dlspec/ops/optimizers.py)."
    intro = "What makes a step of a gradient. A rate may be a [schedule](schedules.md)."
    return page(["# Optimizers", intro, *(one(n, k) for n, k in OPTIMIZERS.items()), foot])


def documented(name: str, kind: type[object]) -> str:
    if not kind.__dict__.get("__doc__"):
        raise Missing(f"{name} has no docstring")
    return inspect.getdoc(kind) or ""


def schedules_page() -> str:
    def one(name: str) -> str:
        schedule = SCHEDULES[name]
        said = f"{name}({arguments(dict(schedule.parameters))})"
        used = examples.SCHEDULES.get(name)
        if used is None:
            raise Missing(f"the schedule {name} needs an example in docs/reference/examples.py")
        text = checked(name, TRAIN.format(optimizer=f"sgd({used})"))
        return entry(name, said, [quoted(sentence(schedule.doc))], text)

    foot = "Source: [dlspec/schedules.py](../../dlspec/schedules.py)."
    intro = "Learning rates by the step or the epoch."
    return page(["# Schedules", intro, *(one(name) for name in SCHEDULES), foot])


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def initialisers_page() -> str:
    def one(name: str) -> str:
        if not INIT_DOCS.get(name):
            raise Missing(f"the initialiser {name} has no line in INIT_DOCS")
        defaults: dict[str, object] = dict(INIT_KINDS[name])
        given = arguments(defaults)
        said = f"{name}({given})" if given else name
        text = spec_of(name, f"x: [N, 8] | x -> dense(8, init = {said})")
        return entry(name, said, [quoted(INIT_DOCS[name])], text)

    foot = "Source: [dlspec/ir/inits.py](../../dlspec/ir/inits.py)."
    intro = (
        "First values of weights. `fan_in` and `fan_out` are how many numbers go into one output "
        "and come from one input, read off the shape `[out, in, …kernel]`."
    )
    return page(["# Initialisers", intro, *(one(name) for name in INIT_KINDS), foot])


def std_page(path: Path) -> str:
    file = parse(Source(path.name, path.read_text("utf-8")), Diagnostics())
    head = [f"# std.{path.stem}", quoted(file.doc or "")]
    parts: list[str] = []
    for item in file.items:
        if not isinstance(item, ast.Definition):
            continue
        key = f"{path.stem}.{item.name}"
        if not item.doc or key not in examples.STD:
            raise Missing(f"std.{key} needs a docstring, and an example in docs/reference")
        use = f"from std.{path.stem} use {item.name}\n"
        example = spec_of(item.name, examples.STD[key], use)
        parts.append(entry(item.name, header(item), [quoted(item.doc)], example))
    foot = f"Source: [specs/std/{path.name}](../../specs/std/{path.name})."
    return page([*head, *parts, foot])


def header(item: ast.Definition) -> str:
    """`block Residual(x: [...], f)`: the definition up to its body, on one line."""
    first = item.body if isinstance(item.body, ast.Expr) else item.body[0]
    start = item.span.source.text[item.span.start : first.span.start]
    return flat(start).rstrip("={ ").replace("( ", "(").replace(", )", ")")


def page(parts: list[str]) -> str:
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def index(pages: Pages) -> str:
    command = "`python docs/reference/generate.py`"
    lines = ["# Reference", "", f"Written by {command}. Every example is run by the tests.", ""]
    for name, text in pages.items():
        title = text.split("\n", 1)[0].removeprefix("# ")
        names = re.findall(r"^## (\w+)$", text, re.M)
        linked = ", ".join(f"[{n}]({name}#{n.lower()})" for n in names)
        lines.append(f"- [{title}]({name}): {linked}")
    return "\n".join(lines) + "\n"


def pages() -> Pages:
    """All pages by file name."""
    families = registry.FAMILIES.items()
    found = {f"{family}.md": family_page(family, names) for family, names in families}
    found["optimizers.md"] = optimizers_page()
    found["schedules.md"] = schedules_page()
    found["initialisers.md"] = initialisers_page()
    found |= {f"std_{path.stem}.md": std_page(path) for path in sorted(STD.glob("*.dls"))}
    return {**found, "README.md": index(found)}


def main() -> None:
    written = pages()
    for old in HERE.glob("*.md"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (HERE / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
