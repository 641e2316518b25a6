"""What an optimizer trains, as torch says it: parameters, parameter groups, what stays fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlspec.codegen import Text, assign, block, line, python
from dlspec.ir.tree import untrained, weight_paths, within
from dlspec_torch.modules import attribute
from dlspec_torch.optimizers import made

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlspec.codegen import Statement
    from dlspec.ir.graph import Minimize, Training

LOSSES = '''\
def training_losses(net: {net}, batch: Arrays{draws}) -> Metrics:
    """The losses; what is not trained keeps its running statistics."""
    before = {{k: b.clone() for k, b in net.named_buffers() if f"{{k}}.".startswith(FIXED)}}
    metrics = losses(net, batch{given})
    for key, buffer in net.named_buffers():
        if key in before:
            buffer.data.copy_(before[key])
    return metrics'''


def key(path: str) -> str:
    """A path as torch's state dict has it."""
    return ".".join(map(attribute, path.split(".")))


def place(path: str, training: Training) -> str:
    """`net.encoder`, `net.get_submodule("layers.0")`, or a parameter of one."""
    if not path:
        return "net"
    own = key(path)
    if not any(part.isdigit() for part in own.split(".")):
        return f"net.{own}"
    leaf = path in weight_paths(training)
    return f'net.get_{"parameter" if leaf else "submodule"}("{own}")'


def parameters(minimize: Minimize, training: Training) -> str:
    """The parameters that one optimizer trains."""
    every = weight_paths(training)
    places = [
        (place(path, training), path in every and bool(path)) for path in minimize.over or ("",)
    ]
    if len(places) == 1:
        ((found, leaf),) = places
        return f"[{found}]" if leaf else f"{found}.parameters()"
    texts = (found if leaf else f"*{found}.parameters()" for found, leaf in places)
    return f"[{', '.join(texts)}]"


def joint(minimized: Sequence[Minimize]) -> bool:
    """Whether one optimizer of torch, with parameter groups, can carry out all of them."""
    first, *rest = map(made, minimized)
    return all(
        other.callee == first.callee and (not first.definitions or other == first) for other in rest
    )


def grouped(minimized: Sequence[Minimize], training: Training) -> str:
    """One optimizer, each `minimize` a group of parameters with what it has of its own."""
    all_ = [made(m).arguments for m in minimized]
    shared = [text for text in all_[0] if all(text in other for other in all_)]
    groups: list[str] = []
    for minimize, arguments in zip(minimized, all_, strict=True):
        entries = [f'"params": {parameters(minimize, training)}']
        for text in arguments:
            if text not in shared:
                name, _, value = text.partition("=")
                entries.append(f'"{name}": {value}')
        groups.append(f"{{{', '.join(entries)}}}")
    return f"{made(minimized[0]).callee}([{', '.join(groups)}], {', '.join(shared)})"


def fixed(training: Training) -> tuple[str, ...]:
    """What no optimizer trains."""
    return untrained(training, training.minimize)


def fixed_buffers(training: Training) -> bool:
    """Whether running statistics must be kept from moving."""
    paths = fixed(training)
    return any(
        not ours and within(path, paths) and not within(path, training.frozen)
        for path, ours in weight_paths(training).items()
    )


def freeze(training: Training) -> list[Statement]:
    """No gradients for what stays fixed."""
    every = weight_paths(training)
    return [
        line(f"{place(path, training)}.requires_grad_(False)")
        for path in fixed(training)
        if every.get(path, True)
    ]


def keeping(training: Training, net: str, draws: bool) -> list[Statement]:
    """`FIXED` and `training_losses`."""
    prefixes = tuple(f"{key(path)}." for path in fixed(training))
    text = LOSSES.format(
        net=net,
        draws=", draws: Iterator[Tensor]" if draws else "",
        given=", draws" if draws else "",
    )
    return [line(f"FIXED = {python.flat(python.constant(prefixes))}"), Text("\n"), Text(text)]


def export_several(key_of: str) -> list[Statement]:
    """The end of `export_optimizer`, where there are several optimizers."""
    inner: list[Statement] = [
        line(f'path = "" if kind == "step" else "/" + {key_of}'),
        block(
            "if slot is not None:",
            [line('arrays[kind.removesuffix("_buffer") + path] = slot.cpu().numpy().copy()')],
        ),
    ]
    loop = block("for kind, slot in optimizer.state.get(parameter, {}).items():", inner)
    return [
        line('arrays = {"step": np.array(0)}'),
        block(
            "for name, parameter in state.net.named_parameters():",
            [block("for optimizer in state.optimizers:", [loop])],
        ),
        line("return arrays"),
    ]


def import_several(minimized: Sequence[Minimize], key_of: str, one: bool) -> list[Statement]:
    """The body of `import_optimizer`, where there are several groups."""
    slots = {ours: own for m in minimized for own, ours in made(m).slots.items()}
    inner: list[Statement] = [
        line("slots = optimizer.state[parameter]"),
        block(
            "for kind, own in kinds.items():",
            [
                line(f'saved = arrays.get(kind + "/" + {key_of})'),
                block(
                    "if saved is not None:",
                    [line("slots[own] = torch.zeros_like(parameter).copy_(torch.tensor(saved))")],
                ),
            ],
        ),
    ]
    if any(made(m).counts for m in minimized):
        counting = "slots"
        if not all(made(m).counts for m in minimized):
            counting += " and not isinstance(optimizer, torch.optim.SGD)"
        count = line('slots["step"] = torch.tensor(float(arrays["step"]))')
        inner.append(block(f"if {counting}:", [count]))
    kinds = assign(["kinds"], python.constant(slots))
    mine = 'mine = {p for group in optimizer.param_groups for p in group["params"]}'
    loop = block(
        "for name, parameter in state.net.named_parameters():",
        [block("if parameter in mine:", inner)],
    )
    if one:
        optimizer = line("optimizer = state.optimizer")
        return [kinds, optimizer, line(mine), loop, line("return state")]
    return [
        kinds,
        block("for optimizer in state.optimizers:", [line(mine), loop]),
        line("return state"),
    ]
