"""What a process keeps of its memory."""

import ctypes


def keep_memory() -> None:
    """Large arrays that are freed stay with the process for the next call, where the C library is
    glibc: to give memory back and ask for it anew costs a page fault every 4 KiB."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
