"""Arguments of a layer that depend on each other, or that no function has: read and checked."""

import numpy as np

from .._arrays import FLOAT32, FLOAT64
from .._errors import integer, sequence
from .._geometry import per_axis


def weight_shape(layer, in_channels):
    """The shape of the weight; None for what is not known."""
    channels = layer.out_channels, in_channels
    first, second = channels[::-1] if layer._transposed else channels
    return (first, None if second is None else second // layer.groups, *layer.kernel_size)


def channels(layer, weight_shape):
    """Channels of input and output, by the shape of the weight."""
    first, second = weight_shape[0], weight_shape[1] * layer.groups
    return (first, second) if layer._transposed else (second, first)


def read_sizes(layer, in_channels, out_channels, kernel_size):
    """Channels and kernel, as the arguments say or a given weight tells; `in_channels` may stay None."""
    given_weight = None if layer.weight is None else layer.weight.shape
    rank = _rank(layer.rank, kernel_size, given_weight)
    given = {
        "in_channels": None if in_channels is None else integer("in_channels", in_channels, 1),
        "out_channels": None if out_channels is None else integer("out_channels", out_channels, 1),
        "kernel_size": None if kernel_size is None else per_axis("kernel_size", kernel_size, rank)[-rank:],
    }
    for name in ("in_channels", "out_channels"):
        if given[name] is not None and given[name] % layer.groups:
            raise ValueError(f"groups={layer.groups} does not divide {name}={given[name]}")
    if given_weight is None:
        for name in ("out_channels", "kernel_size"):
            if given[name] is None:
                raise ValueError(f"{name}=None; wanted a value, or a weight that tells it")
        return tuple(given.values())
    told = (*channels(layer, given_weight), given_weight[2:])
    for (name, value), wanted in zip(given.items(), told, strict=True):
        if value not in (None, wanted):
            raise ValueError(
                f"weight has shape {given_weight}, which with groups={layer.groups} means {name}={wanted}; "
                f"{name}={value} was given"
            )
    return told


def read_bias_shape(layer, origin):
    """The shape of the bias, with None for sizes that are not known; None for no bias."""
    if origin is None:
        return None
    untied, count = layer.untie_biases, layer.out_channels
    wanted = (count, *(None,) * layer.rank) if untied else (count,)
    if layer.bias is None:
        return wanted
    shape = layer.bias.shape
    if len(shape) != len(wanted) or shape[0] != count:
        shown = f"({count}, *output_spatial)" if untied else f"({count},)"
        raise ValueError(f"bias has shape {shape}; wanted {shown}, with untie_biases={untied}")
    return shape


def read_dtype(dtype):
    """float32 or float64, native."""
    try:
        if dtype is not None and np.dtype(dtype) in (FLOAT32, FLOAT64):  # NumPy takes None for float64
            return np.dtype(dtype)
    except TypeError:
        pass
    raise TypeError(f"dtype={dtype!r}; wanted float32 or float64")


def check_rng(rng):
    try:
        np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"rng={rng!r}; wanted a NumPy Generator, a seed or None: {error}") from None


def _rank(rank, kernel_size, weight_shape):
    """The number of spatial axes; `rank` None leaves it open."""
    if weight_shape is not None:
        if len(weight_shape) - 2 not in ((1, 2, 3) if rank is None else (rank,)):
            raise ValueError(
                f"weight has {len(weight_shape)} axes (shape {weight_shape}); wanted "
                f"{'3, 4 or 5' if rank is None else rank + 2}, two of channels and those of the kernel"
            )
        return len(weight_shape) - 2
    entries = sequence(kernel_size)
    if rank is None and (entries is None or len(entries) not in (1, 2, 3)):
        raise ValueError(
            f"kernel_size={kernel_size!r} does not tell the number of spatial axes; wanted an entry for each of 1, "
            "2 or 3, or a weight"
        )
    return len(entries) if rank is None else rank
