"""The functions of gradients: those of a convolution with respect to its input, weight and bias."""

from typing import NamedTuple

import numpy as np

from . import _activations
from ._arrays import Types, as_array, as_real, contiguous, is_plain, promote
from ._blocks import grad_weight_in_blocks
from ._cache import typed
from ._call import kept
from ._driver import empty
from ._elementwise import pull_back
from ._errors import sequence
from ._geometry import Arguments
from ._grad_bias import grad_bias
from ._grad_input import grad_input, grad_input_tasks, repeats
from ._grad_weight import prepare as prepare_grad_weight
from ._grad_weight import run as run_grad_weight
from ._phases import Phases
from ._plan import Plan, tasks_of
from ._recent import Recent
from ._signatures import with_arguments
from ._tasks import Tasks, is_large, packer
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
    return _backward(Arguments, (needs, *arguments), grad_output, x, weight, bias)


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
    return _backward(TransposedArguments, (needs, *arguments), grad_output, x, weight, bias)


_RECENT = {kind: Recent(256) for kind in (Arguments, TransposedArguments)}


def _backward(kind, arguments, grad_output, x, weight, bias):
    """The gradients; `arguments` are `needs`, and the fields of their `kind`."""
    found = _RECENT[kind].find(arguments, (grad_output, x, weight, bias), None)
    if found is None:
        needs, *fields = arguments
        return _general(grad_output, x, weight, bias, kind(*fields), needs)
    return found(grad_output, x, weight)


def _general(grad_output, x, weight, bias, arguments, needs):
    """A call that is like none before."""
    grad_output, x, weight = as_array("grad_output", grad_output), as_array("x", x), as_array("weight", weight)
    bias = None if bias is None else as_array("bias", bias)
    arrays = (grad_output, x, weight) if bias is None else (grad_output, x, weight, bias)
    seen = ("backward", typed(needs), *[(array.shape, array.dtype) for array in arrays])
    operation = kept(seen, arguments, lambda: _Operation.of(*arrays, arguments=arguments, needs=needs))
    needs_x, needs_weight, needs_bias = operation.needs
    if operation.is_empty:
        given = (x, needs_x), (weight, needs_weight), (bias, needs_bias)
        return tuple(np.zeros(array.shape, operation.types.computed) if need else None for array, need in given)
    if operation.is_activated:
        activation = _activations.parse(arguments.activation)
        grad_output = pull_back(activation, operation.pre_activation(x, weight, bias), grad_output)
    _RECENT[type(arguments)].note(
        lambda: _at_once(operation, grad_output, x, weight, bias),
        (needs, *arguments),
        (grad_output, x, weight, bias),
        None,
    )
    return (
        operation.grad_x(weight, grad_output) if needs_x else None,
        operation.grad_weight(x, grad_output) if needs_weight else None,
        grad_bias(operation.tasks.convolution, grad_output, bias.ndim > 1) if needs_bias else None,
    )


