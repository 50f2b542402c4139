"""The functions of gradients: those of a convolution with respect to its input, weight and bias."""

from typing import NamedTuple

import numpy as np

from . import _activations
from ._arrays import Types, as_array, as_real, cast, contiguous, promote
from ._call import kept
from ._errors import sequence
from ._geometry import Arguments, Geometry
from ._grad_bias import grad_bias
from ._grad_input import grad_input, grad_input_tasks
from ._grad_weight import grad_weight
from ._plan import Plan, tasks_of
from ._signatures import with_arguments
from ._tasks import Tasks
from ._transposed import Transposed, TransposedArguments
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


class _Operation(NamedTuple):
    """What the arguments and shapes alone decide."""

    tasks: Tasks  # of the operation itself, without its activation
    out_shape: tuple
    forward: Geometry  # of the operation, or of the convolution that it is adjoint to
    grad_x: Tasks

    @classmethod
    def of(cls, x_shape, weight_shape, bias_shape, types, arguments):
        tasks = tasks_of(None, weight_shape, bias_shape, types, arguments, limit=4)
        geometry = tasks.geometry(x_shape)
        if type(arguments) is Arguments:
            return cls(tasks, geometry.out_shape, geometry, grad_input_tasks(geometry))
        return cls(tasks, geometry.out_shape, geometry.forward, Tasks(geometry.forward.convolution, limit=4))


def _backward(grad_output, x, weight, bias, arguments, needs):
    needs = _needs(needs)
    arrays = {"x": x, "weight": weight, "bias": bias, "grad_output": grad_output}
    arrays = {name: as_array(name, value) for name, value in arrays.items() if value is not None or name != "bias"}
    types = promote(x=arrays["x"].dtype, weight=arrays["weight"].dtype)
    x, weight, *bias, grad_output = (as_real(name, array, types) for name, array in arrays.items())
    bias = bias[0] if bias else None
    activation, arguments = _activations.parse(arguments.activation), arguments._replace(activation=None)
    if activation.derivative is None and any(needs):
        raise TypeError(f"activation={activation.function!r} has no derivative; wanted a pair (function, derivative)")
    shapes = x.shape, weight.shape, None if bias is None else bias.shape
    operation = kept((*shapes, types), arguments, lambda: _Operation.of(*shapes, types, arguments))
    if grad_output.shape != operation.out_shape:
        raise ValueError(f"grad_output has shape {grad_output.shape}; wanted that of the output, {operation.out_shape}")
    if bias is None:
        needs = (*needs[:2], False)
    if not any(needs):
        return None, None, None
    if not grad_output.size:
        of_zeros = (np.zeros(shape or (), types.computed) for shape in shapes)
        return tuple(zeros if need else None for zeros, need in zip(of_zeros, needs, strict=True))
    return _gradients(operation, activation, types, grad_output, x, weight, bias, needs)


def _gradients(operation, activation, types, grad_output, x, weight, bias, needs):
    dtype = types.computed
    forward, computed = operation.forward, Types(dtype, dtype)
    is_transposed = isinstance(operation.tasks.convolution, Transposed)
    if activation is not _activations.NONE or needs[0]:
        weight = contiguous(weight, dtype)
    if activation is not _activations.NONE:
        before = np.empty(operation.out_shape, dtype)
        bias_before = None if bias is None else contiguous(bias, types.result, dtype)
        Plan(operation.tasks, computed, weight, bias_before).fill(x, None, before, True)
        with np.errstate(all="ignore"):
            grad_output = cast(grad_output, dtype) * _derivative(activation, before)
    grad_x = grad_w = grad_b = None
    if needs[0]:
        plan = Plan(operation.grad_x, computed, weight, None)
        if is_transposed:
            grad_x = np.empty(x.shape, dtype)
            plan.fill(grad_output, None, grad_x, True)
        else:
            grad_x = grad_input(forward, plan, grad_output)
    if needs[1]:
        pair = cast(x, dtype), cast(grad_output, dtype)
        grad_w = grad_weight(forward, *(reversed(pair) if is_transposed else pair))
    if needs[2]:
        grad_b = grad_bias(forward.convolution, grad_output, bias.ndim > 1, dtype)
    return grad_x, grad_w, grad_b


def _derivative(activation, before):
    derivative = np.asarray(activation.derivative(before))
    if derivative.shape != before.shape:
        raise ValueError(f"activation has a derivative that returned shape {derivative.shape}; wanted {before.shape}")
    return derivative.astype(before.dtype, copy=False)


def _needs(needs):
    entries = sequence(needs)
    if entries is None or not all(isinstance(entry, (bool, np.bool_)) for entry in entries):
        raise TypeError(f"needs={needs!r}; wanted three bools: for x, weight and bias")
    if len(entries) != 3:
        raise ValueError(f"needs={needs!r} has {len(entries)} entries; wanted three bools: for x, weight and bias")
    return tuple(map(bool, entries))
