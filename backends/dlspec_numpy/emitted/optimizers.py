"""Optimizers over one flat buffer, in blocks that stay in the cache."""

import numpy as np

from .weights import arrays


def blocks(*buffers, size=1 << 16):
    """The buffers in pieces, side by side."""
    for start in range(0, len(buffers[0]), size):
        yield [buffer[start : start + size] for buffer in buffers]


class Sgd:
    """v = momentum v + g + weight_decay w;  w -= lr v  (torch.optim.SGD)."""

    def __init__(self, weights, grads, part, momentum=0.0, nesterov=False, weight_decay=0.0):
        self.part, self.weights, self.grads = part, weights[part], grads[part]
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self.step = 0
        self.slots = {"momentum": np.zeros_like(self.weights)} if momentum else {}

    def update(self, lr):
        self.step += 1
        velocity = self.slots.get("momentum", self.grads)
        for w, g, v in blocks(self.weights, self.grads, velocity):
            if self.weight_decay:
                g += self.weight_decay * w
            if self.momentum:
                v *= self.momentum
                v += g
                if self.nesterov:
                    g += self.momentum * v
            np.multiply(g if self.nesterov else v, lr, out=g)
            w -= g


class Adam:
    """Adam (Kingma & Ba 2015), as torch.optim.Adam; decoupled: AdamW (Loshchilov & Hutter 2019)."""

    def __init__(
        self,
        weights,
        grads,
        part,
        beta1=0.9,
        beta2=0.999,
        eps=1e-8,
        weight_decay=0.0,
        decoupled=False,
    ):
        self.part, self.weights, self.grads = part, weights[part], grads[part]
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.weight_decay, self.decoupled = weight_decay, decoupled
        self.step = 0
        self.slots = {name: np.zeros_like(self.weights) for name in ("exp_avg", "exp_avg_sq")}

    def update(self, lr):
        self.step += 1
        rate = lr / (1 - self.beta1**self.step)
        root = (1 - self.beta2**self.step) ** 0.5
        for w, g, m, v in blocks(self.weights, self.grads, *self.slots.values()):
            if self.decoupled:
                w *= 1 - lr * self.weight_decay
            elif self.weight_decay:
                g += self.weight_decay * w
            m *= self.beta1
            m += (1 - self.beta1) * g
            v *= self.beta2
            g *= g
            g *= 1 - self.beta2
            v += g
            np.sqrt(v, out=g)
            g /= root
            g += self.eps
            np.divide(m, g, out=g)
            g *= rate
            w -= g


class Rule:
    """An optimizer from its rule for a weight: (weight, grad, slots, step) to the direction and
    the new slots. pieces: slices that a rule must see whole; blocks where there are none."""

    def __init__(self, weights, grads, part, rule, slots, pieces=None):
        self.part, self.weights, self.grads = part, weights[part], grads[part]
        self.rule, self.pieces = rule, pieces
        self.step = 0
        self.slots = {name: np.zeros_like(self.weights) for name in slots}

    def update(self, lr):
        self.step += 1
        buffers = self.weights, self.grads, *self.slots.values()
        for w, g, *slots in cut(self.pieces, *buffers) if self.pieces else blocks(*buffers):
            direction, *new = self.rule(w, g, *slots, self.step)
            for slot, value in zip(slots, new, strict=True):
                slot[...] = value
            direction *= lr
            w -= direction


def cut(pieces, *buffers):
    """The buffers in the given pieces, side by side."""
    for piece in pieces:
        yield [buffer[piece] for buffer in buffers]


def weight_pieces(module, part):
    """The slice of each trained weight, counted from the start of `part`."""
    found = []
    start = -(part.start or 0)
    for _, name, layer in arrays(module, buffers=False):
        stop = start + getattr(layer, name).size
        if start >= 0 and (part.stop is None or stop <= part.stop - (part.start or 0)):
            found.append(slice(start, stop))
        start = stop
    return found


def clip_norm(grads, limit):
    """Scales gradients so that their joint norm is at most limit; torch's, with norm + 1e-6."""
    norm = sum(np.vdot(grad, grad) for grad in grads) ** 0.5
    scale = min(1.0, limit / (norm + 1e-6))
    for grad in grads:
        grad *= grad.dtype.type(scale)


def clip_value(grads, limit):
    """Every gradient between -limit and limit."""
    for grad in grads:
        np.clip(grad, -limit, limit, out=grad)


def flat_views(module, flat):
    """{path: its part of a buffer like that of all weights}."""
    found, start = {}, 0
    for path, name, layer in arrays(module, buffers=False):
        array = getattr(layer, name)
        found[path] = flat[start : start + array.size].reshape(array.shape)
        start += array.size
    return found


class averaged:
    """Within it, the network computes with the averaged weights."""

    def __init__(self, state):
        self.state = state

    def __enter__(self):
        self.kept = self.state.weights.copy()
        self.state.weights[...] = self.state.average

    def __exit__(self, *_):
        self.state.weights[...] = self.kept
