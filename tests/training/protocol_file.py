"""A two-layer network for digits by hand, on the protocol that every emitted file follows."""

import numpy as np

SHAPES = {"hidden.weight": (32, 64), "hidden.bias": (32,), "head.weight": (10, 32),
          "head.bias": (10,)}  # fmt: skip
MOMENTUM = 0.9


def init(seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    weights = {k: (0.1 * rng.standard_normal(s)).astype(dtype) for k, s in SHAPES.items()}
    return weights, {k: np.zeros_like(w) for k, w in weights.items()}, 0


def _forward(weights, image):
    x = image.reshape(len(image), -1)
    h = np.tanh(x @ weights["hidden.weight"].T + weights["hidden.bias"])
    return x, h, h @ weights["head.weight"].T + weights["head.bias"]


def _metrics(logits, label):
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -logs[np.arange(len(label)), label].mean()
    return {"loss": loss, "accuracy": (logits.argmax(axis=1) == label).mean()}, np.exp(logs)


def gradients(state, batch, *, seed=0, step=0):
    weights, _, _ = state
    image, label = batch["image"], batch["label"]
    # a draw keyed by seed and step, as dropout would make
    keep = np.random.default_rng([seed, step]).random((len(image), 1)) < 0.9
    image = image * keep.reshape(-1, 1, 1, 1)
    x, h, logits = _forward(weights, image)
    metrics, probabilities = _metrics(logits, label)
    d = probabilities.astype(x.dtype)
    d[np.arange(len(label)), label] -= 1
    d /= len(label)
    dh = (d @ weights["head.weight"]) * (1 - h * h)
    return metrics, {
        "hidden.weight": dh.T @ x,
        "hidden.bias": dh.sum(axis=0),
        "head.weight": d.T @ h,
        "head.bias": d.sum(axis=0),
    }


def train_step(state, batch, lr, *, seed=0, step=0):
    metrics, grads = gradients(state, batch, seed=seed, step=step)
    weights, momentum, count = state
    moved = {k: MOMENTUM * momentum[k] + grads[k] for k in grads}
    weights = {k: (w - lr * moved[k]).astype(w.dtype) for k, w in weights.items()}
    return (weights, moved, count + 1), metrics


def evaluate(state, batch):
    return _metrics(_forward(state[0], batch["image"])[2], batch["label"])[0]


def predict(state, image):
    return _forward(state[0], image)[2]


def export_weights(state):
    return dict(state[0])


def import_weights(state, weights):
    dtype = state[0]["head.bias"].dtype
    cast = {k: np.array(w, dtype) for k, w in weights.items()}
    return cast, {k: np.zeros_like(w) for k, w in cast.items()}, 0


def export_optimizer(state):
    return {"step": np.array(state[2]), **{f"momentum/{k}": v for k, v in state[1].items()}}


def import_optimizer(state, arrays):
    return state[0], {k: arrays[f"momentum/{k}"] for k in state[1]}, int(arrays["step"])
