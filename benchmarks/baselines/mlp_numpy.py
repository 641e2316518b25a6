"""A 784-128-64-10 perceptron, the vectorised NumPy textbook version."""

import numpy as np


def uniform(rng, shape, fan_in):
    bound = fan_in**-0.5
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def softmax_cross_entropy(logits, label):
    n = len(label)
    z = logits - logits.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(n), label].mean()
    dlogits = np.exp(log_p)
    dlogits[np.arange(n), label] -= 1
    return loss, dlogits / np.float32(n)


def gradients(p, x, label):
    h1 = np.maximum(x @ p["w1"].T + p["b1"], 0)
    h2 = np.maximum(h1 @ p["w2"].T + p["b2"], 0)
    loss, d = softmax_cross_entropy(h2 @ p["w3"].T + p["b3"], label)
    g = {"w3": d.T @ h2, "b3": d.sum(axis=0)}
    d = (d @ p["w3"]) * (h2 > 0)
    g["w2"], g["b2"] = d.T @ h1, d.sum(axis=0)
    d = (d @ p["w2"]) * (h1 > 0)
    g["w1"], g["b1"] = d.T @ x, d.sum(axis=0)
    return loss, g


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
    params = {}
    for i, (features, fan_in) in enumerate([(128, 784), (64, 128), (10, 64)], 1):
        params[f"w{i}"] = uniform(rng, (features, fan_in), fan_in)
        params[f"b{i}"] = uniform(rng, (features,), fan_in)
    slots = {kind: {n: np.zeros_like(w) for n, w in params.items()} for kind in ("m", "v")}
    return {"params": params, "slots": slots, "update": optimizer, "step": 0}


def train_step(state, batch, lr):
    params = state["params"]
    loss, grads = gradients(params, batch["image"], batch["label"])
    state["step"] += 1
    update = adam if state["update"] == "adam" else sgd
    update(params, grads, state["slots"], np.float32(lr), state["step"])
    return state, {"loss": loss}
