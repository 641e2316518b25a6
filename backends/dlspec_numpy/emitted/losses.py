"""Cross-entropy (the usual form; variants are written out) and its gradient."""

import numpy as np

from dlspec_numpy.emitted.tensors import log_softmax, softmax


def cross_entropy(logits, labels):
    """The mean of -ln softmax(logits)[label]. logits [..., K], labels [...]."""
    return -np.take_along_axis(log_softmax(logits), labels[..., None], axis=-1).mean()


def cross_entropy_grad(logits, labels, dloss):
    """(softmax(logits) - onehot(labels)) dloss / number of labels."""
    d = softmax(logits)
    index = labels[..., None]
    np.put_along_axis(d, index, np.take_along_axis(d, index, axis=-1) - 1, axis=-1)
    d *= dloss / labels.size
    return d
