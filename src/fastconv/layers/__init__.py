"""Layers: what has parameters, and what makes, changes and stores them."""

from ._conv import Conv, Conv1d, Conv2d, Conv3d, ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ._info import Info
from ._parameter import Parameter
from ._sequential import Chain, Sequential
from .optimizers import SGD, Adam

__all__ = [
    "SGD",
    "Adam",
    "Chain",
    "Conv",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Info",
    "Parameter",
    "Sequential",
]
