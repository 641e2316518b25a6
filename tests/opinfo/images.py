"""Torch's functions of images as our built-ins: convolution, pooling, padding, resizing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .calls import Call, Mapped, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


BATCHED = "a single example is given a batch axis"


def arguments(sample: Any, *names: str) -> dict[str, Any]:
    """The arguments after the input by torch's names."""
    return dict(zip(names, sample.args, strict=False)) | sample.kwargs


def batched(call: Callable[[Tensor], Call], x: Tensor, rank: int) -> Call:
    """call(x) with a batch axis of one where x has none. rank: that of a whole batch."""
    if x.ndim != rank - 1:
        return call(x)
    made = call(x.unsqueeze(0))
    made.result = lambda y: y.unsqueeze(0)
    made.notes = (*made.notes, BATCHED)
    return made


def single(value: Any) -> Any:
    """Torch's (3,) for all axes is our 3."""
    return value[0] if isinstance(value, tuple | list) and len(value) == 1 else value


def conv(axes: int) -> Callable[[Any], Mapped]:
    def call(sample: Any) -> Mapped:
        given = arguments(sample, "weight", "bias", "stride", "padding", "dilation", "groups")
        named = {k: single(v) for k, v in given.items() if v is not None}
        weight = named.pop("weight")
        return batched(
            lambda x: written("convolve", x, weight, named=named), sample.input, axes + 2
        )

    return call


def conv_transpose(axes: int) -> Callable[[Any], Mapped]:
    order = ("weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")

    def call(sample: Any) -> Mapped:
        given = arguments(sample, *order)
        weight, bias = given.pop("weight"), given.pop("bias", None)
        named = {k: single(v) for k, v in given.items()}
        named |= {
            "channels": weight.shape[1] * named.get("groups", 1),
            "kernel": tuple(weight.shape[2:]),
            "bias": bias is not None,
        }

        def of(x: Tensor) -> Call:
            made = written("conv_transpose", x, named=named)
            made.weights = {"weight": weight} | ({} if bias is None else {"bias": bias})
            return made

        return batched(of, sample.input, axes + 2)

    return call


def pool(name: str, axes: int) -> Callable[[Any], Mapped]:
    order = ("kernel_size", "stride", "padding")
    more = ("ceil_mode", "count_include_pad", "divisor_override")
    names = {"kernel_size": "size", "ceil_mode": "ceil", "count_include_pad": "count_padding"}

    def call(sample: Any) -> Mapped:
        given = arguments(sample, *order, *more)
        given.pop("return_indices", None)
        if given.pop("divisor_override", None) not in (None, 0):
            return "a mean divides by what it counts, not by a given number"
        if "divisor_override" in sample.kwargs and sample.kwargs["divisor_override"] == 0:
            given["divisor_override"] = 0
        named = {names.get(k, k): single(v) for k, v in given.items() if v not in (None, ())}
        return batched(lambda x: written(name, x, named=named), sample.input, axes + 2)

    return call


def adaptive(name: str, axes: int) -> Callable[[Any], Mapped]:
    def call(sample: Any) -> Mapped:
        size = arguments(sample, "output_size", "return_indices")["output_size"]
        space = sample.input.shape[-axes:]
        if isinstance(size, tuple) and len(size) == axes == len(space):
            size = tuple(n if s is None else s for s, n in zip(size, space, strict=True))
        return batched(lambda x: written(name, x, named={"size": size}), sample.input, axes + 2)

    return call


def pad(sample: Any) -> Mapped:
    """Torch's pairs begin at the last axis, and a negative width crops what was padded."""
    given = arguments(sample, "pad", "mode", "value")
    x, flat, mode = sample.input, list(given["pad"]), given.get("mode", "constant")
    flat += [0] * (2 * x.ndim - len(flat))
    pairs = [(flat[2 * i], flat[2 * i + 1]) for i in reversed(range(x.ndim))]
    widths = [(max(low, 0), max(high, 0)) for low, high in pairs]
    named: dict[str, Any] = {"widths": widths, "mode": mode}
    if given.get("value"):
        named["value"] = given["value"]
    call = written("pad", x, named=named)
    if min(flat, default=0) < 0:
        bounds = ", ".join(f"{-min(a, 0)}:{min(b, 0) or ''}" for a, b in pairs)
        if mode == "circular":  # torch goes round what is left
            call.text = call.text.replace("{0}", f"{{0}}[{bounds}]")
        else:
            call.text += f"[{bounds}]"
        call.notes = ("a negative width is a slice",)
        if any(n + a + b < 1 for n, (a, b) in zip(x.shape, pairs, strict=True)):
            return "a slice is never empty"
    return call


