"""The layer of a convolution, for any number of axes and in either direction.

`ConvolutionLayer` is all of it but the functions that it calls and the arguments that one direction has alone: those
are in ``_conv.py``. The arguments that all layers have in common stand here, once.
"""

from functools import cache
from inspect import signature
from typing import NamedTuple

import numpy as np

from .._arrays import as_real, cast, promote
from .._errors import flag, integer, sequence
from ..initializers import fans
from ._arguments import literal
from ._layer import Layer, partial_shape
from ._naming import Named
from ._parameter import Parameter
from ._reading import channels, check_rng, read_bias_shape, read_dtype, read_sizes, weight_shape
from ._sources import Factor, is_array, made, sources
from ._vjp import check_differentiable, pull_back


class Functions(NamedTuple):
    """The public functions that a layer stands on."""

    forward: object
    backward: object
    output_shape: object
    plan: object


class Known(NamedTuple):
    """What an input may have to settle, with None for what is not known."""

    in_channels: int | None
    bias_shape: tuple | None  # None also where there is no bias
    input_shape: tuple | None  # the constructor's, or the one that untied biases are for

    @property
    def missing(self):
        names = ["in_channels"] if self.in_channels is None else []
        return [*names, "the shape of the bias"] if None in (self.bias_shape or ()) else names


class Settled(NamedTuple):
    """What a layer has as soon as all is known."""

    known: Known
    parameters: dict  # "weight" and "bias"; the latter may be None


