"""Optimisers: steps down the gradients of parameters, by PyTorch's formulas."""

from abc import ABC, abstractmethod

import numpy as np

from .._errors import Number, flag, number, sequence
from ._parameter import Parameter

PARAMETERS = """
    parameters : iterable of Parameter
        Such as ``layer.parameters()``. One that is listed twice, because layers share it, is stepped once.
""".strip()

FACTORS = """
    l2 : float
        Factor of the L2 penalty ``l2 / 2 * value**2`` that is added to the loss, as to its gradient.
""".strip()

NOTES = """
    The learning rate and `l2` are multiplied by each parameter's ``learn_rate_factor`` and ``l2_factor``. Parameters
    without a gradient, and those whose ``learn_rate_factor`` is 0, stay as they are, to the bit. If a step raises an
    error, no parameter has changed. The factors are attributes that may be set between steps.
""".strip()


class Optimizer(ABC):
    """What all optimisers have in common.

    A state is what the earlier gradients of a parameter have left; `_START` before the first of them.
    """

    learning_rate = Number(0)
    l2 = Number(0)

    def __init__(self, parameters, learning_rate, l2):
        self.parameters = _distinct(parameters)
        self.learning_rate = learning_rate
        self.l2 = l2
        self._states = [self._START] * len(self.parameters)

    def step(self):
        """Change every parameter once, by its gradient."""
        steps = [
            (at, parameter, *self._step(parameter, self._states[at]))
            for at, parameter in enumerate(self.parameters)
            if parameter.grad is not None and parameter.learn_rate_factor
        ]
        for at, parameter, value, state in steps:
            parameter.value = value
            self._states[at] = state

    def zero_grad(self):
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.zero_grad()

    def _step(self, parameter, state):
        """A parameter's next value and state."""
        value, gradient = parameter.value, parameter.checked_grad(parameter.grad)
        l2 = self.l2 * parameter.l2_factor
        if l2:
            gradient = gradient + l2 * value
        direction, state = self._direction(gradient, state)
        return value - self.learning_rate * parameter.learn_rate_factor * direction, state

    @abstractmethod
    def _direction(self, gradient, state):
        """What a step at learning rate 1 subtracts, and the next state, which shares no memory with the gradient."""


class SGD(Optimizer):
    __doc__ = f"""Stochastic gradient descent, with momentum if wanted.

    Parameters
    ----------
    {PARAMETERS}
    learning_rate : float
    momentum : float
        What is left of the direction of a step in the next one; less than 1.
    nesterov : bool
        Look ahead along the momentum; needs one.
    {FACTORS}

    Notes
    -----
    {NOTES}

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> weight = fastconv.Parameter(np.array([1.0, 2.0]))
    >>> optimizer = fastconv.SGD([weight], learning_rate=0.5)
    >>> weight.add_grad(np.array([1.0, 0.0]))
    >>> optimizer.step()
    >>> weight.value
    array([0.5, 2. ])
    >>> optimizer.zero_grad()
    """

    momentum = Number(0, below=1)
    _START = 0.0

    def __init__(self, parameters, learning_rate, momentum=0.0, nesterov=False, l2=0.0):
        super().__init__(parameters, learning_rate, l2)
        self.momentum = momentum
        self.nesterov = flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError(f"nesterov=True with momentum={momentum!r}; wanted a momentum above 0")

    def _direction(self, gradient, state):
        if not self.momentum:
            return gradient, state
        velocity = self.momentum * state + gradient
        return (gradient + self.momentum * velocity if self.nesterov else velocity), velocity


class Adam(Optimizer):
    __doc__ = f"""Steps scaled by running moments of the gradients.

    D. P. Kingma, J. Ba: Adam: a method for stochastic optimization. ICLR 2015.

    Parameters
    ----------
    {PARAMETERS}
    learning_rate : float
    betas : pair of float
        What is left of the running means of gradients and of their squares at each step; less than 1.
    eps : float
        Added to the root of the second moment, by which the first is divided.
    {FACTORS}

    Notes
    -----
    {NOTES}

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> weight = fastconv.Parameter(np.array([1.0, 2.0]))
    >>> optimizer = fastconv.Adam([weight], learning_rate=0.5)
    >>> weight.add_grad(np.array([100.0, 0.0]))
    >>> optimizer.step()
    >>> weight.value
    array([0.5, 2. ])
    """

    eps = Number(0)
    _START = (0, 0.0, 0.0)

    def __init__(self, parameters, learning_rate=1e-3, betas=(0.9, 0.999), eps=1e-8, l2=0.0):
        super().__init__(parameters, learning_rate, l2)
        self.betas = betas
        self.eps = eps

    @property
    def betas(self):
        return self._betas

    @betas.setter
    def betas(self, betas):
        entries = sequence(betas)
        if entries is None or len(entries) != 2:
            raise TypeError(f"betas={betas!r}; wanted a pair of numbers of at least 0, less than 1")
        self._betas = tuple(number("betas", beta, 0, 1) for beta in entries)

    def _direction(self, gradient, state):
        steps, mean, square = state
        first, second = self.betas
        steps += 1
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient**2
        root = np.sqrt(square / (1 - second**steps))
        return mean / (1 - first**steps) / (root + self.eps), (steps, mean, square)


def _distinct(parameters):
    """The parameters, each once, in order."""
    if not hasattr(parameters, "__iter__"):
        raise TypeError(f"parameters has type {type(parameters).__name__}; wanted several, such as layer.parameters()")
    parameters = tuple(parameters)
    for parameter in parameters:
        if not isinstance(parameter, Parameter):
            raise TypeError(f"parameters has an entry of type {type(parameter).__name__}; wanted Parameter only")
    if not parameters:
        raise ValueError("parameters is empty; a layer has some once its in_channels is known (layer.build)")
    return tuple(dict.fromkeys(parameters))
