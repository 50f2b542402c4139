"""An array that is learned, with its gradient and what optimisers must know about it."""

import copy
from threading import Lock

import numpy as np

from .._arrays import FLOAT32, FLOAT64, as_array, cast
from .._errors import Number

FLOATS = (FLOAT32, FLOAT64)


class Parameter:
    """An array that is learned.

    Parameters
    ----------
    value : array_like
        float32 or float64; copied.
    name : str, optional
        What errors call it.
    learn_rate_factor, l2_factor : float
        By what an optimiser multiplies its learning rate and its L2 factor for this parameter; finite and not
        negative. A learning rate factor of 0 freezes the parameter.

    Attributes
    ----------
    value : ndarray
        May be set to an array of the same shape and type, which is copied; whoever holds the old array keeps it as it
        was.
    grad : ndarray or None
        The gradient, of the same shape and type; None before the first backward pass. May be set to None, or to an
        array of that shape, which is copied.
    name, learn_rate_factor, l2_factor
        As above; may be set.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> weight = fastconv.Parameter(np.array([1.0, 2.0]), name="weight")
    >>> weight.add_grad(np.array([0.5, 0.0]))
    >>> weight.add_grad(np.array([0.5, 1.0]))
    >>> weight.grad
    array([1., 1.])
    >>> weight
    Parameter(name='weight', shape=(2,), dtype=float64, learn_rate_factor=1.0, l2_factor=1.0)
    """

    learn_rate_factor = Number(0)
    l2_factor = Number(0)

    def __init__(self, value, *, name=None, learn_rate_factor=1.0, l2_factor=1.0):
        self.name = name
        self.learn_rate_factor = learn_rate_factor
        self.l2_factor = l2_factor
        array = self._typed("value", value, FLOATS)
        self._value = array.astype(array.dtype.type, order="C")  # a copy, in native byte order
        self._grad = None
        self._lock = Lock()

    @property
    def name(self):
        return self._name

    @name.setter
    def name(self, name):
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name={name!r} has type {type(name).__name__}; wanted a string or None")
        self._name = name

    @property
    def value(self):
        return self._value

    @value.setter
    def value(self, value):
        self._value = self._checked("value", value, (self.dtype,)).copy()

    @property
    def grad(self):
        return self._grad

    @grad.setter
    def grad(self, grad):
        self._grad = None if grad is None else self.checked_grad(grad).copy()

    @property
    def shape(self):
        return self._value.shape

    @property
    def dtype(self):
        return self._value.dtype

    @property
    def size(self):
        return self._value.size

    def add_grad(self, grad):
        """Add to the gradient; the first one is copied. Any number of threads may add at once."""
        grad = self.checked_grad(grad)
        with self._lock:
            if self._grad is None:
                self._grad = grad.copy()
            else:
                self._grad += grad

    def zero_grad(self):
        """Forget the gradient: it is None again."""
        with self._lock:
            self._grad = None

    def checked_grad(self, grad):
        """`grad` in this parameter's type, or an error that says why it is no gradient of it."""
        return self._checked("grad", grad, FLOATS)

    def _checked(self, what, value, dtypes):
        array = self._typed(what, value, dtypes)
        if array.shape != self.shape:
            raise ValueError(f"{self._called(what)} has shape {array.shape}; wanted {self.shape}")
        return cast(array, self.dtype)

    def _typed(self, what, value, dtypes):
        """`value` as an array, if it is of one of these types in any byte order."""
        array = as_array(self._called(what), value)
        if array.dtype.newbyteorder("=") not in dtypes:
            raise TypeError(f"{self._called(what)} has dtype {array.dtype}; wanted {' or '.join(map(str, dtypes))}")
        return array

    def _called(self, what):
        return what if self.name is None else f"{what} of parameter {self.name!r}"

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._value, dtype=dtype, copy=copy)

    def __repr__(self):
        return (
            f"Parameter(name={self.name!r}, shape={self.shape}, dtype={self.dtype}, "
            f"learn_rate_factor={self.learn_rate_factor}, l2_factor={self.l2_factor})"
        )

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = Lock()

    def __copy__(self):
        return copy.deepcopy(self)  # arrays of its own: gradients are added in place
