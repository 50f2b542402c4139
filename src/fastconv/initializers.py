"""Initialisers: the first values of parameters.

Small frozen objects, called as ``(shape, rng, fan_in, fan_out, dtype)``. A layer takes one, or its name, or a number,
or any callable ``shape -> array``. `gain` is a factor on the standard deviation.

>>> import numpy as np, fastconv
>>> he = fastconv.initializers.He(gain=0.5)
>>> he
He(gain=0.5)
>>> he((16, 3, 5, 5), np.random.default_rng(0), *fastconv.initializers.fans((16, 3, 5, 5)), "float32").shape
(16, 3, 5, 5)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np

from ._arrays import as_array
from ._errors import number, one_of

__all__ = [
    "Constant",
    "Custom",
    "Glorot",
    "GlorotNormal",
    "He",
    "HeUniform",
    "Initializer",
    "NarrowNormal",
    "Ones",
    "Orthogonal",
    "Zeros",
    "fans",
    "initializer",
]


class Initializer(ABC):
    """What all initialisers have in common."""

    def __call__(self, shape, rng, fan_in, fan_out, dtype):
        """Values for a parameter.

        Parameters
        ----------
        shape : tuple of int
        rng : numpy.random.Generator
        fan_in, fan_out : int
            Inputs that reach one output, and outputs that one input reaches: see `fans`.
        dtype : dtype
            float32 or float64. The same generator gives both the same values, rounded.

        Returns
        -------
        ndarray
        """
        values = as_array(f"what {self} gives", self._values(shape, rng, fan_in, fan_out))
        if values.dtype.kind not in "buif":
            raise TypeError(f"{self} gives dtype {values.dtype}; wanted real numbers")
        if values.shape != tuple(shape):
            raise ValueError(f"{self} gives shape {values.shape}; wanted {tuple(shape)}")
        with np.errstate(over="ignore"):
            values = values.astype(dtype)
        if not np.isfinite(values).all():
            raise ValueError(f"{self} gives values that are not finite in {values.dtype}")
        return values

    @abstractmethod
    def _values(self, shape, rng, fan_in, fan_out):
        """Values of that shape, of any real type."""


@dataclass(frozen=True)
class _Scaled(Initializer):
    gain: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "gain", number("gain", self.gain, 0))


def _normal(rng, deviation, shape):
    return deviation * rng.standard_normal(shape)


def _uniform(rng, deviation, shape):
    return sqrt(3) * deviation * rng.uniform(-1, 1, shape)  # the uniform distribution on [-1, 1] has the variance 1/3


class Glorot(_Scaled):
    """Uniform with the variance ``gain**2 * 2 / (fan_in + fan_out)``; by name ``"glorot"``.

    X. Glorot, Y. Bengio: Understanding the difficulty of training deep feedforward neural networks. AISTATS 2010.
    """

    def _values(self, shape, rng, fan_in, fan_out):
        return _uniform(rng, self.gain * sqrt(2 / (fan_in + fan_out)), shape)


class GlorotNormal(_Scaled):
    """Normal with the variance of `Glorot`; by name ``"glorot-normal"``."""

    def _values(self, shape, rng, fan_in, fan_out):
        return _normal(rng, self.gain * sqrt(2 / (fan_in + fan_out)), shape)


class He(_Scaled):
    """Normal with the variance ``gain**2 * 2 / fan_in``, for layers before a ReLU; by name ``"he"``.

    K. He, X. Zhang, S. Ren, J. Sun: Delving deep into rectifiers: surpassing human-level performance on ImageNet
    classification. ICCV 2015.
    """

    def _values(self, shape, rng, fan_in, fan_out):
        return _normal(rng, self.gain * sqrt(2 / fan_in), shape)


class HeUniform(_Scaled):
    """Uniform with the variance of `He`; by name ``"he-uniform"``."""

    def _values(self, shape, rng, fan_in, fan_out):
        return _uniform(rng, self.gain * sqrt(2 / fan_in), shape)


class NarrowNormal(_Scaled):
    """Normal with the standard deviation ``gain * 0.01``; by name ``"narrow-normal"``."""

    def _values(self, shape, rng, fan_in, fan_out):
        return _normal(rng, self.gain * 0.01, shape)


class Orthogonal(_Scaled):
    """`gain` times a random orthogonal matrix; by name ``"orthogonal"``.

    The matrix has a row for each entry of the first axis, and all other axes as columns. Its rows are orthonormal, or
    its columns where it has fewer of those.

    A. M. Saxe, J. L. McClelland, S. Ganguli: Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks. ICLR 2014.
    """

    def _values(self, shape, rng, fan_in, fan_out):
        if len(shape) < 2:
            raise ValueError(f"{self} for shape {tuple(shape)}; wanted at least 2 axes")
        rows, columns = shape[0], prod(shape[1:])
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.where(np.diag(r) < 0, -1, 1)  # QR's own choice of signs would not be uniform over orthogonal matrices
        return self.gain * (q if rows > columns else q.T).reshape(shape)


@dataclass(frozen=True)
class Zeros(Initializer):
    """Zeros; by name ``"zeros"``."""

    def _values(self, shape, rng, fan_in, fan_out):
        return np.zeros(shape)


@dataclass(frozen=True)
class Ones(Initializer):
    """Ones; by name ``"ones"``."""

    def _values(self, shape, rng, fan_in, fan_out):
        return np.ones(shape)


@dataclass(frozen=True)
class Constant(Initializer):
    """One value everywhere; a number means this."""

    value: float

    def __post_init__(self):
        object.__setattr__(self, "value", number("value", self.value))

    def _values(self, shape, rng, fan_in, fan_out):
        return np.full(shape, self.value)


@dataclass(frozen=True)
class Custom(Initializer):
    """What a function ``shape -> array`` gives."""

    function: Callable

    def _values(self, shape, rng, fan_in, fan_out):
        return self.function(tuple(shape))


NAMES = {
    "glorot": Glorot(),
    "glorot-normal": GlorotNormal(),
    "he": He(),
    "he-uniform": HeUniform(),
    "narrow-normal": NarrowNormal(),
    "orthogonal": Orthogonal(),
    "zeros": Zeros(),
    "ones": Ones(),
}


def initializer(spec, argument="initializer"):
    """The `Initializer` that `spec` means.

    Parameters
    ----------
    spec : str, Initializer, number or callable
        A name, an object, a value for all elements, or a function ``shape -> array``.
    argument : str
        What errors call `spec`.

    Returns
    -------
    Initializer

    Examples
    --------
    >>> from fastconv.initializers import initializer
    >>> initializer("he")
    He(gain=1.0)
    >>> initializer(0.1)
    Constant(value=0.1)
    """
    if isinstance(spec, str):
        return one_of(argument, spec, NAMES)
    if isinstance(spec, Initializer):
        return spec
    if callable(spec) and not isinstance(spec, type):  # He instead of He() is a mistake
        return Custom(spec)
    if isinstance(spec, (int, float, np.integer, np.floating)):
        return Constant(number(argument, spec))
    raise TypeError(
        f"{argument}={spec!r} has type {type(spec).__name__}; wanted a name, an object such as He(), a number or a "
        "callable shape -> array"
    )


def fans(weight_shape, groups=1, transposed=False):
    """Inputs that reach one output, and outputs that one input reaches: within its group, at stride 1.

    Parameters
    ----------
    weight_shape : tuple of int
        ``(out_channels, in_channels // groups, *kernel)``, of a transposed convolution
        ``(in_channels, out_channels // groups, *kernel)``.
    groups : int
    transposed : bool

    Returns
    -------
    fan_in, fan_out : int

    Examples
    --------
    >>> from fastconv.initializers import fans
    >>> fans((16, 3, 5, 5))
    (75, 400)
    """
    first, second, *kernel = weight_shape
    counts = second * prod(kernel), first // groups * prod(kernel)
    return counts[::-1] if transposed else counts
