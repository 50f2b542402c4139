"""Complex numbers, composed of real convolutions."""

import numpy as np

from . import _activations
from ._arrays import cast, output, promote
from ._padding import canonical_mode
from ._plan import tasks_of


def complex_forward(forward, rank, x, weight, bias, arguments, types, out):
    """The convolution of arrays of which one is complex, by the real function `forward` of the same parameters.

    ``(a + ib) * (c + id)`` is ``a*c - b*d + i(a*d + b*c)``.
    """
    entry = _activations.parse(arguments.activation)
    if not entry.analytic:
        raise TypeError(f"activation={entry.name!r} has no meaning for {types.result}; it is not analytic")
    after = _activations.afterwards(arguments.activation)
    value = _padding_value(arguments)
    arguments = arguments._replace(activation=None, padding_value=0.0)
    bias_shape = None if bias is None else bias.shape
    if bias is not None:
        promote(bias=bias.dtype)
    shape = tasks_of(rank, weight.shape, bias_shape, types.of_parts, arguments).geometry(x.shape).out_shape
    out = output(out, shape, types.result, x=x, weight=weight, bias=bias)

    (a, b), (c, d) = _parts(x), _parts(weight)
    if value.imag and b is None:
        b = np.broadcast_to(np.zeros((), types.computed), x.shape)
    e, f = (None, None) if bias is None else _parts(cast(bias, types.result))
    with np.errstate(all="ignore"):
        _sum(forward, rank, arguments, e, [(a, c, value.real, 1), (b, d, value.imag, -1)], out.real)
        _sum(forward, rank, arguments, f, [(b, c, value.imag, 1), (a, d, value.real, 1)], out.imag)
        if entry.code:
            out[...] = entry.function(out)
    if after is not None and out.size:
        _activations.apply(after, out)
    return out


def _sum(forward, rank, arguments, bias, products, out):
    """Fill `out` with the bias and the convolutions (x, weight, padding value, sign); a part that is None is zero."""
    first, *others = [product for product in products if product[0] is not None and product[1] is not None]
    x, weight, value, _ = first  # with sign 1: the second product alone is never left with sign -1
    forward(rank, x, weight, bias, arguments._replace(padding_value=value), out)
    for x, weight, value, sign in others:
        out += sign * forward(rank, x, weight, None, arguments._replace(padding_value=value), None)


def _parts(array):
    """The real and the imaginary part, None where there is none."""
    return (array.real, array.imag) if array.dtype.kind == "c" else (array, None)


def _padding_value(arguments):
    value = arguments.padding_value
    if not isinstance(value, (bool, int, float, complex, np.number, np.bool_)):
        raise TypeError(f"padding_value={value!r} has type {type(value).__name__}; wanted a number")
    canonical_mode(arguments.padding_mode, value)
    return complex(value)
