"""LeNet-5 (LeCun et al. 1998, tanh and max pooling), the vectorised NumPy textbook version.

Convolution is im2col (NCHW, `sliding_window_view`) and one GEMM; max pooling a reshape and a max.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def uniform(rng, shape, fan_in):
    bound = fan_in**-0.5
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def conv_forward(x, w, b, padding):
    """x [N, C, H, W], w [O, C, K, K]. Returns y and the columns [N·H'·W', C·K·K]."""
    n = x.shape[0]
    o, c, k, _ = w.shape
    if padding:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, (k, k), axis=(2, 3))  # [N, C, H', W', K, K]
    height, width = windows.shape[2:4]
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * height * width, c * k * k)
    y = columns @ w.reshape(o, -1).T + b
    return y.reshape(n, height, width, o).transpose(0, 3, 1, 2), columns


def conv_backward(dy, columns, w):
    """Gradients of w and b, and of the columns' source through dy as rows."""
    o = w.shape[0]
    rows = dy.transpose(0, 2, 3, 1).reshape(-1, o)
    dw = (rows.T @ columns).reshape(w.shape)
    return dw, rows.sum(axis=0), rows


def conv_backward_input(rows, w, shape):
    """col2im: adds each window's gradient to where it came from. shape: of x, no padding."""
    n, c, height, width = shape
    k = w.shape[2]
    out_h, out_w = height - k + 1, width - k + 1
    columns = (rows @ w.reshape(w.shape[0], -1)).reshape(n, out_h, out_w, c, k, k)
    columns = columns.transpose(0, 3, 4, 5, 1, 2)  # [N, C, K, K, H', W']
    dx = np.zeros(shape, np.float32)
    for i in range(k):
        for j in range(k):
            dx[:, :, i : i + out_h, j : j + out_w] += columns[:, :, i, j]
    return dx


def pool_forward(x):
    """2×2 max pooling. Returns y and where each maximum stood."""
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
    y = blocks.max(axis=(3, 5))
    return y, blocks == y[:, :, :, None, :, None]


def pool_backward(dy, mask):
    n, c, h, _, w, _ = mask.shape
    return (mask * dy[:, :, :, None, :, None]).reshape(n, c, 2 * h, 2 * w)


def softmax_cross_entropy(logits, label):
    n = len(label)
    z = logits - logits.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(n), label].mean()
    dlogits = np.exp(log_p)
    dlogits[np.arange(n), label] -= 1
    return loss, dlogits / np.float32(n)


def forward(p, x):
    a1, col1 = conv_forward(x, p["w1"], p["b1"], padding=2)
    a1 = np.tanh(a1)
    p1, mask1 = pool_forward(a1)
    a2, col2 = conv_forward(p1, p["w2"], p["b2"], padding=0)
    a2 = np.tanh(a2)
    p2, mask2 = pool_forward(a2)
    flat = p2.reshape(len(x), -1)
    h1 = np.tanh(flat @ p["w3"].T + p["b3"])
    h2 = np.tanh(h1 @ p["w4"].T + p["b4"])
    logits = h2 @ p["w5"].T + p["b5"]
    return logits, (col1, a1, mask1, p1.shape, col2, a2, mask2, p2.shape, flat, h1, h2)


def backward(p, dlogits, saved):
    col1, a1, mask1, p1_shape, col2, a2, mask2, p2_shape, flat, h1, h2 = saved
    g = {"w5": dlogits.T @ h2, "b5": dlogits.sum(axis=0)}
    d = (dlogits @ p["w5"]) * (1 - h2 * h2)
    g["w4"], g["b4"] = d.T @ h1, d.sum(axis=0)
    d = (d @ p["w4"]) * (1 - h1 * h1)
    g["w3"], g["b3"] = d.T @ flat, d.sum(axis=0)
    d = (d @ p["w3"]).reshape(p2_shape)
    d = pool_backward(d, mask2) * (1 - a2 * a2)
    g["w2"], g["b2"], rows = conv_backward(d, col2, p["w2"])
    d = conv_backward_input(rows, p["w2"], p1_shape)
    d = pool_backward(d, mask1) * (1 - a1 * a1)
    g["w1"], g["b1"], _ = conv_backward(d, col1, p["w1"])
    return g


def sgd(params, grads, slots, lr, step):
    for name, w in params.items():
        v = slots["m"][name]
        v *= 0.9
        v += grads[name]
        w -= lr * v


def adam(params, grads, slots, lr, step, beta1=0.9, beta2=0.999, eps=1e-8):
    for name, w in params.items():
        g = grads[name]
        m = slots["m"][name] = beta1 * slots["m"][name] + (1 - beta1) * g
        v = slots["v"][name] = beta2 * slots["v"][name] + (1 - beta2) * g * g
        m_hat = m / (1 - beta1**step)
        v_hat = v / (1 - beta2**step)
        w -= lr * m_hat / (np.sqrt(v_hat) + eps)


def init(seed=0, optimizer="sgd"):
    rng = np.random.default_rng(seed)
    shapes = [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]
    params = {}
    for i, shape in enumerate(shapes, 1):
        fan_in = int(np.prod(shape[1:]))
        params[f"w{i}"] = uniform(rng, shape, fan_in)
        params[f"b{i}"] = uniform(rng, shape[:1], fan_in)
    slots = {kind: {n: np.zeros_like(w) for n, w in params.items()} for kind in ("m", "v")}
    return {"params": params, "slots": slots, "update": optimizer, "step": 0}


def train_step(state, batch, lr):
    params = state["params"]
    logits, saved = forward(params, batch["image"])
    loss, dlogits = softmax_cross_entropy(logits, batch["label"])
    grads = backward(params, dlogits, saved)
    state["step"] += 1
    update = adam if state["update"] == "adam" else sgd
    update(params, grads, state["slots"], np.float32(lr), state["step"])
    return state, {"loss": loss}
