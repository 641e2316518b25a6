"""The summary of a model: output shapes, parameters and operations, layer by layer."""

from dlspec.summary.count import Layer, Summary, number, summarise

__all__ = ["Layer", "Summary", "number", "summarise"]
