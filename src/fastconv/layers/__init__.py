"""Layers: what has parameters, and what makes, changes and stores them.

A layer (``_conv.py``, ``_convolution.py``) holds `Parameter` objects (``_parameter.py``), given to it or made by
initialisers (``_sources.py``), and calls the public functions with them. What the way back needs is kept by the
function that ``vjp`` returns (``_vjp.py``), so that a layer stays as it is whoever calls it. A chain
(``_sequential.py``) does the same with its layers. Optimisers (``optimizers.py``) and states (``_state.py``) know
parameters only.
"""

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
