"""ResNet-18 for 32 x 32 images, the vectorised NumPy textbook version.

Convolution is im2col (NCHW, `sliding_window_view`) and one GEMM.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

BLOCKS = ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))


class Conv:
    def __init__(self, rng, in_channels, channels, kernel, stride):
        bound = (in_channels * kernel * kernel) ** -0.5
        shape = (channels, in_channels, kernel, kernel)
        self.w = rng.uniform(-bound, bound, shape).astype(np.float32)
        self.stride, self.padding = stride, kernel // 2
        self.params, self.grads = {"w": self.w}, {}

    def forward(self, x):
        o, c, k, _ = self.w.shape
        p, s = self.padding, self.stride
        self.shape = x.shape
        if p:
            x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        windows = sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::s, ::s]
        n, _, self.height, self.width = windows.shape[:4]
        self.columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, c * k * k)
        y = self.columns @ self.w.reshape(o, -1).T
        return y.reshape(n, self.height, self.width, o).transpose(0, 3, 1, 2)

    def backward(self, dy, needed=True):
        """The gradient of the input by col2im, if it is needed."""
        o, c, k, _ = self.w.shape
        rows = dy.transpose(0, 2, 3, 1).reshape(-1, o)
        self.grads["w"] = (rows.T @ self.columns).reshape(self.w.shape)
        if not needed:
            return None
        n, _, height, width = self.shape
        p, s = self.padding, self.stride
        columns = (rows @ self.w.reshape(o, -1)).reshape(n, self.height, self.width, c, k, k)
        columns = columns.transpose(0, 3, 4, 5, 1, 2)  # [N, C, K, K, H', W']
        dx = np.zeros((n, c, height + 2 * p, width + 2 * p), np.float32)
        for i in range(k):
            for j in range(k):
                rows_, columns_ = slice(i, i + s * self.height, s), slice(j, j + s * self.width, s)
                dx[:, :, rows_, columns_] += columns[:, :, i, j]
        return dx[:, :, p : p + height, p : p + width]


class BatchNorm:
    def __init__(self, channels):
        self.scale = np.ones((1, channels, 1, 1), np.float32)
        self.shift = np.zeros((1, channels, 1, 1), np.float32)
        self.mean, self.var = np.zeros_like(self.shift), np.ones_like(self.scale)
        self.params, self.grads = {"scale": self.scale, "shift": self.shift}, {}

    def forward(self, x):
        mean = x.mean(axis=(0, 2, 3), keepdims=True)
        var = x.var(axis=(0, 2, 3), keepdims=True)
        n = np.float32(x.size // x.shape[1])
        self.mean = 0.9 * self.mean + 0.1 * mean
        self.var = 0.9 * self.var + 0.1 * var * n / (n - 1)
        self.rstd = 1 / np.sqrt(var + np.float32(1e-5))
        self.normal = (x - mean) * self.rstd
        return self.normal * self.scale + self.shift

    def backward(self, dy):
        axes = (0, 2, 3)
        self.grads["shift"] = dy.sum(axis=axes, keepdims=True)
        self.grads["scale"] = (dy * self.normal).sum(axis=axes, keepdims=True)
        n = np.float32(dy.size // dy.shape[1])
        inner = dy - self.grads["shift"] / n - self.normal * (self.grads["scale"] / n)
        return inner * (self.scale * self.rstd)


class ConvNorm:
    def __init__(self, *sizes):
        self.conv = Conv(*sizes)
        self.norm = BatchNorm(sizes[2])
        self.layers = [self.conv, self.norm]

    def forward(self, x):
        return self.norm.forward(self.conv.forward(x))

    def backward(self, dy, needed=True):
        return self.conv.backward(self.norm.backward(dy), needed)


class Block:
    def __init__(self, rng, in_channels, channels, stride):
        self.a = ConvNorm(rng, in_channels, channels, 3, stride)
        self.b = ConvNorm(rng, channels, channels, 3, 1)
        self.skip = None
        if stride != 1 or in_channels != channels:
            self.skip = ConvNorm(rng, in_channels, channels, 1, stride)
        parts = [self.a, self.b] + ([self.skip] if self.skip else [])
        self.layers = [layer for part in parts for layer in part.layers]

    def forward(self, x):
        self.hidden = np.maximum(self.a.forward(x), 0)
        y = self.b.forward(self.hidden) + (self.skip.forward(x) if self.skip else x)
        self.y = np.maximum(y, 0)
        return self.y

    def backward(self, dy):
        dy = dy * (self.y > 0)
        dx = self.a.backward(self.b.backward(dy) * (self.hidden > 0))
        return dx + (self.skip.backward(dy) if self.skip else dy)


class Dense:
    def __init__(self, rng, in_features, features):
        bound = in_features**-0.5
        self.w = rng.uniform(-bound, bound, (features, in_features)).astype(np.float32)
        self.b = np.zeros(features, np.float32)
        self.params, self.grads = {"w": self.w, "b": self.b}, {}

    def forward(self, x):
        self.x = x
        return x @ self.w.T + self.b

    def backward(self, dy):
        self.grads["w"], self.grads["b"] = dy.T @ self.x, dy.sum(axis=0)
        return dy @ self.w


class ResNet18:
    def __init__(self, rng, classes=10):
        self.stem = ConvNorm(rng, 3, 64, 3, 1)
        self.blocks, in_channels = [], 64
        for channels, stride in BLOCKS:
            self.blocks.append(Block(rng, in_channels, channels, stride))
            in_channels = channels
        self.head = Dense(rng, 512, classes)
        inside = [layer for block in self.blocks for layer in block.layers]
        self.layers = [*self.stem.layers, *inside, self.head]

    def forward(self, x):
        self.first = x = np.maximum(self.stem.forward(x), 0)
        for block in self.blocks:
            x = block.forward(x)
        self.shape = x.shape
        return self.head.forward(x.mean(axis=(2, 3)))

    def backward(self, dlogits):
        _, _, height, width = self.shape
        d = self.head.backward(dlogits)[:, :, None, None] / np.float32(height * width)
        d = np.broadcast_to(d, self.shape)
        for block in reversed(self.blocks):
            d = block.backward(d)
        self.stem.backward(d * (self.first > 0), needed=False)


def softmax_cross_entropy(logits, label):
    n = len(label)
    z = logits - logits.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(n), label].mean()
    dlogits = np.exp(log_p)
    dlogits[np.arange(n), label] -= 1
    return loss, dlogits / np.float32(n)


def sgd(layer, name, slots, lr, step):
    v = slots["m"][name]
    v *= 0.9
    v += layer.grads[name]
    w = layer.params[name]
    w -= lr * v


def adam(layer, name, slots, lr, step, beta1=0.9, beta2=0.999, eps=1e-8):
    g, w = layer.grads[name], layer.params[name]
    m = slots["m"][name] = beta1 * slots["m"][name] + (1 - beta1) * g
    v = slots["v"][name] = beta2 * slots["v"][name] + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    w -= lr * m_hat / (np.sqrt(v_hat) + eps)


def init(seed=0, optimizer="sgd"):
    net = ResNet18(np.random.default_rng(seed))
    slots = [
        {kind: {n: np.zeros_like(w) for n, w in layer.params.items()} for kind in ("m", "v")}
        for layer in net.layers
    ]
    return {"net": net, "slots": slots, "update": optimizer, "step": 0}


def train_step(state, batch, lr):
    net = state["net"]
    loss, dlogits = softmax_cross_entropy(net.forward(batch["image"]), batch["label"])
    net.backward(dlogits)
    state["step"] += 1
    update = adam if state["update"] == "adam" else sgd
    for layer, slots in zip(net.layers, state["slots"], strict=False):
        for name in layer.params:
            update(layer, name, slots, np.float32(lr), state["step"])
    return state, {"loss": loss}
