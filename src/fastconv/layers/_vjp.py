"""A convolution and the way back: the gradient of its output → those of input, weight and bias."""

from .. import _activations, _elementwise
from ._arguments import literal


def check_differentiable(activation):
    """Refuse a function that came without its derivative."""
    if _activations.parse(activation).derivative is None:
        raise TypeError(
            f"activation={literal(activation)} has no derivative; wanted a name or a pair (function, derivative)"
        )


def pull_back(functions, options, x, weight, bias):
    """The result, and a function from its gradient to those of `x`, `weight` and `bias`."""
    activation = _activations.parse(options["activation"])
    options = options | {"activation": None}
    before = functions.forward(x, weight, bias, **options)

    def linear(grad):
        return functions.backward(grad, x, weight, bias, **options)

    if activation is _activations.NONE:
        return before, linear
    y = _elementwise.activate(activation, before)
    before.flags.writeable = False  # the derivative may be the caller's function

    def way_back(grad):
        return linear(_elementwise.pull_back(activation, before, grad))

    return y, way_back
