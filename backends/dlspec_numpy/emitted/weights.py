"""Weights and their gradients as views of two flat buffers."""

import ctypes

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
    children = dict(enumerate(module)) if isinstance(module, list) else module
    if not isinstance(children, dict):
        children = vars(module)
    segments = getattr(module, "segments", {})
    for name, child in children.items():
        if name != "segments" and (isinstance(child, list | dict) or hasattr(child, "__dict__")):
            segment = str(segments.get(name, name))
            yield from layers(child, f"{path}.{segment}" if path else segment)


def arrays(module, buffers=True):
    """(path, name, Weights) of every array below, of the buffers only when asked for."""
    for path, layer in layers(module):
        for name, array in layer.arrays.items():
            if array.trainable or buffers:
                yield (f"{path}.{name}" if name != "value" else path), name, layer


def set_dtype(module, dtype):
    """Tells the element type to all below that make arrays from nothing."""
    children = module if isinstance(module, list) else getattr(module, "__dict__", module)
    if isinstance(children, dict):
        if "dtype" in children:
            module.dtype = dtype
        children = children.values()
    for child in children:
        if isinstance(child, list | dict) or hasattr(child, "__dict__"):
            set_dtype(child, dtype)


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


def place(module, dtype):
    """Gives every array its place, and none to gradients."""
    for _, name, layer in arrays(module):
        setattr(layer, name, np.zeros(layer.arrays[name].shape, dtype))


def keep_memory():
    """Large arrays that are freed stay with the process for the next step, where the C library
    is glibc: to give memory back and ask for it anew costs a page fault every 4 KiB."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def draw(module, seed):
    """Draws every array's first value."""
    rng = np.random.default_rng(seed)
    for _, name, layer in arrays(module):
        array = layer.arrays[name]
        getattr(layer, name)[...] = array.draw(rng, array.shape)


def span_of(module, path):
    """The slice of the flat buffers that holds the weights at or below a path of `module`."""
    start = stop = position = 0
    for found, name, layer in arrays(module, buffers=False):
        end = position + getattr(layer, name).size
        if within(found, (path,)):
            start, stop = start if stop else position, end
        position = end
    return slice(start, stop)


def within(path, others):
    """Whether a path is one of others, or below one."""
    return any(not other or f"{path}.".startswith(f"{other}.") for other in others)


class State:
    """A network, its weights and gradients as flat buffers, and what trains them."""

    def __init__(self, network, weights, grads, optimizers=()):
        self.network, self.weights, self.grads = network, weights, grads
        self.optimizers = optimizers
        self.dtype = weights.dtype


class Inference:
    """A network that is never trained, and the type it computes in."""

    def __init__(self, network, dtype):
        self.network, self.dtype = network, np.dtype(dtype)


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


def buffers(module):
    """Copies of all arrays that are not trained."""
    trained = {path for path, _, _ in arrays(module, buffers=False)}
    return {path: array.copy() for path, array in named(module).items() if path not in trained}


def restore(module, kept):
    """Puts copies of buffers back."""
    own = named(module)
    for path, array in kept.items():
        own[path][...] = array


def named_gradients(module):
    """A copy of the gradient of every trained weight, by path."""
    trained = arrays(module, buffers=False)
    return {path: getattr(layer, f"d_{name}").copy() for path, name, layer in trained}


def optimizer_views(state, module):
    """(slot/path, view) of every array of the optimizers."""
    places = {}
    start = 0
    for _, name, layer in arrays(state.network, buffers=False):
        size = getattr(layer, name).size
        places[id(layer), name] = slice(start, start + size)
        start += size
    for optimizer in state.optimizers:
        first, stop, _ = optimizer.part.indices(state.weights.size)
        for path, name, layer in arrays(module, buffers=False):
            place = places[id(layer), name]
            if first <= place.start and place.stop <= stop:
                inside = slice(place.start - first, place.stop - first)
                for slot, flat in optimizer.slots.items():
                    yield f"{slot}/{path}", flat[inside].reshape(getattr(layer, name).shape)


def optimizer_arrays(state, module):
    """Copies of the optimizers' arrays and their step."""
    found = {key: view.copy() for key, view in optimizer_views(state, module)}
    return {"step": np.asarray(max(o.step for o in state.optimizers)), **found}


def set_optimizer_arrays(state, module, arrays):
    """Copies arrays into the optimizers."""
    for optimizer in state.optimizers:
        optimizer.step = int(arrays["step"])
    for key, view in optimizer_views(state, module):
        view[...] = arrays[key]
