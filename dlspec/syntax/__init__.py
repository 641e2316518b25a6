"""Syntax: from text to tree, and back."""

from dlspec.syntax.parser import parse, parse_expression

__all__ = ["parse", "parse_expression"]
