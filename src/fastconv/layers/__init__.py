"""Layers: what has parameters, and what makes, changes and stores them."""

from ._parameter import Parameter

__all__ = ["Parameter"]
