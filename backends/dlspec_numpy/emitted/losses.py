"""Cross-entropy (the usual form; variants are written out) and its gradient."""

import numpy as np


def cross_entropy(logits, labels):
    """The mean of -ln softmax(logits)[label]. logits [..., K], labels [...]."""
    rows = logits.reshape(-1, logits.shape[-1])
    z = rows - rows.max(axis=1, keepdims=True)
    chosen = z[np.arange(len(z)), labels.reshape(-1)]
    return (np.log(np.exp(z).sum(axis=1)) - chosen).sum() / labels.size


def cross_entropy_grad(logits, labels, dloss):
    """(softmax(logits) - onehot(labels)) dloss / number of labels."""
    rows = logits.reshape(-1, logits.shape[-1])
    d = np.exp(rows - rows.max(axis=1, keepdims=True))
    factor = dloss / labels.size
    d *= factor / d.sum(axis=1, keepdims=True)
    d[np.arange(len(d)), labels.reshape(-1)] -= factor
    return d.reshape(logits.shape)


def cross_entropy_with_gradient(logits, labels):
    """`cross_entropy` and its gradient for the logits, with one softmax for both."""
    rows = logits.reshape(-1, logits.shape[-1])
    z = rows - rows.max(axis=1, keepdims=True)
    d = np.exp(z)
    total = d.sum(axis=1, keepdims=True)
    chosen = np.arange(len(z)), labels.reshape(-1)
    loss = (np.log(total[:, 0]) - z[chosen]).sum() / labels.size
    d /= total * labels.size
    d[chosen] -= 1 / labels.size
    return loss, d.reshape(logits.shape)