class ConvolutionLayer(Layer):
    """A convolution with parameters."""

    rank = None  # 1, 2 or 3; None: as kernel_size or a given weight says
    _sources = {"weight": None, "bias": None}  # noqa: RUF012 — until the constructor has read them
    _settled = None

    weight_learn_rate_factor = Factor()
    bias_learn_rate_factor = Factor()
    weight_l2_factor = Factor()
    bias_l2_factor = Factor()

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding,
        dilation,
        groups,
        bias,
        *,
        flip_kernel=False,
        activation=None,
        untie_biases=False,
        data_format="channels_first",
        precision="default",
        algorithm="auto",
        weight=None,
        weight_init="glorot",
        bias_init="zeros",
        weight_learn_rate_factor=1.0,
        bias_learn_rate_factor=1.0,
        weight_l2_factor=1.0,
        bias_l2_factor=0.0,
        input_shape=None,
        dtype="float32",
        rng=None,
        name=None,
    ):
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = integer("groups", groups, 1)
        self.flip_kernel = flip_kernel
        self.activation = activation
        self.untie_biases = flag("untie_biases", untie_biases)
        self.data_format = data_format
        self.precision = precision
        self.algorithm = algorithm
        self.weight_init = weight_init
        self.bias_init = bias_init
        self.weight_learn_rate_factor = weight_learn_rate_factor
        self.bias_learn_rate_factor = bias_learn_rate_factor
        self.weight_l2_factor = weight_l2_factor
        self.bias_l2_factor = bias_l2_factor
        self.dtype = read_dtype(dtype)
        self.rng = rng
        check_rng(rng)
        self._set_name(name)

        self._sources = sources(self, weight, bias)
        # values are not shown by repr
        self._given |= {"weight": None if is_array(weight) else weight, "bias": is_array(bias) or bias}
        in_channels, self.out_channels, self.kernel_size = read_sizes(self, in_channels, out_channels, kernel_size)
        self.rank = len(self.kernel_size)
        input_shape = None if input_shape is None else partial_shape("input_shape", input_shape)
        self._known = Known(in_channels, read_bias_shape(self, self._sources["bias"]), input_shape)
        found = {}
        self._walk(self._first_shape(), found)  # refuses what no input could fit
        if not found[self].missing:
            self._settle([self._first_shape()])

    def __repr__(self):
        arguments = self._arguments()
        values = {name: getattr(self, name) for name in arguments} | self._given
        if not isinstance(self.rng, (int, np.integer)):
            values["rng"] = None  # a generator has moved on since
        first = [literal(values.pop(name)) for name in ("in_channels", "out_channels", "kernel_size")]
        others = {name: literal(value) for name, value in values.items()}
        shown = [f"{name}={text}" for name, text in others.items() if text != literal(arguments[name].default)]
        return f"{type(self).__name__}({', '.join(first + shown)})"

    # What is known

    @property
    def in_channels(self):
        return self._current().in_channels

    @property
    def input_shape(self):
        return self._current().input_shape

    @property
    def weight(self):
        """The `Parameter`; None before it is settled."""
        return self._parameter("weight")

    @property
    def bias(self):
        """The `Parameter`; None before it is settled, and where there is none."""
        return self._parameter("bias")

    def named_parameters(self):
        """Pairs (name, `Parameter`) in a list, ``"weight"`` and ``"bias"``; none before they are settled."""
        if self._is_open():
            return []
        return [(name, parameter) for name, parameter in self._settled.parameters.items() if parameter is not None]

    def _parameter(self, name):
        found = (self._sources if self._settled is None else self._settled.parameters)[name]
        return found if isinstance(found, Parameter) else None

    def _is_open(self):
        return self._settled is None

    def _current(self):
        return self._known if self._settled is None else self._settled.known

    def _unknown(self):
        return [f"{what} of {self.name}" for what in self._current().missing] if self._is_open() else []

    def _values(self):
        return [None if parameter is None else parameter.value for parameter in self._settled.parameters.values()]

    @classmethod
    @cache
    def _arguments(cls):
        """The constructor's, of the class that a direction has: those of a caller's subclass may be others."""
        own = next(base for base in cls.__mro__ if "_functions" in vars(base))
        return signature(own).parameters

    @classmethod
    @cache
    def _option_names(cls):
        """The arguments that the functions have in common with the constructor, but for the arrays."""
        names = signature(cls._functions.forward).parameters
        return [name for name in names if name in cls._arguments() and name not in cls._sources]

    def _options(self):
        return {name: getattr(self, name) for name in self._option_names()}

    # Shapes

    def _axes(self):
        """The axis of channels and the spatial ones, counted from the end."""
        if self.data_format == "channels_last":
            return -1, range(-self.rank - 1, -1)
        return -self.rank - 1, range(-self.rank, 0)

    def _first_shape(self):
        if self.input_shape is not None:
            return self.input_shape
        channel_axis, _ = self._axes()
        return tuple(self.in_channels if axis == channel_axis else None for axis in range(-self.rank - 1, 0))

    def _walk(self, input_shape, found):
        with Named(self):
            known = found.get(self) or self._current()
            channel_axis, spatial_axes = self._axes()
            if known.in_channels is None and len(input_shape) > self.rank:
                known = known._replace(in_channels=input_shape[channel_axis])
                if known.in_channels == 0:
                    raise ValueError(f"x has 0 channels (shape {input_shape}); wanted at least 1, as weight has")
            shape = self._output_shape(input_shape, known.in_channels)
            if known.bias_shape is not None and self.untie_biases:
                known = _fitted(known, [shape[axis] for axis in spatial_axes], input_shape[-self.rank - 1 :])
        if self._is_open():
            found[self] = known
        return shape

    def _output_shape(self, input_shape, in_channels):
        """By the public function, which wants sizes: for those that are not known, some that the arguments allow."""
        weight = weight_shape(self, self.groups if in_channels is None else in_channels)
        channel_axis, spatial_axes = self._axes()
        some = dict(zip(spatial_axes, self._some_sizes(weight), strict=True))
        some[channel_axis], _ = channels(self, weight)
        axes = range(-len(input_shape), 0)
        sizes = [some.get(axis, 1) if size is None else size for axis, size in zip(axes, input_shape, strict=True)]
        shape = self._functions.output_shape(tuple(sizes), weight, **self._options())
        return tuple(
            None if given is None and axis != channel_axis else size
            for axis, given, size in zip(axes, input_shape, shape, strict=True)
        )

    def _some_sizes(self, weight_shape):
        reach = _largest(self.kernel_size) * _largest(self.dilation)
        return [reach + 2 * _largest(self.padding)] * self.rank

    def _initial(self, known):
        with Named(self):
            if known.missing:
                raise ValueError(f"the shape of the input does not tell {' and '.join(known.missing)}")
            shapes = {"weight": weight_shape(self, known.in_channels), "bias": known.bias_shape}
            rng, counts = np.random.default_rng(self.rng), fans(shapes["weight"], self.groups, self._transposed)
            parameters = {
                name: made(self, name, origin, shapes[name], rng, *counts, self.dtype)
                for name, origin in self._sources.items()
            }
        return Settled(known, parameters)

    def _parts(self):
        return [(self.name, self)]

    # Calls

    def __call__(self, x):
        """Convolve `x`.

        Parameters
        ----------
        x : array_like, or list or tuple of array_like
            ``(*batch, channels, *spatial)``, or as `data_format` says; cast to the layer's type. A list or tuple is
            always a list of inputs, whose sizes may differ.

        Returns
        -------
        ndarray or list of ndarray
        """
        self._settle_for(x)
        results = [self._forward(one) for one in self._inputs(x)]
        return results if _is_list(x) else results[0]

    def vjp(self, x):
        """Convolve `x`, and prepare the way back (a vector-Jacobian product).

        Parameters
        ----------
        x : array_like, or list or tuple of array_like
            As in a call. It must not change before the way back.

        Returns
        -------
        y : ndarray or list of ndarray
            What a call returns.
        backward : callable
            ``grad_x = backward(grad_y)`` takes the gradient of a number with respect to `y`, adds to the `grad` of each
            parameter, and returns the gradient with respect to `x`. It may be called more than once.
        """
        self._check_differentiable()
        self._settle_for(x)
        many = _is_list(x)
        results, ways_back = [], []
        for one in self._inputs(x):
            y, way_back = self._pull_back(one)
            results.append(y)
            ways_back.append(way_back)
        shapes = [y.shape for y in results]

        def backward(grad_y):
            with Named(self):
                grads = self._output_gradients(grad_y if many else [grad_y], shapes)
                # all of them before the first is added
                found = [way_back(grad) for way_back, grad in zip(ways_back, grads, strict=True)]
            for _, *of_parameters in found:
                for parameter, grad in zip(self._settled.parameters.values(), of_parameters, strict=True):
                    if parameter is not None:
                        parameter.add_grad(grad)
            grad_x = [grad for grad, *_ in found]
            return grad_x if many else grad_x[0]

        return results if many else results[0], backward

    def freeze(self, input_shape=None):
        """A `Plan` with the values that the parameters have now.

        Parameters
        ----------
        input_shape : tuple of int, optional
            The shape of the inputs, to prepare everything now.
        """
        self._require_settled("a plan")
        return self._functions.plan(*self._values(), **self._options(), input_shape=input_shape)

    def _inputs(self, x):
        with Named(self):
            return [as_real("x", one, promote(layer=self.dtype)) for one in (x if _is_list(x) else [x])]

    def _input_shapes(self, x):
        return [one.shape for one in self._inputs(x)]

    def _forward(self, x):
        with Named(self):
            if promote(x=x.dtype, layer=self.dtype).result == self.dtype:
                return self._functions.forward(x, *self._values(), **self._options())
            return self.freeze()(x)  # a plan casts to the type of the weights, block by block

    def _pull_back(self, x):
        with Named(self):
            return pull_back(self._functions, self._options(), cast(x, self.dtype), *self._values())

    def _output_gradients(self, grads, shapes):
        if not _is_list(grads) or len(grads) != len(shapes):
            came = f"{len(grads)} arrays" if _is_list(grads) else f"type {type(grads).__name__}"
            raise TypeError(f"grad_y has {came}; wanted a list of {len(shapes)} arrays, one for each input")
        arrays = [as_real("grad_y", grad, promote(layer=self.dtype)) for grad in grads]
        for array, shape in zip(arrays, shapes, strict=True):
            if array.shape != shape:
                raise ValueError(f"grad_y has shape {array.shape}; wanted that of the output, {shape}")
        return [cast(array, self.dtype) for array in arrays]

    def _check_differentiable(self):
        with Named(self):
            check_differentiable(self.activation)


def _fitted(known, spatial, input_shape):
    """`known` with an untied bias for an output of this spatial shape."""
    agreed = []
    for own, size in zip(known.bias_shape[1:], spatial, strict=True):
        if None not in (own, size) and own != size:
            raise ValueError(
                f"bias has shape {known.bias_shape}, for every position of the output, which would have the spatial "
                f"shape {tuple(spatial)} for this input"
            )
        agreed.append(size if own is None else own)
    known = known._replace(bias_shape=(known.bias_shape[0], *agreed))
    if None in (known.input_shape or (None,)) and None not in input_shape:
        known = known._replace(input_shape=input_shape)
    return known


def _is_list(x):
    return isinstance(x, (list, tuple))


def _largest(value):
    """The largest number in an argument of integers."""
    entries = sequence(value)
    if entries is not None:
        return max(map(_largest, entries), default=0)
    return int(value) if isinstance(value, (int, np.integer)) else 0
