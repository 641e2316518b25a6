"""Weights and their gradients as views of two flat buffers."""

import numpy as np


class Array:
    """Shape and first value of one array of a `Weights`."""

    def __init__(self, shape, draw, trainable=True):
        self.shape, self.draw, self.trainable = tuple(shape), draw, trainable


class Weights:
    """The arrays of one layer. `w.name` is the array; `w.d_name` its gradient if it is trained."""

    def __init__(self, **arrays):
        self.arrays = arrays


def layers(module, path=""):
    """(path, Weights) of everything below, in the order of creation."""
    if isinstance(module, Weights):
        yield path, module
        return
    children = enumerate(module) if isinstance(module, list) else vars(module).items()
    segments = getattr(module, "segments", {})
    for name, child in children:
        if isinstance(child, list) or hasattr(child, "__dict__"):
            segment = str(segments.get(name, name))
            yield from layers(child, f"{path}.{segment}" if path else segment)


def arrays(module, buffers=True):
    """(path, name, Weights) of every array below, of the buffers only when asked for."""
    for path, layer in layers(module):
        for name, array in layer.arrays.items():
            if array.trainable or buffers:
                yield (f"{path}.{name}" if name != "value" else path), name, layer


def allocate(module, dtype):
    """Gives every array its place. Returns the flat buffers of weights and of gradients."""
    trained = list(arrays(module, buffers=False))
    size = sum(int(np.prod(layer.arrays[name].shape)) for _, name, layer in trained)
    weights, grads = np.zeros(size, dtype), np.zeros(size, dtype)
    start = 0
    for _, name, layer in arrays(module):
        array = layer.arrays[name]
        if not array.trainable:
            setattr(layer, name, np.zeros(array.shape, dtype))
            continue
        stop = start + int(np.prod(array.shape))
        setattr(layer, name, weights[start:stop].reshape(array.shape))
        setattr(layer, f"d_{name}", grads[start:stop].reshape(array.shape))
        start = stop
    return weights, grads


def draw(module, seed):
    """Draws every array's first value."""
    rng = np.random.default_rng(seed)
    for _, name, layer in arrays(module):
        array = layer.arrays[name]
        getattr(layer, name)[...] = array.draw(rng, array.shape)


def span_of(module, part):
    """The slice of the flat buffers that holds the weights of `part` of `module`."""
    inside = {id(layer) for _, layer in layers(part)}
    start = stop = None
    position = 0
    for _, name, layer in arrays(module, buffers=False):
        end = position + getattr(layer, name).size
        if id(layer) in inside:
            start, stop = position if start is None else start, end
        position = end
    return slice(start or 0, stop or 0)


def named(module):
    """Every array below by its path."""
    return {path: getattr(layer, name) for path, name, layer in arrays(module)}


def copy_weights(source, target):
    """Copies arrays into those of a module, by path. Raises where names or shapes differ."""
    own = named(target)
    if missing := sorted(own.keys() - source.keys()):
        raise KeyError(f"no weights for {', '.join(missing)}")
    if unknown := sorted(source.keys() - own.keys()):
        raise KeyError(f"nothing is called {', '.join(unknown)}")
    for path, array in own.items():
        given = np.asarray(source[path])
        if given.shape != array.shape:
            raise ValueError(f"{path}: shape {given.shape}, but it must be {array.shape}")
        array[...] = given
