"""The table of activations: PyTorch's functions of these names, with PyTorch's defaults.

The compiled kernels know an entry by its code; `function` is the same for NumPy arrays, which it leaves unchanged.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from ._errors import one_of


def _gelu(x):
    from scipy.special import erf  # not before it is needed: scipy.special costs more to import than this package

    return 0.5 * x * (1 + erf(x * x.dtype.type(0.5**0.5)))


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))  # an overflow of exp gives the 0 that is wanted


def _silu(x):
    return x * _sigmoid(x)


def _relu6(x):
    return np.clip(x, 0, 6)


def _relu(x):
    return np.maximum(x, 0)


def _leaky_relu(x):
    return np.where(x < 0, x.dtype.type(0.01) * x, x)


def _hardswish(x):
    return x * _relu6(x + 3) / 6


def _identity(x):
    return x


def _d_relu(x):
    return np.where(x <= 0, x.dtype.type(0), x.dtype.type(1))


def _d_relu6(x):
    return np.where((x <= 0) | (x >= 6), x.dtype.type(0), x.dtype.type(1))


def _d_leaky_relu(x):
    return np.where(x > 0, x.dtype.type(1), x.dtype.type(0.01))


def _d_sigmoid(x):
    y = _sigmoid(x)
    return y * (1 - y)


def _d_tanh(x):
    return 1 - np.square(np.tanh(x))


def _d_silu(x):
    y = _sigmoid(x)
    return y * (1 + x * (1 - y))


def _d_gelu(x):
    from scipy.special import erf

    root = x.dtype.type(0.5**0.5)
    return 0.5 * (1 + erf(x * root)) + x * np.exp(-0.5 * x * x) * x.dtype.type((2 * np.pi) ** -0.5)


def _d_hardswish(x):
    return np.where(x <= -3, x.dtype.type(0), np.where(x < 3, x / 3 + x.dtype.type(0.5), x.dtype.type(1)))


@dataclass(frozen=True, eq=False)
class Activation:
    """An entry of `TABLE`, or what a caller gave instead.

    `code` is 0 where the kernels have nothing to apply. `analytic` functions have a meaning for complex numbers.
    `derivative`, like `function`, is of the pre-activation.
    """

    name: str
    code: int
    function: Callable
    derivative: Callable | None = None
    analytic: bool = False


NONE = Activation("none", 0, _identity, np.ones_like, analytic=True)

TABLE = {
    entry.name: entry
    for entry in [
        Activation("relu", 1, _relu, _d_relu),
        Activation("relu6", 2, _relu6, _d_relu6),
        Activation("leaky_relu", 3, _leaky_relu, _d_leaky_relu),
        Activation("sigmoid", 4, _sigmoid, _d_sigmoid, analytic=True),
        Activation("tanh", 5, np.tanh, _d_tanh, analytic=True),
        Activation("silu", 6, _silu, _d_silu, analytic=True),
        Activation("gelu", 7, _gelu, _d_gelu),
        Activation("hardswish", 8, _hardswish, _d_hardswish),
    ]
}


def parse(activation):
    """The `Activation` that the argument means: a name, None, a callable, or a pair (function, derivative)."""
    if activation is None:
        return NONE
    if callable(activation):
        return Activation("callable", 0, activation, analytic=True)
    if isinstance(activation, (tuple, list)):
        if len(activation) != 2 or not all(map(callable, activation)):
            raise TypeError(f"activation={activation!r}; a pair must be two callables, (function, derivative)")
        return Activation("callable", 0, *activation, analytic=True)
    if not isinstance(activation, str):
        raise TypeError(
            f"activation={activation!r} has type {type(activation).__name__}; "
            "wanted a name, None, a callable or a pair (function, derivative)"
        )
    return one_of("activation", activation, TABLE)


def afterwards(activation):
    """What a plan applies to the finished output, because no kernel can: the caller's function, or None."""
    if activation is None or type(activation) is str:
        return None
    return parse(activation).function


def apply(function, out):
    """Replace `out` by the caller's function of it."""
    result = np.asarray(function(out))
    if result.shape != out.shape:
        raise ValueError(f"activation returned an array of shape {result.shape}; wanted {out.shape}")
    if result is not out:
        np.copyto(out, result, casting="same_kind")


def slope(activation, before):
    """The derivative of an `Activation` at the pre-activation."""
    with quiet(activation):
        derivative = np.asarray(activation.derivative(before))
    if derivative.shape != before.shape:
        raise ValueError(f"activation has a derivative that returned shape {derivative.shape}; wanted {before.shape}")
    return derivative.astype(before.dtype, copy=False)


def quiet(activation):
    """Where a function is applied: overflow and NaN are values for those of the table; a caller's may warn of them."""
    return np.errstate(all="ignore") if activation.code else nullcontext()
