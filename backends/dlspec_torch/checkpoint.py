"""Tensors of torch's own files: `python -m dlspec_torch.checkpoint FILE OUT.npz`.

Nothing but tensors is ever read of a file (`weights_only`). What is wrong is the last line on
standard error.
"""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read(path: str) -> dict[str, NDArray[Any]]:
    """A file's tensors by name, those of its `state_dict` where it has one. Raises ValueError."""
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(str(error).splitlines()[0]) from error
    named = cast("dict[object, Any]", found) if isinstance(found, dict) else {}
    inner = named.get("state_dict", named)
    return {
        str(name): (t.float() if t.dtype is torch.bfloat16 else t).detach().numpy()
        for name, t in inner.items()
        if isinstance(t, torch.Tensor)
    }


def main(path: str, output: str) -> int:
    try:
        tensors = read(path)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    arrays = {f"{i}": array for i, array in enumerate(tensors.values())}
    np.savez(output, names=np.array(list(tensors), dtype=np.str_), **arrays)  # pyright: ignore[reportArgumentType]
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
