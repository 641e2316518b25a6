"""What a file for inference has besides its model: how it takes over a training's weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlspec.codegen.code import block, docstring, line
from dlspec.codegen.library import Library
from dlspec.passes.fold_rules import EVERYWHERE

if TYPE_CHECKING:
    from dlspec.codegen.code import Statement
    from dlspec.ir.graph import Node
    from dlspec.passes.fold_rules import Rule

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
FOLDING = Library(Path(__file__).parent / "emitted", ("folding",))
NAMES = ("from_training", *FOLDING.definitions)  # no definition of a spec may have them


@dataclass(frozen=True)
class Inference:
    """How a model was made one for inference.

    rules: the batch norms that are part of layers now. eliminated: nodes that are gone, with the
    pass that took them. fewer: a training's checkpoint has weights that the file has no use for.
    network: the path of the model in a training of several networks.
    """

    rules: tuple[Rule, ...]
    precision: Precision = "float32"
    eliminated: tuple[tuple[Node, str], ...] = ()
    fewer: bool = False
    network: str = ""

    @property
    def folds(self) -> bool:
        """Whether weights of a training are not those of the file."""
        return bool(self.rules or self.network)


def fold_function(inference: Inference, header: str) -> Statement:
    """`from_training(weights)`. header: with the types that the backend's files give."""
    doc = (
        "A training's weights as this file has them: each batch norm is part of the layer beside "
        "it. Weights that are folded already stay as they are."
    )
    if not inference.rules:
        doc = "A training's weights as this file has them: those of one network."
    body: list[Statement] = [docstring(doc)]
    if inference.network:
        body.append(line(f'start = "{inference.network}."  # of several networks'))
        own = "{k.removeprefix(start): w for k, w in weights.items() if k.startswith(start)}"
        body.append(line(f"weights = {own} or dict(weights)"))
    else:
        body.append(line("weights = dict(weights)"))
    body += [_loop(rule) for rule in inference.rules]
    return block(header, [*body, line("return weights")])


def _loop(rule: Rule) -> Statement:
    within = "" if rule.places == EVERYWHERE else "".join(f', "{p}"' for p in rule.places)
    settings = f"eps={rule.eps!r}"
    for name, value in (("scale", rule.scale), ("shift", rule.shift)):
        settings += "" if value else f", {name}=False"
    call = f'fold_{rule.how}(weights, f"{{at}}{rule.layer}", f"{{at}}{rule.norm}", {settings})'
    return block(f'for at in places(weights, "{rule.norm}"{within}):', [line(call)])
