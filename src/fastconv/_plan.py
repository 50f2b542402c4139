"""Plans: a convolution with its weights packed and its algorithm chosen, to be called often."""

from dataclasses import replace

import numpy as np

from . import _activations
from ._algorithms._outcomes import in_force
from ._algorithms._separable import terms_of
from ._arrays import as_array, as_real, as_shape, contiguous, contiguous_strides, is_plain, output, promote
from ._blocks import convert
from ._cache import Bounded
from ._driver import empty
from ._explain import Explanation
from ._geometry import Arguments, Convolution, unit_axes
from ._phases import PhaseTasks
from ._recent import Recent
from ._tasks import Tasks, is_large
from ._threads import get_num_threads
from ._transposed import Transposed, TransposedArguments


class Plan:
    """A convolution with fixed weights, as `plan` makes it.

    It never changes, and any number of threads may call it at once.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> p = fastconv.plan(np.ones((1, 1, 3)), padding="same")
    >>> p(np.array([[1.0, 2.0, 3.0]]))
    array([[3., 6., 5.]])
    """

    __slots__ = ("_after", "_bias", "_input_shape", "_packed", "_recent", "_types", "_weight", "tasks")

    def __init__(self, tasks, types, weight, bias, after=None, packed=None, input_shape=None):
        self.tasks = tasks
        self._types = types
        self._weight = weight  # of the computed type, contiguous, as is the bias
        self._bias = bias
        self._after = after
        self._packed = Bounded(8) if packed is None else packed
        self._input_shape = input_shape
        self._recent = Recent(16)
        if input_shape is not None:
            self.pack(self._prepare_new(input_shape))

    def __call__(self, x, out=None, *, add=None):
        """Convolve `x`.

        Parameters
        ----------
        x : array_like
            ``(*batch, channels, *spatial)``, or as `data_format` says. Cast to the type of the weights.
        out : ndarray, optional
            Where to put the result.
        add : array_like, optional
            A residual of the output's shape, added before the activation.

        Returns
        -------
        ndarray
            A new array, or `out`.
        """
        found = self._recent.find((), (x, add), out)
        if found is None:
            return self._call(x, out, add)
        run, packed, out_shape = found
        if out is None:
            out = empty(out_shape, self._types.result)
        run(x, packed, self._bias, add, out)
        if self._after is not None:
            _activations.apply(self._after, out)
        return out

    def _call(self, x, out, add):
        """Everything that the way of most calls leaves out."""
        given = (x, add), out
        x = as_real("x", x, self._types)
        geometry = self._geometry(x.shape)
        if add is not None:
            add = as_real("add", add, self._types)
            if add.shape != geometry.out_shape:
                raise ValueError(f"add has shape {add.shape}; wanted that of the output, {geometry.out_shape}")
        result = output(out, geometry.out_shape, self._types.result, x=x, add=add)
        self.fill(x, add, result, out is None)
        self._recent.note(lambda: self._found(x, add, result, out is None), (), *given)
        return result

    def _found(self, x, add, out, is_new):
        """What `__call__` does at once with arrays like these."""
        ready = self.ready(x, add, out, is_new)
        return None if ready is None else (ready.task.run, self.pack(ready), ready.out_shape)

    def ready(self, x, add, out, is_new):
        """The `Prepared` that computes all of arrays like these as they stand; None where there is none to be kept."""
        ready = self._prepare_for(x, add, out, is_new) if out.size and self._are_plain(x, add, out) else None
        return None if ready is None or is_large(ready.geometry) else ready

    def holds(self, weight, bias):
        """Whether it works with these very arrays, not with copies."""
        return self._weight is weight and self._bias is bias

    def fill(self, x, add, out, is_new):
        """Fill `out`, of the right shape and type; `is_new` says that it lies in memory as a new array does."""
        if not out.size:
            return
        out = np.asarray(out)
        if self._are_plain(x, add, out):
            self.compute(x, add, out, is_new)
        else:
            convert(self, x, add, out)
        if self._after is not None:
            _activations.apply(self._after, out)

    def compute(self, x, add, out, is_new):
        """`fill` arrays that all are of the computed type, native and aligned, but for the caller's function."""
        ready = self._prepare_for(x, add, out, is_new)
        if ready is None:
            for entry in range(len(x)):
                self.compute(x[entry], None if add is None else add[entry], out[entry], is_new)
        else:
            ready.task.run(x, self.pack(ready), self._bias, add, out)

    def _are_plain(self, *arrays):
        return all(array is None or is_plain(array, self._types.computed) for array in arrays)

    def _prepare_for(self, x, add, out, is_new):
        return self._prepare(x.shape, x.strides, None if add is None else add.strides, None if is_new else out.strides)

    def part(self, padding, where):
        """The same weights for a part of the output: the spatial slices `where`, with other pads."""
        bias = self._bias
        if bias is not None and bias.ndim > 1:
            bias = np.ascontiguousarray(bias[(slice(None), *where)])
        outputs = unit_axes([along.stop - along.start for along in where])
        tasks = self.tasks.part(padding, None if bias is None else bias.shape, outputs)
        return Plan(tasks, self._types, self._weight, bias, packed=self._packed)

    def phase(self, phase, phases):
        """Of a transposed convolution: the forward convolution of one of its phases."""
        weight = phase.weight(phases.forward.convolution, self._weight)
        bias = None if self._bias is None else np.ascontiguousarray(phase.bias_part(self._bias))
        alone = replace(phase.geometry.convolution, phases=1)
        return Plan(Tasks(alone, self.tasks.outcomes), self._types, weight, bias)

    def fill_between(self, phases, add, out):
        """Of a transposed convolution: fill `out` where none of its phases does."""
        if not phases.complete:
            phases.fill(self._bias, add, out)

    def explain(self, x_shape=None):
        """How an input of this shape is computed.

        Parameters
        ----------
        x_shape : tuple of int, optional
            By default the `input_shape` that the plan was made with.

        Returns
        -------
        Explanation

        Examples
        --------
        >>> import numpy as np, fastconv
        >>> p = fastconv.plan(np.ones((1, 1, 3)), algorithm="reference")
        >>> p.explain((1, 10)).kernel
        'numpy'
        """
        if x_shape is None:
            x_shape = self._input_shape
        if x_shape is None:
            raise ValueError("x_shape=None; wanted a shape, because the plan was made without input_shape")
        return Explanation.of(self._prepare_new(as_shape("x_shape", x_shape)))

    def __repr__(self):
        c = self.tasks.convolution
        kind = "transposed, " if isinstance(c, Transposed) else ""
        return f"<fastconv.Plan: {kind}weight {c.weight_shape}, {self._types.result}, {c.data_format}>"

    def _geometry(self, x_shape):
        geometry = self.tasks.geometry(x_shape)
        if self._input_shape is not None and geometry.size != self.tasks.geometry(self._input_shape).size:
            raise ValueError(f"x has shape {x_shape}; the plan was made for the spatial sizes of {self._input_shape}")
        return geometry

    def _prepare_new(self, x_shape):
        strides = contiguous_strides(self._geometry(x_shape).x_shape, self._types.computed.itemsize)
        return self._prepare(x_shape, strides, None, None)

    def _prepare(self, x_shape, x_strides, add_strides, out_strides):
        bias_strides = None if self._bias is None else self._bias.strides
        return self.tasks.prepare(x_shape, x_strides, add_strides, out_strides, bias_strides, get_num_threads())

    def pack(self, ready):
        """The weights as a task wants them."""
        packed = self._packed.get(ready.packing)
        if packed is None:
            packed = ready.pack(self._weight)
            self._packed.put(ready.packing, packed)
        return packed


