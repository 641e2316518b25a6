"""Layers of a network that is never trained, instead of those of the same names."""

from dlspec_jax.emitted.convolution import correlate, padding_pairs, per_axis, scatter_windows


def conv(params, x, *, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of x [N, *S, C] with weight [O, C / groups, *K]."""
    stride, dilation = per_axis(stride, x), per_axis(dilation, x)
    pads = padding_pairs(padding, x)
    settings = {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups}
    y = correlate(x, params["weight"], **settings)
    return y + params["bias"] if "bias" in params else y


def conv_transpose(params, x, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """The transpose of a convolution; x [N, *S, C], weight [C, O / groups, *K]."""
    given = (stride, padding, output_padding, dilation)
    stride, padding, more, dilation = (per_axis(value, x) for value in given)
    settings = {"stride": stride, "padding": padding, "more": more, "dilation": dilation}
    y = scatter_windows(x, params["weight"], **settings, groups=groups)
    return y + params["bias"] if "bias" in params else y
