"""What torch's recurrent layers lack: one bias, steps that are not there, dropout from outside."""

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def one_bias(rnn):
    """The layer with its second biases fixed at zero: neither parameters nor in its state."""
    names = [name for name, _ in rnn.named_parameters() if name.startswith("bias_hh")]
    for name in names:
        zeros = torch.zeros_like(getattr(rnn, name))
        delattr(rnn, name)
        rnn.register_buffer(name, zeros, persistent=False)
    return rnn.to(zeros.dtype)  # so that it looks up its weights again


def where_there(rnn, x, mask, state=None):
    """rnn over the steps that are there; the others keep the state and give 0."""
    steps = x.shape[1]
    order = mask.int().argsort(
        dim=1, descending=True, stable=True
    )  # those that are there come first
    counts = mask.sum(1)
    moved = x.gather(1, order[..., None].expand(x.shape))
    packed = pack_padded_sequence(
        moved, counts.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
    )
    y, last = rnn(packed, state)
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=steps)
    y = torch.zeros_like(y).scatter(1, order[..., None].expand(y.shape), y)
    some = (counts > 0)[:, None]
    return torch.where(mask[..., None], y, 0), kept(some, last, state)


def kept(some, last, state):
    """The states that a sequence without any step keeps."""
    if isinstance(last, tuple):
        return tuple(kept(some, *pair) for pair in zip(last, state or (None,) * len(last)))
    return torch.where(some, last, 0 if state is None else state)


def layer_of(rnn, k):
    """Layer k of rnn, as a function that is called like it."""
    ways = 2 if rnn.bidirectional else 1
    weights = [w for cell in rnn.all_weights[k * ways : (k + 1) * ways] for w in cell]
    output = getattr(rnn, "proj_size", 0) or rnn.hidden_size
    sizes = (output, rnn.hidden_size) if rnn.mode == "LSTM" else (output,)
    settings = (rnn.bias, 1, 0.0, rnn.training, rnn.bidirectional)

    def run(x, state=None):
        packed = isinstance(x, PackedSequence)
        rows = x.data if packed else x
        batch = int(x.batch_sizes[0]) if packed else len(x)
        if state is None:
            state = tuple(rows.new_zeros(ways, batch, size) for size in sizes)
        elif isinstance(state, torch.Tensor):
            state = (state,)
        if packed and x.sorted_indices is not None:
            state = tuple(s.index_select(1, x.sorted_indices) for s in state)
        given = [*state] if rnn.mode == "LSTM" else state[0]
        function = getattr(torch, rnn.mode.lower())
        if not packed:
            y, *last = function(rows, given, weights, *settings, True)
            return y, tuple(last) if len(last) > 1 else last[0]
        rows, *last = function(rows, x.batch_sizes, given, weights, *settings)
        last = tuple(s.index_select(1, x.unsorted_indices) for s in last)
        y = PackedSequence(rows, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        return y, last if len(last) > 1 else last[0]

    return run
