"""A GPT of 6 pre-norm layers in plain vectorised NumPy, its backward pass written by hand."""

import math

import numpy as np

VOCAB, D, HEADS, DEPTH, CONTEXT = 256, 384, 6, 6, 256


def erf(x):
    """Abramowitz and Stegun 7.1.26: an error of 1.5e-7."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    polynomial = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    return np.sign(x) * (1 - polynomial * np.exp(-x * x))


def dense(p, x):
    return x @ p["w"] + p["b"]


def dense_backward(p, g, x, dy):
    g["w"] = x.reshape(-1, x.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])
    g["b"] = dy.sum(axis=(0, 1))
    return dy @ p["w"].T


def norm(p, x, eps=1e-5):
    centred = x - x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)
    unit = centred * rstd
    return unit * p["scale"] + p["shift"], (unit, rstd)


def norm_backward(p, g, saved, dy):
    unit, rstd = saved
    g["scale"] = (dy * unit).sum(axis=(0, 1))
    g["shift"] = dy.sum(axis=(0, 1))
    du = dy * p["scale"]
    return rstd * (
        du - du.mean(axis=-1, keepdims=True) - unit * (du * unit).mean(axis=-1, keepdims=True)
    )


def gelu(x):
    cdf = 0.5 * (1 + erf(x * np.float32(math.sqrt(0.5))))
    return x * cdf, cdf


def gelu_backward(x, cdf, dy):
    pdf = np.exp(-0.5 * x * x) * np.float32(1 / math.sqrt(2 * math.pi))
    return dy * (cdf + x * pdf)


def heads(x):
    n, t, _ = x.shape
    return x.reshape(n, t, HEADS, D // HEADS).transpose(0, 2, 1, 3)


def joined(x):
    n, _, t, _ = x.shape
    return x.transpose(0, 2, 1, 3).reshape(n, t, D)


def attention(p, x):
    t = x.shape[1]
    q, k, v = map(heads, np.split(dense(p["qkv"], x), 3, axis=-1))
    scale = np.float32((D // HEADS) ** -0.5)
    scores = q @ k.swapaxes(-1, -2) * scale
    scores = np.where(np.tri(t, dtype=bool), scores, np.float32(-np.inf))
    w = np.exp(scores - scores.max(axis=-1, keepdims=True))
    w /= w.sum(axis=-1, keepdims=True)
    y = joined(w @ v)
    return dense(p["out"], y), (x, q, k, v, w, y)


def attention_backward(p, g, saved, dy):
    x, q, k, v, w, y = saved
    g["qkv"], g["out"] = {}, {}
    dy = heads(dense_backward(p["out"], g["out"], y, dy))
    dv = w.swapaxes(-1, -2) @ dy
    dw = dy @ v.swapaxes(-1, -2)
    ds = w * (dw - (dw * w).sum(axis=-1, keepdims=True)) * np.float32((D // HEADS) ** -0.5)
    dq, dk = ds @ k, ds.swapaxes(-1, -2) @ q
    dqkv = np.concatenate([joined(dq), joined(dk), joined(dv)], axis=-1)
    return dense_backward(p["qkv"], g["qkv"], x, dqkv)


def layer(p, x):
    a, norm1 = norm(p["norm1"], x)
    y, attended = attention(p["attention"], a)
    h = x + y
    b, norm2 = norm(p["norm2"], h)
    u = dense(p["up"], b)
    z, cdf = gelu(u)
    return h + dense(p["down"], z), (norm1, attended, norm2, b, u, z, cdf)


def layer_backward(p, g, saved, dy):
    norm1, attended, norm2, b, u, z, cdf = saved
    for name in ("norm1", "attention", "norm2", "up", "down"):
        g[name] = {}
    dz = dense_backward(p["down"], g["down"], z, dy)
    du = gelu_backward(u, cdf, dz)
    dh = dy + norm_backward(p["norm2"], g["norm2"], norm2, dense_backward(p["up"], g["up"], b, du))
    da = attention_backward(p["attention"], g["attention"], attended, dh)
    return dh + norm_backward(p["norm1"], g["norm1"], norm1, da)


def gradients(p, tokens, labels):
    t = tokens.shape[1]
    x = p["words"][tokens] + p["places"][:t]
    saved = []
    for each in p["layers"]:
        x, kept = layer(each, x)
        saved.append(kept)
    y, final = norm(p["final"], x)
    logits = y @ p["head"]
    z = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(z)
    total = e.sum(axis=-1, keepdims=True)
    chosen = np.take_along_axis(z, labels[..., None], -1)
    loss = (np.log(total) - chosen).mean()
    d = e / total
    np.put_along_axis(d, labels[..., None], np.take_along_axis(d, labels[..., None], -1) - 1, -1)
    d /= np.float32(labels.size)
    g = {"head": y.reshape(-1, D).T @ d.reshape(-1, VOCAB), "final": {}, "layers": []}
    dx = norm_backward(p["final"], g["final"], final, d @ p["head"].T)
    for each, kept in zip(reversed(p["layers"]), reversed(saved), strict=True):
        of_layer = {}
        dx = layer_backward(each, of_layer, kept, dx)
        g["layers"].insert(0, of_layer)
    g["places"] = np.zeros_like(p["places"])
    g["places"][:t] = dx.sum(axis=0)
    g["words"] = np.zeros_like(p["words"])
    np.add.at(g["words"], tokens, dx)
    return loss, g


def pairs(params, grads):
    """(owner, key, gradient) of every weight."""
    for key, item in params.items() if isinstance(params, dict) else enumerate(params):
        if isinstance(item, dict | list):
            yield from pairs(item, grads[key])
        else:
            yield params, key, grads[key]


def adamw(params, grads, slots, lr, step, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    for (owner, key, g), slot in zip(pairs(params, grads), slots, strict=True):
        w = owner[key]
        w *= 1 - lr * np.float32(decay)
        m = slot["m"] = beta1 * slot["m"] + (1 - beta1) * g
        v = slot["v"] = beta2 * slot["v"] + (1 - beta2) * g * g
        m_hat = m / (1 - beta1**step)
        v_hat = v / (1 - beta2**step)
        w -= lr * m_hat / (np.sqrt(v_hat) + eps)


def init(seed=0, optimizer="adamw"):
    rng = np.random.default_rng(seed)

    def uniform(*shape):
        bound = shape[0] ** -0.5
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    def linear(rows, columns):
        return {"w": uniform(rows, columns), "b": np.zeros(columns, np.float32)}

    def ones():
        return {"scale": np.ones(D, np.float32), "shift": np.zeros(D, np.float32)}

    params = {
        "words": rng.standard_normal((VOCAB, D)).astype(np.float32),
        "places": np.float32(0.02) * rng.standard_normal((CONTEXT, D)).astype(np.float32),
        "layers": [
            {
                "norm1": ones(),
                "attention": {"qkv": linear(D, 3 * D), "out": linear(D, D)},
                "norm2": ones(),
                "up": linear(D, 4 * D),
                "down": linear(4 * D, D),
            }
            for _ in range(DEPTH)
        ],
        "final": ones(),
        "head": uniform(D, VOCAB),
    }
    slots = [
        {"m": np.zeros_like(w), "v": np.zeros_like(w)}
        for w in (owner[key] for owner, key, _ in pairs(params, params))
    ]
    return {"params": params, "slots": slots, "step": 0}


def train_step(state, batch, lr):
    loss, grads = gradients(state["params"], batch["tokens"], batch["next"])
    state["step"] += 1
    adamw(state["params"], grads, state["slots"], np.float32(lr), state["step"])
    return state, {"loss": loss}
