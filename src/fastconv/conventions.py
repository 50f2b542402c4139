"""Weights that come from elsewhere: how other systems lay them out, and how they become ours.

The table `CONVENTIONS` says all that differs. ``docs/conventions.md`` puts the systems' other options beside ours.

>>> import numpy as np, fastconv
>>> kernel = np.zeros((3, 3, 16, 32))                                    # as Keras keeps it: height, width, in, out
>>> fastconv.conventions.convert_weight(kernel, "keras").shape
(32, 16, 3, 3)
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ._arrays import as_array
from ._errors import flag, integer, one_of
from ._files import as_path, reading
from .layers._state import READERS, by_suffix, load_state

__all__ = ["CONVENTIONS", "Convention", "convert_bias", "convert_weight", "load_weights"]


@dataclass(frozen=True)
class Convention:
    """How a system lays out weights.

    `weight` and `transposed` name the axes of the weights of convolutions and of transposed convolutions: ``"*"``
    stands for the spatial ones, ``"groups"`` for an axis that counts groups. `transposed` is None where there are none.
    `flip_kernel` is what the weights want here, under that system's defaults. `drops_ones` is True where axes of size 1
    at the end of an array are lost.
    """

    weight: str
    transposed: str | None
    flip_kernel: bool = False
    drops_ones: bool = False


CONVENTIONS = {
    "pytorch": Convention("out in *", "in out *"),
    "keras": Convention("* in out", "* out in"),
    "keras-depthwise": Convention("* groups out", None),
    "neupy": Convention("* in out", "* out in"),
    "matlab": Convention("* in out groups", "* out in", drops_ones=True),
    "lasagne": Convention("out in *", "in out *", flip_kernel=True),
    "lasagne-dilated": Convention("in out *", None),
    "wolfram": Convention("out in *", "in out *"),
}


def convert_weight(weight, convention, *, rank=None, transposed=False, flip_kernel=False, flipped=None):
    """A weight from elsewhere in the layout of this package.

    Parameters
    ----------
    weight : array_like
        Tensors that have ``detach`` are detached first.
    convention : str
        ``"pytorch"``, ``"keras"`` (``"keras-depthwise"`` for its DepthwiseConv), ``"neupy"``, ``"matlab"``,
        ``"lasagne"`` (``"lasagne-dilated"`` for its DilatedConv2DLayer) or ``"wolfram"``.
    rank : int, optional
        Number of spatial axes; by default all axes but two. ``"matlab"`` wants it: MATLAB drops axes of size 1 at the
        end, and its grouped convolutions have an axis more.
    transposed : bool
        Whether this is the weight of a transposed convolution.
    flip_kernel : bool
        The `flip_kernel` with which the result will be used; the kernel is turned round where that needs it.
    flipped : bool, optional
        The `flip_kernel` that the weight would want as it is, where that is not its system's default: for Lasagne's
        convolutions the layer's ``flip_filters``, for its transposed ones ``not flip_filters``.

    Returns
    -------
    ndarray
        A new array: ``(out_channels, in_channels // groups, *kernel)``, of a transposed convolution
        ``(in_channels, out_channels // groups, *kernel)``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.conventions import convert_weight
    >>> convert_weight(np.zeros((3, 5, 1, 4, 8)), "matlab", rank=2).shape          # 8 groups of 4 channels each
    (32, 1, 3, 5)
    >>> convert_weight([[[1, 2, 3]]], "lasagne")                                   # turned round while it is applied
    array([[[3, 2, 1]]])
    """
    return _weight("weight", weight, convention, rank, transposed, flip_kernel, flipped)


def convert_bias(bias, convention):
    """A bias from elsewhere: MATLAB's as ``(out_channels,)``; the others have that, or our untied shape, already.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.conventions import convert_bias
    >>> convert_bias(np.ones((1, 1, 5)), "matlab").shape
    (5,)
    """
    return _bias("bias", bias, convention)


def load_weights(layer, source, convention, *, names=None, flipped=None):
    """Give a layer, or a Sequential of them, weights that come from elsewhere; where something does not fit, none.

    Parameters
    ----------
    layer : layer or Sequential
        With all shapes settled. Parameters of layers that are no convolutions are taken as they are.
    source : mapping of str to array_like, or path
        Arrays by name: a ``state_dict`` of PyTorch, for example, or what an ``.npz``, ``.safetensors`` or ``.mat`` file
        holds.
    convention : str
        As in `convert_weight`. Where layers of one system differ, as Keras's depthwise ones do, load layer by layer.
    names : mapping of str to str, optional
        For each of the parameters' names, the one in `source`, which may hold more then. Without it, `source` has
        exactly the parameters' names.
    flipped : bool, optional
        As in `convert_weight`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> layer = fastconv.Conv2d(3, 8, (5, 5))
    >>> kernel, bias = np.ones((5, 5, 3, 8), "float32"), np.zeros(8, "float32")    # keras_layer.get_weights()
    >>> fastconv.load_weights(layer, {"weight": kernel, "bias": bias}, "keras")
    >>> layer.weight.shape
    (8, 3, 5, 5)
    """
    parameters = dict(layer.named_parameters())
    if not parameters:
        raise ValueError("layer has no parameters; one whose shapes are not settled yet must be built first")
    arrays = _arrays(source)
    names = {name: name for name in arrays} if names is None else dict(names)
    absent = [f"{theirs!r} for {ours!r}" for ours, theirs in names.items() if theirs not in arrays]
    if absent:
        raise ValueError(f"source has no {', no '.join(absent)}")
    state = {ours: arrays[theirs] for ours, theirs in names.items()}
    for name, parameter in parameters.items():
        if name in state:
            state[name] = _for_layer(layer, name, state[name], parameter, convention, flipped)
    load_state(parameters, state)


def _for_layer(layer, name, array, parameter, convention, flipped):
    """An array that is meant for a parameter, as the layer that has this parameter wants it."""
    *path, kind = name.split(".")
    for part in path:
        layer = layer[part]
    if kind == "weight" and hasattr(layer, "flip_kernel"):  # a convolution
        transposed = hasattr(layer, "output_padding")  # only those have one
        return _weight(name, array, convention, len(parameter.shape) - 2, transposed, layer.flip_kernel, flipped)
    return _bias(name, array, convention) if kind == "bias" else _array(name, array)


def _weight(what, weight, convention, rank, transposed, flip_kernel, flipped):
    array, row = _array(what, weight), one_of("convention", convention, CONVENTIONS)
    layout = row.transposed if flag("transposed", transposed) else row.weight
    if layout is None:
        raise ValueError(f"convention={convention!r} has no transposed convolutions")
    if rank is None and row.drops_ones:
        raise ValueError(f"rank=None with convention={convention!r}; wanted a number, as axes of size 1 may be missing")
    rank = max(1, array.ndim - 2) if rank is None else integer("rank", rank, 1)
    axes = _axes(layout, rank)
    if array.ndim != len(axes) and not (row.drops_ones and array.ndim < len(axes)):
        raise ValueError(f"{what} has shape {array.shape}; wanted the axes {', '.join(axes)}")
    ours = _axes("groups in out *" if transposed else "groups out in *", rank)
    axes += [axis for axis in ours if axis not in axes]
    array = array.reshape(array.shape + (1,) * (len(axes) - array.ndim))
    array = array.transpose([axes.index(axis) for axis in ours])
    array = array.reshape(-1, *array.shape[2:])
    if (row.flip_kernel if flipped is None else flag("flipped", flipped)) != flag("flip_kernel", flip_kernel):
        array = np.flip(array, range(2, array.ndim))
    return array.copy()


def _axes(layout, rank):
    """The axes by name, the spatial ones by number."""
    return layout.replace("*", " ".join(f"spatial{axis}" for axis in range(rank))).split()


def _bias(what, bias, convention):
    array, row = _array(what, bias), one_of("convention", convention, CONVENTIONS)
    # channels of a group run faster than groups, as in our order of channels
    return array.flatten(order="F") if row.drops_ones else array.copy()


def _array(what, value):
    return as_array(what, value.detach() if hasattr(value, "detach") else value)


def _arrays(source):
    """The mapping that `source` is, or that its file holds."""
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, (str, bytes, os.PathLike)):
        raise TypeError(f"source has type {type(source).__name__}; wanted a mapping of names to arrays, or a path")
    path = as_path("source", source)
    with reading(path):
        entries, _ = by_suffix(path, READERS | {".mat": _read_mat})(path)
    return entries


def _read_mat(path):
    from scipy.io import loadmat  # not before it is needed: scipy.io costs more to import than this package

    entries = loadmat(path, appendmat=False)
    return {name: value for name, value in entries.items() if not name.startswith("__")}, {}