LINEAR = {"linear": "linear", "bilinear": "bilinear", "trilinear": "trilinear"}
MODES = {**LINEAR, "bicubic": "bicubic", "nearest-exact": "nearest"}


def interpolate(sample: Any) -> Mapped:
    given = arguments(sample, "size", "scale_factor", "mode", "align_corners")
    mode, size, scale = given.get("mode", "nearest"), given.get("size"), given.get("scale_factor")
    if mode == "nearest":
        return "nearest takes the pixel whose centre is nearest: torch's nearest-exact"
    return resized(sample.input, mode, size, scale, given)


def resized(x: Tensor, mode: str, size: Any, scale: Any, given: dict[str, Any]) -> Mapped:
    area = mode == "area"
    if scale is not None and not given.get("recompute_scale_factor") and not area:
        return "places in the image come from the two sizes, not from the factor"
    if area:
        if size is None:
            size = tuple(int(n * scale) for n in x.shape[2:])
        return written("adaptive_avg_pool", x, named={"size": single(size)})
    how = {"size": single(size)} if size is not None else {"scale": scale}
    named = {**how, "mode": MODES[mode]}
    if given.get("align_corners"):
        named["align_corners"] = True
    return written("resize", x, named=named)


def upsample_bilinear(sample: Any) -> Mapped:
    given = {**arguments(sample, "size", "scale_factor"), "align_corners": True}
    return resized(sample.input, "bilinear", given.get("size"), given.get("scale_factor"), given)


def pixels(name: str) -> Callable[[Any], Mapped]:
    def call(sample: Any) -> Mapped:
        (factor,) = (*sample.args, *sample.kwargs.values())
        x = sample.input
        lead = x.shape[:-3]
        if len(lead) == 1:
            return written(name, x, named={"factor": factor})
        made = written(name, x.reshape(-1, *x.shape[-3:]), named={"factor": factor})
        made.result = lambda y: y.reshape(-1, *y.shape[-3:])
        made.notes = ("the batch is one axis",)
        return made

    return call


def unfold(sample: Any) -> Mapped:
    given = arguments(sample, "kernel_size", "dilation", "padding", "stride")
    names = {"kernel_size": "kernel"}
    named = {names.get(k, k): single(v) for k, v in given.items()}
    return batched(lambda x: written("unfold", x, named=named), sample.input, 4)


def grid_sample(sample: Any) -> Mapped:
    given = arguments(sample, "grid", "mode", "padding_mode", "align_corners")
    if given["mode"] == "bicubic" or given["padding_mode"] == "reflection":
        return "grid_sample reads bilinearly or the nearest pixel, outside zeros or the border"
    if sample.input.ndim != 4:
        return "grid_sample reads images, no volumes"
    named = {"mode": given["mode"], "padding": given["padding_mode"]}
    named["align_corners"] = bool(given["align_corners"])
    return written("grid_sample", sample.input, given["grid"], named=named)


def channel_shuffle(sample: Any) -> Mapped:
    return written("channel_shuffle", sample.input, named={"groups": sample.args[0]})


def local_response_norm(sample: Any) -> Mapped:
    given = arguments(sample, "size", "alpha", "beta", "k")
    return written("local_response_norm", sample.input, named=given)


F = "nn.functional."
FUNCTIONS: dict[str, Callable[[Any], Mapped]] = {
    **{f"{F}conv{n}d": conv(n) for n in (1, 2, 3)},
    **{f"{F}conv_transpose{n}d": conv_transpose(n) for n in (1, 2, 3)},
    **{f"{F}max_pool{n}d": pool("max_pool", n) for n in (1, 2, 3)},
    **{f"{F}avg_pool{n}d": pool("avg_pool", n) for n in (1, 2, 3)},
    **{f"{F}adaptive_avg_pool{n}d": adaptive("adaptive_avg_pool", n) for n in (1, 2, 3)},
    **{f"{F}adaptive_max_pool{n}d": adaptive("adaptive_max_pool", n) for n in (1, 2, 3)},
    F + "pad": pad,
    F + "interpolate": interpolate,
    F + "upsample_bilinear": upsample_bilinear,
    F + "upsample_nearest": lambda _: interpolate_nearest(),
    F + "pixel_shuffle": pixels("pixel_shuffle"),
    F + "pixel_unshuffle": pixels("pixel_unshuffle"),
    F + "local_response_norm": local_response_norm,
    F + "unfold": unfold,
    F + "grid_sample": grid_sample,
    F + "channel_shuffle": channel_shuffle,
}


def interpolate_nearest() -> Mapped:
    return "nearest takes the pixel whose centre is nearest: torch's nearest-exact"