class _Operation(NamedTuple):
    """What the arguments, shapes and types of a call alone decide."""

    needs: tuple
    types: Types
    is_activated: bool
    is_empty: bool  # nothing is wanted, or there is nothing to sum
    tasks: Tasks  # of the operation itself, without its activation
    x_shape: tuple
    adjoint: Tasks  # of its gradient with respect to x

    @classmethod
    def of(cls, grad_output, x, weight, bias=None, *, arguments, needs):
        needs = _needs(needs, bias)
        types = promote(x=x.dtype, weight=weight.dtype)
        for name, array in dict(x=x, weight=weight, grad_output=grad_output, bias=bias).items():
            if array is not None:
                as_real(name, array, types)
        activation = _activations.parse(arguments.activation)
        if any(needs) and activation.derivative is None:
            function = activation.function
            raise TypeError(f"activation={function!r} has no derivative; wanted a pair (function, derivative)")
        bias_shape = None if bias is None else bias.shape
        tasks = tasks_of(None, weight.shape, bias_shape, types, arguments._replace(activation=None))
        geometry = tasks.geometry(x.shape)
        if grad_output.shape != geometry.out_shape:
            raise ValueError(
                f"grad_output has shape {grad_output.shape}; wanted that of the output, {geometry.out_shape}"
            )
        return cls(
            needs=needs,
            types=types,
            is_activated=activation is not _activations.NONE,
            is_empty=not any(needs) or not grad_output.size,
            tasks=tasks,
            x_shape=x.shape,
            adjoint=Tasks(geometry.forward.convolution) if isinstance(geometry, Phases) else grad_input_tasks(geometry),
        )

    @property
    def geometry(self):
        """Of the operation: a `Geometry`, or the `Phases` of a transposed convolution. Large ones are not kept."""
        return self.tasks.geometry(self.x_shape)

    def plan(self, tasks, weight, bias=None):
        """Of the computed type."""
        dtype = self.types.computed
        bias = None if bias is None else contiguous(bias, self.types.result, dtype)
        return Plan(tasks, Types(dtype, dtype), contiguous(weight, dtype), bias)

    def pre_activation(self, x, weight, bias):
        """The result before the activation, of the computed type."""
        result = empty(self.geometry.out_shape, self.types.computed)
        self.plan(self.tasks, weight, bias).fill(x, None, result, True)
        return result

    def grad_x(self, weight, grad_output):
        plan, geometry = self.plan(self.adjoint, weight), self.geometry
        if not isinstance(geometry, Phases):
            return grad_input(geometry, plan, grad_output)
        result = empty(geometry.x_shape, self.types.computed)
        plan.fill(grad_output, None, result, True)
        return result

    def grad_weight(self, x, grad_output):
        geometry = self.geometry
        if isinstance(geometry, Phases):  # where the forward convolution has the two the other way round
            return grad_weight_in_blocks(geometry.forward, grad_output, x)
        return grad_weight_in_blocks(geometry, x, grad_output)


def _at_once(operation, grad_output, x, weight, bias):
    """What gives the gradients for arrays that lie like these; None where they are not computed in one go."""
    geometry, dtype = operation.geometry, operation.types.computed
    is_transposed = isinstance(geometry, Phases)
    forward = geometry.forward if is_transposed else geometry
    needs_x, needs_weight, needs_bias = operation.needs
    if (
        operation.is_activated
        or is_large(forward)
        or (needs_x and not is_transposed and repeats(geometry))
        or not all(is_plain(array, dtype) for array in (grad_output, x, weight))
        or not weight.flags.c_contiguous
    ):
        return None
    if needs_x:
        plan = operation.plan(operation.adjoint, weight)
        ready = plan.ready(grad_output, None, x, True)
        if ready is None:
            return None
        pack, run_x = packer(ready, weight, plan.pack(ready)), ready.task.run
    if needs_weight:
        prepared = prepare_grad_weight(forward, *((grad_output, x) if is_transposed else (x, grad_output)))
        if prepared is None:
            return None
    own, convolution, untied = operation.tasks.convolution, forward.convolution, needs_bias and bias.ndim > 1

    def run(grad_output, x, weight):
        grad_x = grad_weight = None
        if needs_x:
            grad_x = empty(x.shape, dtype)
            run_x(grad_output, pack(weight), None, None, grad_x)
        if needs_weight:
            pair = (grad_output, x) if is_transposed else (x, grad_output)
            grad_weight = run_grad_weight(convolution, prepared, *pair)
        return grad_x, grad_weight, grad_bias(own, grad_output, untied) if needs_bias else None

    return run


def _needs(needs, bias):
    """`needs` as three bools; there is no gradient of a bias that is None."""
    entries = sequence(needs)
    if entries is None or not all(isinstance(entry, (bool, np.bool_)) for entry in entries):
        raise TypeError(f"needs={needs!r}; wanted three bools: for x, weight and bias")
    if len(entries) != 3:
        raise ValueError(f"needs={needs!r} has {len(entries)} entries; wanted three bools: for x, weight and bias")
    return (*map(bool, entries[:2]), bool(entries[2]) and bias is not None)
