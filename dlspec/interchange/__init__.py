"""The IR as JSON, and back: `dump(graph)`, `load(text)`.

A document holds the functions callees first, each with its own tables of values and slots; the
texts that spans point into travel with it. Loading validates the form (pydantic), then the graph
(`passes.verifier`).
"""

from dlspec.interchange.reader import load
from dlspec.interchange.writer import dump

__all__ = ["dump", "load"]
