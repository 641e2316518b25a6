"""Definitions that files of every backend copy: plain NumPy, on the host."""