def plan_of(weight, bias, arguments, input_shape):
    """The plan that `functional.plan` documents."""
    weight = as_array("weight", weight)
    types = promote(weight=weight.dtype)
    if types.is_complex:
        raise TypeError(f"weight has dtype {weight.dtype}; wanted real numbers: complex ones are for the functions")
    bias = None if bias is None else as_real("bias", bias, types)
    bias_shape = None if bias is None else bias.shape
    tasks = tasks_of(None, weight.shape, bias_shape, types, arguments, in_force())
    input_shape = None if input_shape is None else as_shape("input_shape", input_shape)
    if input_shape is not None:
        tasks.geometry(input_shape)
    weight = np.array(weight, types.computed, order="C")
    if isinstance(tasks.convolution, Convolution):
        tasks = Tasks(replace(tasks.convolution, terms=terms_of(tasks.convolution, weight)), tasks.outcomes)
    return Plan(
        tasks,
        types,
        weight,
        None if bias is None else contiguous(bias.copy(), types.result, types.computed),
        _activations.afterwards(arguments.activation),
        input_shape=input_shape,
    )


def tasks_of(rank, weight_shape, bias_shape, types, arguments, outcomes=None):
    """The `Tasks` of the operation that the arguments are those of."""
    operation, tasks = _OPERATIONS[type(arguments)]
    return tasks(operation.parse(rank, weight_shape, bias_shape, types, arguments), outcomes)


_OPERATIONS = {Arguments: (Convolution, Tasks), TransposedArguments: (Transposed, PhaseTasks)}
