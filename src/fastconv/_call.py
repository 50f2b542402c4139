"""One call of a function: a plan that is used once, or what a call like it has found out before.

What the arguments and shapes alone decide is kept in small bounded caches; weights, and anything made from their
values, never are.
"""

from . import _activations
from ._algorithms import forced
from ._arrays import as_array, as_real, contiguous, output, promote
from ._cache import Bounded, typed
from ._complex import complex_forward
from ._driver import empty
from ._geometry import Arguments
from ._plan import Plan, tasks_of
from ._recent import Recent
from ._tasks import packer
from ._transposed import TransposedArguments

_KEPT = Bounded(256)
_RECENT = {kind: Recent(256) for kind in (Arguments, TransposedArguments)}


def call(kind, arguments, x, weight, bias, out):
    """The convolution that the `arguments` describe: the rank, and the fields of their `kind`."""
    found = _RECENT[kind].find(arguments, (x, weight, bias), out)
    if found is None:
        rank, *fields = arguments
        return _call(rank, x, weight, bias, kind(*fields), out)
    run, pack, out_shape, dtype = found
    if out is None:
        out = empty(out_shape, dtype)
    run(x, pack(weight), bias, None, out)
    return out


def _call(rank, x, weight, bias, arguments, out):
    """A call that is like none before."""
    x, weight = as_array("x", x), as_array("weight", weight)
    bias = None if bias is None else as_array("bias", bias)
    types = promote(x=x.dtype, weight=weight.dtype)
    bias_shape = None if bias is None else bias.shape
    if types.is_complex:
        return complex_forward(_call, rank, x, weight, bias, arguments, types, out)
    tasks = _tasks(rank, x.shape, weight.shape, bias_shape, types, arguments)
    if bias is not None:
        bias = as_real("bias", bias, types)
    # before the weights are converted: nothing is copied for a call that cannot be
    result = output(out, tasks.geometry(x.shape).out_shape, types.result, x=x, weight=weight, bias=bias)
    plan = Plan(
        tasks,
        types,
        contiguous(weight, types.computed),
        None if bias is None else contiguous(bias, types.result, types.computed),
        _activations.afterwards(arguments.activation),
    )
    plan.fill(x, None, result, out is None)

    def find():
        ready = plan.ready(x, None, result, out is None) if plan.holds(weight, bias) else None
        if ready is None:
            return None
        return ready.task.run, packer(ready, weight, plan.pack(ready)), ready.out_shape, types.computed

    _RECENT[type(arguments)].note(find, (rank, *arguments), (x, weight, bias), out)
    return result


def _tasks(rank, x_shape, weight_shape, bias_shape, types, arguments):
    """The `Tasks` of these arguments, for one shape of input and few strides."""

    def make():
        return tasks_of(rank, weight_shape, bias_shape, types, arguments)

    return kept((rank, x_shape, weight_shape, bias_shape, types), arguments, make)


def kept(shapes, arguments, make):
    """What `make` makes of these shapes and arguments, kept from call to call."""
    key = (shapes, forced(), *map(typed, arguments))
    try:
        found = _KEPT.get(key)
    except TypeError:  # an argument that no key can hold: parsing it says which
        found = None
    if found is None:
        found = make()
        _KEPT.put(key, found)
    return found
