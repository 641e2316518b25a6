"""What lies between two values of a body, for backends that write it out as a function."""

from dlspec.passes.paths import gradients, path, watched_weights

__all__ = ["gradients", "path", "watched_weights"]
