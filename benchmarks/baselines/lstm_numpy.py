"""A two-layer LSTM language model in plain vectorised NumPy, its backward pass by hand."""

import numpy as np

VOCAB, HIDDEN, DEPTH = 256, 256, 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(p, x):
    n, t, _ = x.shape
    h = c = np.zeros((n, HIDDEN), np.float32)
    saved, ys = [], []
    for s in range(t):
        gates = x[:, s] @ p["w_x"] + h @ p["w_h"] + p["b"]
        i, f, g, o = np.split(gates, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        before = h, c
        c = f * c + i * g
        tanh_c = np.tanh(c)
        h = o * tanh_c
        saved.append((i, f, g, o, tanh_c, *before))
        ys.append(h)
    return np.stack(ys, axis=1), saved


def lstm_backward(p, grads, x, saved, dy):
    n, t, _ = x.shape
    grads.update({k: np.zeros_like(w) for k, w in p.items()})
    dh = dc = np.zeros((n, HIDDEN), np.float32)
    dx = np.empty_like(x)
    for s in reversed(range(t)):
        i, f, g, o, tanh_c, h, c = saved[s]
        dh = dh + dy[:, s]
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        di, df, dg, do = dc * g, dc * c, dc * i, dh * tanh_c
        d = np.concatenate(
            [di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)], axis=-1
        )
        grads["w_x"] += x[:, s].T @ d
        grads["w_h"] += h.T @ d
        grads["b"] += d.sum(axis=0)
        dx[:, s] = d @ p["w_x"].T
        dh = d @ p["w_h"].T
        dc = dc * f
    return dx


def gradients(p, tokens, labels):
    xs = [p["words"][tokens]]
    saved = []
    for each in p["layers"]:
        y, kept = lstm(each, xs[-1])
        xs.append(y)
        saved.append(kept)
    y = xs[-1]
    logits = y @ p["head"]["w"] + p["head"]["b"]
    z = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(z)
    total = e.sum(axis=-1, keepdims=True)
    places = labels[..., None]
    loss = (np.log(total) - np.take_along_axis(z, places, -1)).mean()
    d = e / total
    np.put_along_axis(d, places, np.take_along_axis(d, places, -1) - 1, -1)
    d /= np.float32(labels.size)
    flat = d.reshape(-1, VOCAB)
    g = {"head": {"w": y.reshape(-1, HIDDEN).T @ flat, "b": flat.sum(axis=0)}}
    dx = d @ p["head"]["w"].T
    g["layers"] = [{} for _ in p["layers"]]
    for k in reversed(range(DEPTH)):
        dx = lstm_backward(p["layers"][k], g["layers"][k], xs[k], saved[k], dx)
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


def adam(params, grads, slots, lr, step, beta1=0.9, beta2=0.999, eps=1e-8):
    for (owner, key, g), slot in zip(pairs(params, grads), slots, strict=True):
        m = slot["m"] = beta1 * slot["m"] + (1 - beta1) * g
        v = slot["v"] = beta2 * slot["v"] + (1 - beta2) * g * g
        m_hat = m / (1 - beta1**step)
        v_hat = v / (1 - beta2**step)
        owner[key] -= lr * m_hat / (np.sqrt(v_hat) + eps)


def init(seed=0, optimizer="adam"):
    rng = np.random.default_rng(seed)

    def uniform(*shape):
        bound = HIDDEN**-0.5
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    params = {
        "words": rng.standard_normal((VOCAB, HIDDEN)).astype(np.float32),
        "layers": [
            {
                "w_x": uniform(HIDDEN, 4 * HIDDEN),
                "w_h": uniform(HIDDEN, 4 * HIDDEN),
                "b": uniform(4 * HIDDEN),
            }
            for _ in range(DEPTH)
        ],
        "head": {"w": uniform(HIDDEN, VOCAB), "b": uniform(VOCAB)},
    }
    slots = [
        {"m": np.zeros_like(w), "v": np.zeros_like(w)}
        for w in (owner[key] for owner, key, _ in pairs(params, params))
    ]
    return {"params": params, "slots": slots, "step": 0}


def train_step(state, batch, lr):
    loss, grads = gradients(state["params"], batch["tokens"], batch["next"])
    state["step"] += 1
    adam(state["params"], grads, state["slots"], np.float32(lr), state["step"])
    return state, {"loss": loss}
