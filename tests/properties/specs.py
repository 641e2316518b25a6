"""Random valid specs. `generate(seed, budget)` is a text; a smaller budget gives a smaller spec.

A tensor is its name with its sizes behind the batch axis, each an expression in the names that a
definition knows. The same expressions are Python: `fit` works them out where they are numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

Shape: TypeAlias = tuple[str, ...]

AXES = {1: ("D",), 2: ("T", "D"), 3: ("C", "H", "W")}
ACTS = (
    "relu", "tanh", "sigmoid", "gelu", "silu", "softplus", "elu", "softsign", "selu", "mish",
    "hard_tanh", "hard_sigmoid", "hard_swish", "relu6", "log_sigmoid", "identity",
    "leaky_relu(0.1)", "elu(0.7)", 'gelu(approximate = "tanh")',
)  # fmt: skip
INITS = ("zeros", "ones", "constant(0.3)", "normal(0, 0.2)", "uniform(-0.5, 0.5)")
MAKERS = ("glorot_uniform", "glorot_normal", "he_normal", "he_uniform", "lecun_normal")
TOO_LARGE = 600  # elements of one example


@dataclass(frozen=True)
class Param:
    """kind: int, bool, list, act, layer (keeps shapes), depth."""

    name: str
    kind: str


@dataclass(frozen=True)
class Block:
    """out: the shape of its first output over its dims and parameters; needs: conditions."""

    name: str
    rank: int
    params: tuple[Param, ...]
    out: Shape
    needs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()  # names, when several, all of one shape
    held: bool = False  # takes a second input of the same shape, by name


@dataclass
class Scope:
    """A body being written. layers: names of layers that keep the shape they are keyed by."""

    symbols: tuple[str, ...] = ()
    lines: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    depth: int = 0
    names: int = 0

    def new(self, stem: str) -> str:
        self.names += 1
        return f"{stem}{self.names}"

    def say(self, text: str) -> None:
        self.lines.append("  " * (self.depth + 1) + text)


def fit(text: str) -> str:
    """The number that an expression is; itself where it has names."""
    if re.search(r"[A-Za-z_]", re.sub(r"\bmax\b", "", text)):
        return text
    return str(eval(text, {"max": max}))


def bind(text: str, values: dict[str, str]) -> str:
    """An expression with names replaced, all at once."""
    found = re.sub(r"[A-Za-z_]\w*", lambda m: values[m[0]] if m[0] in values else m[0], text)
    return fit(found)


def wrap(text: str) -> str:
    return text if re.fullmatch(r"\w+|\[.*\]", text) else f"({text})"


def generate(seed: int, budget: int = 10) -> str:
    return Generator(Random(seed), budget).file()


Step: TypeAlias = "tuple[str, Shape]"


class Generator:
    def __init__(self, rng: Random, budget: int) -> None:
        self.rng = rng
        self.budget = budget
        self.items: list[str] = []
        self.blocks: list[Block] = []
        self.open_time = False

    # --- choices ---

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def size(self) -> str:
        return str(self.rng.randint(2, 6))

    def act(self) -> str:
        return self.rng.choice(ACTS)

    def small(self, shape: Shape) -> bool:
        if not all(s.isdigit() for s in shape):
            return True
        total = 1
        for extent in shape:
            total *= int(extent)
        return total <= TOO_LARGE

    # --- layers: (text, shape), what can stand behind `->` ---

    def layer(self, scope: Scope, shape: Shape, keep: bool) -> Step:
        """One layer that takes `shape`; keep: and gives it back."""
        makers: list[Callable[[Scope, Shape, bool], Step | None]] = [
            self.activation,
            self.weights,
            self.weights,
            self.norm,
            self.block_call,
            self.block_call,
            self.rare,
        ]
        if len(shape) > 1:
            makers += [self.pool, self.weights]
        for _ in range(12):
            found = self.rng.choice(makers)(scope, shape, keep)
            if found is not None and (not keep or found[1] == shape) and self.small(found[1]):
                return found
        return self.act(), shape

    def chain(self, scope: Scope, shape: Shape, keep: bool = False, most: int = 3) -> Step:
        parts: list[str] = []
        for _ in range(self.rng.randint(1, most)):
            text, shape = self.layer(scope, shape, keep)
            parts.append(text)
        return " -> ".join(parts), shape

    def activation(self, scope: Scope, shape: Shape, keep: bool) -> Step:
        return self.act(), shape

    def norm(self, scope: Scope, shape: Shape, keep: bool) -> Step | None:
        if self.open_time and len(shape) == 2:
            return None
        return self.rng.choice(
            ("batch_norm", "batch_norm", "batch_norm(eps = 1e-3, momentum = 0.2)",
             "batch_norm(scale = false, shift = false)")
        ), shape  # fmt: skip

    def rare(self, scope: Scope, shape: Shape, keep: bool) -> Step | None:
        if not self.chance(0.4):
            return None
        if self.chance(0.4):
            return f"dropout({self.rng.choice(['0.1', '0.5'])})", shape
        if self.chance(0.5):
            axis = self.rng.choice(["", "axis = 1"]) if len(shape) == 2 else ""
            return f"{self.rng.choice(['softmax', 'log_softmax'])}({axis})", shape
        if keep:
            return "flip", shape
        if len(shape) == 3:
            return "flatten(2) -> transpose", (self.product(shape[1:]), shape[0])
        if len(shape) == 2 and not self.open_time:
            return "transpose", (shape[1], shape[0])
        return "flip(axis = -1)", shape

    def product(self, sizes: Shape) -> str:
        return fit(" * ".join(map(wrap, sizes)))

    def weights(self, scope: Scope, shape: Shape, keep: bool) -> Step | None:
        time = len(shape) == 2 and self.open_time
        if len(shape) == 3 or (len(shape) == 2 and not time and self.chance(0.35)):
            return self.conv(scope, shape, keep)
        units = shape[-1] if keep else self.units(scope, shape[-1])
        options = self.rng.choice(("", "", ", bias = false", f", init = {self.rng.choice(MAKERS)}"))
        return f"dense({units}{options})", (*shape[:-1], fit(units))

    def units(self, scope: Scope, extent: str) -> str:
        if scope.symbols and self.chance(0.5):
            return self.rng.choice((extent, f"2 * {wrap(extent)}", f"max(1, {extent} // 2)"))
        return self.size()

    def conv(self, scope: Scope, shape: Shape, keep: bool) -> Step | None:
        c, *space = shape
        kernel, channels = self.rng.choice((1, 2, 3, 3)), c if keep else self.units(scope, c)
        if not keep and self.chance(0.2):
            if self.chance(0.5) and all(s.isdigit() for s in space):
                # valid, or with a stride: the image shrinks
                if any(int(s) < kernel for s in space):
                    return None
                sizes = [str(int(s) - kernel + 1) for s in space]
                return f"conv({channels}, {kernel})", (fit(channels), *sizes)
            if any(s.isdigit() and int(s) < 2 for s in space):
                return None
            sizes = [fit(f"({s} - 1) // 2 + 1") for s in space]
            return f"conv({channels}, 3, stride = 2, padding = 1)", (fit(channels), *sizes)
        if kernel == 2:
            pad = '"same"' if self.chance(0.5) else f"[{', '.join(['(0, 1)'] * len(space))}]"
        else:
            pad = str(kernel // 2)
        options = [f"padding = {pad}"] if kernel > 1 else []
        if kernel == 3 and self.chance(0.2):
            options = ["padding = 2", "dilation = 2"]
        if self.chance(0.3):
            options.append("bias = false")
        if channels == c and self.chance(0.4):
            options.append(f"groups = {c}")
        elif channels.isdigit() and c.isdigit() and int(c) % 2 == int(channels) % 2 == 0:
            options.append("groups = 2")
        return f"conv({', '.join([channels, str(kernel), *options])})", (fit(channels), *space)

    def pool(self, scope: Scope, shape: Shape, keep: bool) -> Step | None:
        if len(shape) == 2 and self.open_time:
            return None
        kind = self.rng.choice(("max_pool", "avg_pool"))
        if keep or self.chance(0.4):
            counted = ", count_padding = false" if kind == "avg_pool" and self.chance(0.4) else ""
            return f"{kind}(3, stride = 1, padding = 1{counted})", shape
        if len(shape) == 3 and self.chance(0.2):
            return f"global_{kind}", shape[:1]
        c, *space = shape
        if any(not s.isdigit() or int(s) < 4 for s in space):
            return None
        form = self.rng.randrange(4)
        if form == 0:
            return f"{kind}(2)", (c, *(str(int(s) // 2) for s in space))
        if form == 1:
            found = (c, *(str((int(s) - 1) // 2 + 1) for s in space))
            return f"{kind}(3, stride = 2, padding = 1)", found
        if form == 2:
            return f"{kind}(2, stride = 1)", (c, *(str(int(s) - 1) for s in space))
        return f"{kind}(3, ceil = true)", (c, *(str(-(-(int(s) - 3) // 3) + 1) for s in space))

    def block_call(self, scope: Scope, shape: Shape, keep: bool) -> Step | None:
        fitting = [
            b for b in self.blocks if b.rank in (0, len(shape)) and not b.outputs and not b.held
        ]
        if not fitting:
            return None
        return self.call(scope, self.rng.choice(fitting), shape, keep)

    def call(
        self, scope: Scope, block: Block, shape: Shape, keep: bool = False, held: str = ""
    ) -> Step | None:
        """`Name(arguments)` and what it gives, or None where the block does not fit."""
        values = dict(zip(AXES.get(block.rank, ()), map(wrap, shape), strict=False))
        given: list[str] = []
        for param in block.params:
            text = self.argument(scope, param, shape, keep)
            given.append(text if self.chance(0.5) and len(given) == len(block.params) else
                         f"{param.name} = {text}")  # fmt: skip
            values[param.name] = wrap(text)
        needs = [bind(need, values) for need in block.needs]
        if any(need == "False" for need in needs):
            return None
        scope.needs += [need for need in needs if need != "True"]
        out = shape if block.rank == 0 else tuple(bind(s, values) for s in block.out)
        if held:
            given.append(f"{held}")
        return f"{block.name}({', '.join(given)})" if given else block.name, out

    def argument(self, scope: Scope, param: Param, shape: Shape, keep: bool) -> str:
        match param.kind:
            case "int":
                extent = shape[0] if len(shape) == 3 else shape[-1]
                return extent if keep or self.chance(0.4) else self.size()
            case "depth":
                return str(self.rng.randint(1, 3))
            case "bool":
                return self.rng.choice(("true", "false"))
            case "list":
                items = [self.size() for _ in range(self.rng.randint(1, 3))]
                if keep:
                    items[-1] = shape[0] if len(shape) == 3 else shape[-1]
                return f"[{', '.join(items)}]"
            case "act":
                return self.act()
            case _:
                return self.kept(scope, shape)

    def kept(self, scope: Scope, shape: Shape) -> str:
        """A layer that keeps the shape, without blocks that take layers themselves."""
        blocks, self.blocks = self.blocks, [
            b for b in self.blocks if all(p.kind not in ("layer", "list") for p in b.params)
        ]  # fmt: skip
        text, _ = self.chain(scope, shape, keep=True, most=2)
        self.blocks = blocks
        return text

    # --- statements: from a tensor to the next ---

    def statement(self, scope: Scope, x: str, shape: Shape) -> Step:
        for _ in range(20):
            lines, needs = len(scope.lines), len(scope.needs)
            found = self.rng.choice(STATEMENTS)(self, scope, x, shape)
            if found is not None and self.small(found[1]):
                return found
            del scope.lines[lines:], scope.needs[needs:]
        text, shape = self.chain(scope, shape)
        return self.let(scope, f"{x} -> {text}", shape)

    def let(self, scope: Scope, text: str, shape: Shape, stem: str = "h") -> Step:
        name = scope.new(stem)
        scope.say(f"{name} = {text}")
        return name, shape

    def pipe(self, scope: Scope, x: str, shape: Shape) -> Step:
        text, shape = self.chain(scope, shape, most=4)
        return self.let(scope, f"{x} -> {text}", shape)

    def skip(self, scope: Scope, x: str, shape: Shape) -> Step:
        first, _ = self.chain(scope, shape, keep=True)
        if self.chance(0.5):
            return self.let(scope, f"{x} + ({x} -> {first})", shape)
        second, _ = self.chain(scope, shape, keep=True)
        sign = self.rng.choice(("+", "-", "*"))
        left = self.act_call(f"{x} -> {first}")
        return self.let(scope, f"{left} {sign} ({x} -> {second})", shape)

    def act_call(self, text: str) -> str:
        act = self.rng.choice(("relu", "tanh", "sigmoid", "gelu"))
        return f"{act}({text})"

    def projected(self, scope: Scope, x: str, shape: Shape) -> Step | None:
        text, out = self.chain(scope, shape)
        if len(out) != len(shape):
            return None
        if out[1:] == shape[1:] and len(shape) == 3:
            back = f"conv({out[0]}, 1)"
        elif out[:-1] == shape[:-1] and len(shape) < 3:
            back = f"dense({out[-1]})"
        else:
            return None
        name, _ = self.let(scope, f"{x} -> {text}", out)
        return self.let(scope, f"{name} + ({x} -> {back} as {scope.new('skip')})", out)

    def shared(self, scope: Scope, x: str, shape: Shape) -> Step:
        """A layer that several uses share: in a row, in a repeat, inside a block."""
        name = scope.new("tied")
        text, _ = self.weights_kept(scope, shape)
        scope.say(f"share {name} = {text}")
        uses = [name, f"repeat({self.rng.randint(1, 3)}, {name} -> {self.act()})"]
        takers = [
            b for b in self.blocks
            if b.rank in (0, len(shape)) and [p.kind for p in b.params] == ["layer"]
            and not b.outputs and not b.held
        ]  # fmt: skip
        if takers:
            block = self.rng.choice(takers)
            uses.append(f"{block.name}({block.params[0].name} = {name})")
            if self.chance(0.5):
                uses.append(f"repeat(2, {uses[-1]})")
        self.rng.shuffle(uses)
        chosen = uses[: self.rng.randint(2, len(uses))]
        if takers and block.out != AXES.get(block.rank, ()) and block.rank:
            chosen = [name, name]
        return self.let(scope, f"{x} -> {f' -> {self.act()} -> '.join(chosen)}", shape)

    def weights_kept(self, scope: Scope, shape: Shape) -> Step:
        for _ in range(8):
            found = self.weights(scope, shape, True)
            if found is not None and found[1] == shape:
                return found
        return f"dense({shape[-1]})", shape

    def repeat(self, scope: Scope, x: str, shape: Shape) -> Step:
        text, _ = self.chain(scope, shape, keep=True)
        count = self.rng.choice(("0", "1", "2", "3"))
        name = f" as {scope.new('stage')}" if self.chance(0.3) else ""
        if self.chance(0.5):
            first, shape2 = self.chain(scope, shape)
            text, _ = self.chain(scope, shape2, keep=True)
            return self.let(scope, f"{x} -> {first} -> repeat({count}, {text}){name}", shape2)
        return self.let(scope, f"{x} -> repeat({count}, {text}){name}", shape)

    def for_loop(self, scope: Scope, x: str, shape: Shape) -> Step:
        widths = [self.size() for _ in range(self.rng.randint(1, 3))]
        h, w = scope.new("h"), scope.new("w")
        scope.say(f"{h} = {x}")
        scope.say(f"for {w} in [{', '.join(widths)}] {{")
        scope.depth += 1
        if len(shape) == 3:
            layer, out = f"conv({w}, 3, padding = 1)", (widths[-1], *shape[1:])
        else:
            layer, out = f"dense({w})", (*shape[:-1], widths[-1])
        scope.say(f"{h} = {h} -> {layer} -> {self.act()}")
        scope.depth -= 1
        scope.say("}")
        return h, out

    def comprehension(self, scope: Scope, x: str, shape: Shape) -> Step:
        widths = [self.size() for _ in range(self.rng.randint(1, 3))]
        total = str(sum(map(int, widths)))
        layer = "conv(w, 1)" if len(shape) == 3 else "dense(w)"
        axis = 1 if len(shape) == 3 else -1
        parts = scope.new("parts")
        if self.chance(0.5):
            scope.say(f"{parts} = [{x} -> {layer} -> {self.act()} for w in [{', '.join(widths)}]]")
        else:
            scope.say(f"{parts} = []")
            scope.say(f"for i, w in enumerate([{', '.join(widths)}]) {{")
            scope.say(f"  part = {x} -> {layer}")
            scope.say(f"  {parts} = {parts} + [part if i == 0 else part -> {self.act()}]")
            scope.say("}")
        out = (total, *shape[1:]) if len(shape) == 3 else (*shape[:-1], total)
        return self.let(scope, f"concat({parts}, axis = {axis})", out)

    def fork(self, scope: Scope, x: str, shape: Shape) -> Step:
        count = self.rng.randint(2, 3)
        sides = [self.chain(scope, shape, keep=True, most=2)[0] for _ in range(count)]
        if self.chance(0.3):
            a, b, *rest = [scope.new("side") for _ in sides]
            scope.say(f"{', '.join([a, b, *rest])} = {x} -> fork({', '.join(sides)})")
            return self.let(scope, " + ".join([f"{a} * sigmoid({b})", *rest]), shape)
        place = 0 if len(shape) == 3 else -1
        sizes = list(shape)
        sizes[place] = fit(f"{len(sides)} * {wrap(shape[place])}")
        axis = 1 if len(shape) == 3 else -1
        return self.let(
            scope, f"{x} -> fork({', '.join(sides)}) -> concat(axis = {axis})", tuple(sizes)
        )

    def static_if(self, scope: Scope, x: str, shape: Shape) -> Step:
        left = shape[0] if len(shape) == 3 else shape[-1]
        right = self.size()
        text, _ = self.chain(scope, shape, keep=True)
        condition = f"{left} {self.rng.choice(['==', '<', '>='])} {right}"
        if self.chance(0.5):
            return self.let(scope, f"{x} -> {text} if {condition} else {x}", shape)
        h = scope.new("h")
        other, _ = self.chain(scope, shape, keep=True)
        scope.say(f"{h} = {x}")
        scope.say(f"if {condition} {{ {h} = {h} -> {text} }} else {{ {h} = {h} -> {other} }}")
        return h, shape

    def mode(self, scope: Scope, x: str, shape: Shape) -> Step:
        if self.chance(0.5):
            return self.let(scope, f"0.9 * {x} if training else {x} - 0.1", shape)
        text, _ = self.chain(scope, shape, keep=True)
        return self.let(scope, f"{x} + ({x} -> {text}) if training else {x}", shape)

    def choice(self, scope: Scope, x: str, shape: Shape) -> Step:
        form = self.rng.choice(
            (
                f"where({x} > 0.1, {x}, 0.3 * {x})",
                f"where(({x} > -1) & ({x} < 1), {x}, 0)",
                f"where(({x} <= 0.2) | ~({x} >= -0.3), {x}, 2)",
                f"maximum({x}, -0.5)",
                f"minimum(0.7, {x})",
                f"clip({x}, -1, 1)",
                f'{x} * cast({x} > 0, "float") + 0.1 * abs({x})',
                f"sin({x}) + cos(2 * {x})",
                f"exp(-abs({x})) + sqrt(1 + {x} ** 2)",
                f"log1p(abs({x})) * sign({x})",
                f"{x} / (1 + square({x}))",
                f"maximum({x}, {x} -> flip)",
                f"erf({x})",
                f"{x} + 0.5 * stop_gradient({x})",
                f"rsqrt(1 + {x} * {x}) - reciprocal(2 + abs({x}))",
            )
        )
        return self.let(scope, form, shape)

    def attention(self, scope: Scope, x: str, shape: Shape) -> Step | None:
        if len(shape) != 2:
            return None
        d, v = shape[-1], self.size()
        q, k = scope.new("q"), scope.new("k")
        scope.say(f"{q} = {x} -> dense({d})")
        scope.say(f"{k} = {x} -> dense({d}, bias = false)")
        scores = self.rng.choice((
            f"{q} @ transpose({k}) / sqrt({d})",
            f'einsum("nid,njd->nij", {q}, {k})',
            f"matmul({q}, {k} -> transpose(0, 2, 1))",
        ))  # fmt: skip
        return self.let(scope, f"softmax({scores}) @ ({x} -> dense({v}))", (shape[0], v))

    def slices(self, scope: Scope, x: str, shape: Shape) -> Step | None:
        last = shape[-1]
        if not last.isdigit() or int(last) < 3:
            return None
        n = int(last)
        forms = [
            (f"{x}[..., ::2]", (n + 1) // 2),
            (f"{x}[..., 1:]", n - 1),
            (f"{x}[..., :-1]", n - 1),
            (f"{x}[..., 1:-1]", n - 2),
            (f"concat({x}[..., 1:], {x}[..., :1], axis = -1)", n),
            (f"concat({x}, {x}[..., ::2], axis = -1)", n + (n + 1) // 2),
            (f"pad({x}, [{', '.join(['0'] * len(shape))}, (1, 2)])", n + 3),
            (f"{x}[..., 1:] - {x}[..., :-1]", n - 1),
        ]
        if len(shape) == 1:
            forms += [(f"{x}[:, [0, 2, 0]]", 3), (f"{x}[:, [2, 1]]", 2)]
        text, extent = self.rng.choice(forms)
        return self.let(scope, text, (*shape[:-1], str(extent)))

    def reduction(self, scope: Scope, x: str, shape: Shape) -> Step:
        axis = self.rng.choice(("-1", "1"))
        how = f"axis = {axis}, keepdims = true"
        form = self.rng.choice(
            (
                f"{x} - mean({x}, {how})",
                f"{x} / (1 + norm({x}, {how}))",
                f"({x} - mean({x}, {how})) / sqrt(var({x}, {how}) + 0.1)",
                f"{x} - max({x}, {how})",
                f"{x} + min({x}, {how})",
                f"{x} - logsumexp({x}, {how})",
                f"cumsum({x}) * 0.3",
                f"{x} * sum({x} -> sigmoid, {how}) / {shape[-1]}",
                f"{x} - mean({x})",
                f"{x} / (1 + std({x}, {how}))",
            )
        )
        return self.let(scope, form, shape)

    def parameter(self, scope: Scope, x: str, shape: Shape) -> Step:
        sizes = f"[{shape[-1]}]" if len(shape) < 3 else f"[{shape[0]}, 1, 1]"
        scale = scope.new("scale")
        scope.say(f"{scale} = param({sizes}, init = {self.rng.choice(INITS)})")
        if self.chance(0.3):
            fixed = scope.new("fixed")
            scope.say(f"{fixed} = buffer({sizes}, init = {self.rng.choice(INITS)})")
            return self.let(scope, f"{x} * {scale} + {fixed}", shape)
        return self.let(scope, f"{x} * {scale} + {scale}", shape)

    def several(self, scope: Scope, x: str, shape: Shape) -> Step | None:
        fitting = [b for b in self.blocks if b.outputs and b.rank == len(shape)]
        if not fitting:
            return None
        block = self.rng.choice(fitting)
        found = self.call(scope, block, shape)
        if found is None:
            return None
        text, out = found
        a, b = block.outputs
        if self.chance(0.5):
            first, second = scope.new("a"), scope.new("b")
            scope.say(f"{first}, {second} = {x} -> {text}")
        else:
            both = scope.new("both")
            scope.say(f"{both} = {x} -> {text}")
            first, second = f"{both}.{a}", f"{both}.{b}"
        return self.let(scope, f"{first} * sigmoid({second})", out)

    def halves(self, scope: Scope, x: str, shape: Shape) -> Step:
        """Twice as wide, split, one half gating the other."""
        place, axis = (0, 1) if len(shape) == 3 else (len(shape) - 1, -1)
        wide = f"2 * {wrap(shape[place])}"
        layer = f"conv({wide}, 1)" if len(shape) == 3 else f"dense({wide})"
        a, b = scope.new("a"), scope.new("b")
        scope.say(f"{a}, {b} = {x} -> {layer} -> split(2, axis = {axis})")
        return self.let(scope, f"{a} * tanh({b})", shape)

    def held(self, scope: Scope, x: str, shape: Shape) -> Step | None:
        fitting = [b for b in self.blocks if b.held and b.rank == len(shape)]
        if not fitting:
            return None
        block = self.rng.choice(fitting)
        memory, _ = self.let(scope, f"{x} -> {self.act()}", shape, "memory")
        found = self.call(scope, block, shape, keep=True, held=f"memory = {memory}")
        if found is None:
            return None
        text = found[0]
        if self.chance(0.5):
            text = f"repeat({self.rng.randint(1, 3)}, {text})"
        return self.let(scope, f"{x} -> {text}", shape)

    def stacked(self, scope: Scope, x: str, shape: Shape) -> Step:
        axis = self.rng.randint(1, len(shape) + 1)
        other, _ = self.chain(scope, shape, keep=True, most=1)
        reduce = self.rng.choice(("mean", "sum", "max", "logsumexp"))
        return self.let(
            scope, f"stack({x}, {x} -> {other}, axis = {axis}) -> {reduce}(axis = {axis})", shape
        )

    def reshaped(self, scope: Scope, x: str, shape: Shape) -> Step | None:
        if self.open_time or len(shape) == 1:
            return None
        turned = tuple(reversed(shape))
        order = [0, *range(len(shape), 0, -1)]
        if self.chance(0.5):
            text = f"{x} -> transpose({', '.join(map(str, order))})"
            return self.let(scope, text, turned)
        return self.let(scope, f"reshape({x}, [-1, {', '.join(turned)}])", turned)

    # --- definitions ---

    def define(self, rank: int) -> None:
        self.rng.choice(DEFINITIONS)(self, rank)

    def name(self) -> str:
        stem = self.rng.choice(("Unit", "Cell", "Mix", "Stage", "Part", "Tower"))
        return f"{stem}{len(self.blocks)}"

    def header(self, name: str, rank: int, params: tuple[str, ...], more: str = "") -> str:
        sizes = ", ".join(("N", *AXES[rank]))
        return f"block {name}({', '.join((f'x: [{sizes}]', *params))}){more}"

    def statements_block(self, rank: int) -> None:
        """Statements over the dims of the input, with a random choice of parameters."""
        name, shape = self.name(), AXES[rank]
        scope = Scope(symbols=shape)
        x = "x"
        params: list[Param] = []
        for kind in self.rng.sample(("int", "bool", "act", "layer", "depth", "list"), 2):
            param = Param({"int": "width", "bool": "flag", "act": "act", "layer": "f",
                           "depth": "depth", "list": "widths"}[kind], kind)  # fmt: skip
            params.append(param)
            if self.chance(0.5):
                x, shape = self.statement(scope, x, shape)
            if kind == "layer" and shape != AXES[rank]:
                # the layer that is passed keeps the shape of x: start again
                scope, params = Scope(symbols=AXES[rank]), [param]
                x, shape = "x", AXES[rank]
            x, shape = self.use(scope, param, x, shape)
        if self.chance(0.5):
            x, shape = self.statement(scope, x, shape)
        body = [*scope.lines, f"  return {x}"]
        given = tuple(self.parameter_text(p) for p in params)
        sizes = ", ".join(("N", *shape))
        more = f" -> [{sizes}]" if self.chance(0.3) and "widths" not in sizes else ""
        if any(p.kind == "layer" for p in params):
            params.sort(key=lambda p: p.kind != "layer")
            given = tuple(sorted(given, key=lambda text: "=" in text))
        self.items.append("\n".join([f"{self.header(name, rank, given, more)} {{", *body, "}"]))
        self.blocks.append(Block(name, rank, tuple(params), shape, tuple(scope.needs)))

    def parameter_text(self, param: Param) -> str:
        match param.kind:
            case "bool":
                return f"{param.name} = true"
            case "depth":
                return f"{param.name} = 2"
            case "act":
                return f"{param.name} = relu"
            case "list":
                return f"{param.name} = [3, 4]"
            case _:
                return param.name

    def use(self, scope: Scope, param: Param, x: str, shape: Shape) -> Step:
        """What a parameter does in a block."""
        text, _ = self.chain(scope, shape, keep=True, most=2)
        image = len(shape) == 3
        match param.kind:
            case "int":
                layer = f"conv({param.name}, 1)" if image else f"dense({param.name})"
                at = 0 if image else len(shape) - 1
                out = (*shape[:at], param.name, *shape[at + 1 :])
                if self.chance(0.5):
                    main, _ = self.let(scope, f"{x} -> {layer} -> {self.act()}", out)
                    condition = f"{shape[at]} == {param.name}"
                    skip, _ = self.let(scope, f"{x} if {condition} else {x} -> {layer}", out)
                    return self.let(scope, f"{main} + {skip}", out)
                return self.let(scope, f"{x} -> {layer}", out)
            case "bool":
                condition = self.rng.choice((param.name, f"not {param.name}"))
                return self.let(scope, f"{x} -> {text} if {condition} else {x}", shape)
            case "act":
                return self.let(scope, f"{x} -> {text} -> {param.name}", shape)
            case "layer":
                form = self.rng.choice((
                    f"{x} + ({x} -> {param.name})",
                    f"{x} -> {param.name} -> {self.act()} -> {param.name}",
                    f"{x} -> repeat(2, {param.name} -> {self.act()})",
                ))  # fmt: skip
                return self.let(scope, form, shape)
            case "depth":
                count = self.rng.choice((param.name, f"{param.name} - 1"))
                return self.let(scope, f"{x} -> repeat({count}, {text})", shape)
            case _:
                h = scope.new("h")
                layer = "conv(w, 3, padding = 1)" if image else "dense(w)"
                scope.say(f"{h} = {x}")
                scope.say(f"for w in {param.name} {{ {h} = {h} -> {layer} -> {self.act()} }}")
                last = f"{param.name}[-1]"
                return h, (last, *shape[1:]) if image else (*shape[:-1], last)

    def point_free(self, rank: int) -> None:
        name = self.name()
        if rank == 3:
            text = f"conv(width, 3, padding = 1) -> batch_norm -> {self.act()}"
            if self.chance(0.3):
                text = f"conv(width, 1, bias = false) -> {self.act()} -> conv(width, 1)"
            out = ("width", "H", "W")
        else:
            text = f"dense(width) -> {self.act()}"
            text += " -> dense(width)" if self.chance(0.5) else ""
            out = (*AXES[rank][:-1], "width")
        self.items.append(f"block {name}(width) = {text}")
        self.blocks.append(Block(name, rank, (Param("width", "int"),), out))

    def residual(self, rank: int) -> None:
        """Takes tensors of any rank and a layer."""
        name = self.name()
        form = self.rng.choice(("x + (x -> f)", "x + tanh(x -> f)", "x -> f -> relu -> f"))
        self.items.append(f"block {name}(x: [...], f) = {form}")
        self.blocks.append(Block(name, 0, (Param("f", "layer"),), ()))

    def pair(self, rank: int) -> None:
        name = self.name()
        sizes = ", ".join(("N", *AXES[rank]))
        scope = Scope(symbols=AXES[rank])
        x, shape = "x", AXES[rank]
        if self.chance(0.6):
            text, _ = self.chain(scope, shape, keep=True)
            x, _ = self.let(scope, f"x -> {text}", shape)
        wide = "conv(2 * C, 1)" if rank == 3 else "dense(2 * D)"
        axis = 1 if rank == 3 else -1
        scope.say(f"return split({x} -> {wide}, 2, axis = {axis})")
        more = f" -> (left: [{sizes}], right: [{sizes}])"
        self.items.append("\n".join([self.header(name, rank, (), more) + " {", *scope.lines, "}"]))
        self.blocks.append(Block(name, rank, (), AXES[rank], tuple(scope.needs), ("left", "right")))

    def recursive(self, rank: int) -> None:
        name = self.name()
        scope = Scope(symbols=AXES[rank])
        base, _ = self.chain(scope, AXES[rank], keep=True, most=2)
        text, _ = self.chain(scope, AXES[rank], keep=True, most=2)
        deeper = self.rng.choice((
            f"x + (x -> {text} -> {name}(depth - 1))",
            f"x -> {text} -> {name}(depth - 1) -> {self.act()}",
            f"x -> {name}(depth - 1) -> {text}",
        ))  # fmt: skip
        sizes = ", ".join(("N", *AXES[rank]))
        self.items.append(
            f"{self.header(name, rank, ('depth = 2',), f' -> [{sizes}]')} {{\n"
            f"  if depth == 0 {{ return x -> {base} }}\n  return {deeper}\n}}"
        )
        self.blocks.append(
            Block(name, rank, (Param("depth", "depth"),), AXES[rank], tuple(scope.needs))
        )

    def list_recursive(self, rank: int) -> None:
        name = self.name()
        layer = "conv(widths[0], 3, padding = 1)" if rank == 3 else "dense(widths[0])"
        out = ("widths[-1]", "H", "W") if rank == 3 else (*AXES[rank][:-1], "widths[-1]")
        self.items.append(
            f"{self.header(name, rank, ('widths',))} {{\n"
            f"  h = x -> {layer} -> {self.act()}\n"
            f"  if len(widths) == 1 {{ return h }}\n"
            f"  return h -> {name}(widths[1:])\n}}"
        )
        self.blocks.append(Block(name, rank, (Param("widths", "list"),), out))

    def mixing(self, rank: int) -> None:
        """Takes a second tensor, held."""
        name = self.name()
        sizes = ", ".join(("N", *AXES[rank]))
        if rank == 2:
            text = "x + softmax(x @ transpose(memory)) @ memory"
        else:
            layer = "conv(C, 1)" if rank == 3 else "dense(D)"
            text = f"(x -> {layer}) * sigmoid(memory) + memory"
        self.items.append(f"block {name}(x: [{sizes}], memory: [{sizes}]) = {text}")
        self.blocks.append(Block(name, rank, (), AXES[rank], held=True))

    # --- the file ---

    def file(self) -> str:
        kind = self.rng.choice(("image", "image", "sequence", "vector", "tokens"))
        size = lambda low, high: str(self.rng.randint(low, high))  # noqa: E731
        shapes = {
            "image": (size(1, 4), size(6, 10), size(6, 10)),
            "sequence": (size(3, 6), size(3, 6)),
            "vector": (size(3, 8),),
            "tokens": (size(3, 6),),
        }
        shape = shapes[kind]
        if kind in ("sequence", "tokens"):
            self.open_time = self.chance(0.25)
            shape = ("T", *shape[1:]) if self.open_time else shape
        ranks = {"image": (3, 3, 1), "sequence": (2, 2, 1), "vector": (1,), "tokens": (2, 1)}[kind]
        for _ in range(self.rng.randint(1, max(1, min(5, self.budget // 2)))):
            self.define(self.rng.choice(ranks))
        self.model(kind, shape)
        return "\n\n".join(self.items) + "\n"

    def model(self, kind: str, shape: Shape) -> None:
        scope = Scope()
        entry = ", ".join(("N", *shape))
        dtype = "i64" if kind == "tokens" else ""
        x = "x"
        if kind == "tokens":
            count, width = self.rng.randint(4, 9), self.size()
            shape = (shape[0], width)
            if self.chance(0.4):
                scope.say(f"share table = embedding({count}, {width})")
                x, _ = self.let(scope, "x -> table", shape)
                table, _ = self.let(scope, f"{x} @ transpose(table.weight)", shape)
                x, shape = self.let(scope, f"softmax({table}) @ table.weight + {x}", shape)
            else:
                x, _ = self.let(scope, f"x -> embedding({count}, {width})", shape)
        for _ in range(self.rng.randint(1, max(1, self.budget // 2))):
            x, shape = self.statement(scope, x, shape)
        labels = self.rng.choice(("class", "class", "number", "both"))
        each = len(shape) == 2 and shape[0] == "T" and labels == "class"
        x, shape = (x, shape) if each else self.head(scope, x, shape)
        classes = self.rng.randint(2, 5)
        out = "[N, T, classes]" if each else "[N, classes]"
        result = f"{x} -> dense(classes) as head"
        if labels == "both":
            out = "(logits: [N, classes], spread: [N, 2])"
            result = f"({result}, {x} -> dense(2) -> softplus)"
        if len(scope.lines) > 0 or self.chance(0.5):
            body = "\n".join(["{", *scope.lines, f"  return {result}", "}"])
        else:
            body = f"= {result}"
        head = f"model Net(x: {dtype}[{entry}], classes = {classes}) -> {out}"
        self.items.append(f"{head} {body}")
        target = {"class": f"label: i64[N{', T' if each else ''}]", "both": "label: i64[N]"}.get(
            labels, f"target: [N, {classes}]"
        )
        self.items.append(self.training(labels, f"x: {dtype}[{entry}]", target))

    def head(self, scope: Scope, x: str, shape: Shape) -> Step:
        if len(shape) == 3:
            how = self.rng.choice(("global_avg_pool", "global_max_pool", "flatten"))
            out = (self.product(shape),) if how == "flatten" else shape[:1]
            return self.let(scope, f"{x} -> {how}", out)
        if len(shape) == 2:
            text, out = self.rng.choice((
                (f"mean({x}, axis = 1)", shape[1:]),
                (f"{x}[:, 0]", shape[1:]),
                (f"max({x}, axis = 1)", shape[1:]),
            ))  # fmt: skip
            return self.let(scope, text, out)
        return x, shape

    def training(self, labels: str, entry: str, target: str) -> str:
        field_ = target.split(":")[0]
        source = f'npz("none.npz", fields = ["x", "{field_}"], batch = 4)'
        lines = [f"  data ({entry}, {target}) from {source}"]
        if labels == "both":
            lines.append("  out = x -> Net")
            loss = "cross_entropy(out.logits, label) + 0.1 * mean(square(out.spread))"
            lines.append(f"  minimize {loss} using sgd(0.05, momentum = 0.9)")
            lines.append("  report accuracy(out.logits, label)")
        elif labels == "class":
            smoothing = ", smoothing = 0.1" if self.chance(0.3) else ""
            lines.append("  logits = x -> Net")
            more = ", nesterov = true, weight_decay = 0.01"
            optimizer = self.rng.choice(("sgd(0.05, momentum = 0.9)", "adam(1e-3)",
                                         f"sgd(0.05, momentum = 0.9{more})"))  # fmt: skip
            lines.append(f"  minimize cross_entropy(logits, label{smoothing}) using {optimizer}")
            lines.append("  report accuracy(logits, label)")
        else:
            loss = self.rng.choice(("mse", "mae", "huber"))
            lines.append("  y = x -> Net")
            lines.append(f"  minimize {loss}(y, target) using sgd(0.02, momentum = 0.9)")
            lines.append("  report mae(y, target) as error")
        return "\n".join(["train t {", *lines, "  epochs 1", "}"])


STATEMENTS = (
    Generator.pipe,
    Generator.pipe,
    Generator.skip,
    Generator.skip,
    Generator.projected,
    Generator.shared,
    Generator.shared,
    Generator.repeat,
    Generator.repeat,
    Generator.for_loop,
    Generator.comprehension,
    Generator.fork,
    Generator.static_if,
    Generator.mode,
    Generator.choice,
    Generator.attention,
    Generator.slices,
    Generator.reduction,
    Generator.parameter,
    Generator.several,
    Generator.halves,
    Generator.held,
    Generator.stacked,
    Generator.reshaped,
)
DEFINITIONS = (
    Generator.statements_block,
    Generator.statements_block,
    Generator.statements_block,
    Generator.point_free,
    Generator.residual,
    Generator.pair,
    Generator.recursive,
    Generator.list_recursive,
    Generator.mixing,
)
