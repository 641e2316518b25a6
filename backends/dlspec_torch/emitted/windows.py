"""What "same" padding means, for windows whose stride is not 1."""

import torch.nn.functional as F


def pad_same(x, kernel, stride, value=0.0):
    """x with borders, so that windows give ceil(n / stride) places; an odd one is at the end."""
    rank = x.ndim - 2
    sizes = kernel if isinstance(kernel, tuple) else (kernel,) * rank
    steps = stride if isinstance(stride, tuple) else (stride,) * rank
    borders = []
    for n, k, s in reversed([*zip(x.shape[2:], sizes, steps, strict=True)]):
        total = max(0, (n - 1) // s * s + k - n)
        borders += [total // 2, total - total // 2]
    return F.pad(x, borders, value=value)
