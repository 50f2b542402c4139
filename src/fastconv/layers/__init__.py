"""Layers: what has parameters, and what makes, changes and stores them."""

from ._parameter import Parameter
from .optimizers import SGD, Adam

__all__ = ["SGD", "Adam", "Parameter"]
