"""The functions of gradients: those of a convolution with respect to its input, weight and bias."""

from typing import NamedTuple

import numpy as np

from . import _activations
from ._arrays import Types, as_array, as_real, cast, contiguous, promote
from ._blocks import grad_weight_in_blocks
from ._call import kept
from ._errors import sequence
from ._geometry import Arguments
from ._grad_bias import grad_bias
from ._grad_input import grad_input, grad_input_tasks
from ._phases import Phases
from ._plan import Plan, tasks_of
from ._signatures import with_arguments
from ._tasks import Tasks
from ._transposed import TransposedArguments
from .functional import conv, conv_transpose

__all__ = ["conv_backward", "conv_transpose_backward"]


@with_arguments(conv, Arguments._fields)
def conv_backward(grad_output, x, weight, bias=None, *arguments, needs=(True, True, True)):
    """The gradients of a convolution with respect to its input, weight and bias.

    Parameters
    ----------
    grad_output : array_like
        The gradient with respect to the result, of its shape.
    x : array_like
        The input of the convolution.
    {arrays}
    {parameters}
    needs : sequence of three bools
        Which gradients are wanted.

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray or None
        Each of the shape of its argument, in the type that is computed in (float32 or float64); None where it is not
        wanted or there is no bias.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x, weight = np.array([[1.0, 2.0, 3.0]]), np.array([[[10.0, 1.0]]])
    >>> fastconv.conv_backward(np.array([[1.0, 2.0]]), x, weight)
    (array([[10., 21.,  2.]]), array([[[5., 8.]]]), None)
    """
    return _backward(grad_output, x, weight, bias, Arguments(*arguments), needs)


@with_arguments(conv_transpose, TransposedArguments._fields)
def conv_transpose_backward(grad_output, x, weight, bias=None, *arguments, needs=(True, True, True)):
    """The gradients of a transposed convolution with respect to its input, weight and bias.

    Parameters
    ----------
    grad_output : array_like
        The gradient with respect to the result, of its shape.
    x : array_like
        The input of the transposed convolution.
    {transposed_arrays}
    {transposed_parameters}
    needs : sequence of three bools
        Which gradients are wanted.

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray or None
        Each of the shape of its argument, in the type that is computed in (float32 or float64); None where it is not
        wanted or there is no bias.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x, weight = np.array([[1.0, 2.0]]), np.array([[[10.0, 1.0]]])
    >>> fastconv.conv_transpose_backward(np.array([[1.0, 2.0, 3.0]]), x, weight)
    (array([[12., 23.]]), array([[[5., 8.]]]), None)
    """
    return _backward(grad_output, x, weight, bias, TransposedArguments(*arguments), needs)


def _backward(grad_output, x, weight, bias, arguments, needs):
    needs = _needs(needs, bias)
    arrays = {"x": x, "weight": weight, "grad_output": grad_output} | ({} if bias is None else {"bias": bias})
    arrays = {name: as_array(name, array) for name, array in arrays.items()}
    types = promote(x=arrays["x"].dtype, weight=arrays["weight"].dtype)
    x, weight, grad_output, *given = (as_real(name, array, types) for name, array in arrays.items())
    bias = given[0] if given else None
    activation, arguments = _activations.parse(arguments.activation), arguments._replace(activation=None)
    if any(needs) and activation.derivative is None:
        raise TypeError(f"activation={activation.function!r} has no derivative; wanted a pair (function, derivative)")
    shapes = x.shape, weight.shape, None if bias is None else bias.shape
    operation = kept(("backward", *shapes, types), arguments, lambda: _Operation.of(*shapes, types, arguments))
    geometry = operation.tasks.geometry(x.shape)
    if grad_output.shape != geometry.out_shape:
        raise ValueError(f"grad_output has shape {grad_output.shape}; wanted that of the output, {geometry.out_shape}")
    if not any(needs):
        return None, None, None
    if not grad_output.size:
        pairs = zip(shapes, needs, strict=True)
        return tuple(np.zeros(shape, types.computed) if need else None for shape, need in pairs)
    if activation is not _activations.NONE:
        before = operation.pre_activation(types, x, weight, bias)
        derivative = _activations.slope(activation, before)
        with np.errstate(all="ignore"):
            grad_output = cast(grad_output, types.computed) * derivative
    return (
        operation.grad_x(geometry, weight, grad_output) if needs[0] else None,
        operation.grad_weight(geometry, x, grad_output) if needs[1] else None,
        grad_bias(operation.tasks.convolution, grad_output, bias.ndim > 1) if needs[2] else None,
    )


class _Operation(NamedTuple):
    """What the arguments and shapes of a call alone decide."""

    tasks: Tasks  # of the operation itself, without its activation
    adjoint: Tasks  # of its gradient with respect to x

    @classmethod
    def of(cls, x_shape, weight_shape, bias_shape, types, arguments):
        tasks = tasks_of(None, weight_shape, bias_shape, types, arguments, limit=4)
        geometry = tasks.geometry(x_shape)
        if isinstance(geometry, Phases):
            return cls(tasks, Tasks(geometry.forward.convolution, limit=4))
        return cls(tasks, grad_input_tasks(geometry))

    def pre_activation(self, types, x, weight, bias):
        """The result before the activation, of the computed type."""
        dtype = types.computed
        bias = None if bias is None else contiguous(bias, types.result, dtype)
        result = np.empty(self.tasks.geometry(x.shape).out_shape, dtype)
        Plan(self.tasks, Types(dtype, dtype), contiguous(weight, dtype), bias).fill(x, None, result, True)
        return result

    def grad_x(self, geometry, weight, grad_output):
        dtype = self.tasks.convolution.dtype
        plan = Plan(self.adjoint, Types(dtype, dtype), contiguous(weight, dtype), None)
        if not isinstance(geometry, Phases):
            return grad_input(geometry, plan, grad_output)
        result = np.empty(geometry.x_shape, dtype)
        plan.fill(grad_output, None, result, True)
        return result

    def grad_weight(self, geometry, x, grad_output):
        if isinstance(geometry, Phases):  # where the forward convolution has the two the other way round
            return grad_weight_in_blocks(geometry.forward, grad_output, x)
        return grad_weight_in_blocks(geometry, x, grad_output)


def _needs(needs, bias):
    """`needs` as three bools; there is no gradient of a bias that is None."""
    entries = sequence(needs)
    if entries is None or not all(isinstance(entry, (bool, np.bool_)) for entry in entries):
        raise TypeError(f"needs={needs!r}; wanted three bools: for x, weight and bias")
    if len(entries) != 3:
        raise ValueError(f"needs={needs!r} has {len(entries)} entries; wanted three bools: for x, weight and bias")
    return (*map(bool, entries[:2]), bool(entries[2]) and bias is not None)
