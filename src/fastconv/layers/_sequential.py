"""Layers one after the other."""

from textwrap import indent

from ._layer import Layer
from ._naming import name_format, unique_names
from ._others import frozen, named_parameters_of, output_shape_of


class Sequential(Layer):
    """Layers that are called one after the other.

    Parameters
    ----------
    *layers
        Anything that can be called and has a ``vjp``: the layers of this package, other chains, objects of yours.
    name : str, optional
        As that of a layer.

    Notes
    -----
    Names are unique in a chain. A layer that was given a format, or no name, gets the lowest number that is free, and
    that becomes its `name`, by which errors call it. The same layer may stand in several places.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> net = fastconv.Sequential(
    ...     fastconv.Conv2d(1, 8, 3, activation="relu", name="conv{}"),
    ...     fastconv.Conv2d(8, 10, 3, name="conv{}"),
    ... )
    >>> net(np.ones((32, 1, 12, 12), np.float32)).shape
    (32, 10, 8, 8)
    >>> net["conv2"]
    Conv2d(8, 10, (3, 3), name='conv{}')
    >>> [name for name, _ in net.named_parameters()]
    ['conv1.weight', 'conv1.bias', 'conv2.weight', 'conv2.bias']
    """

    def __init__(self, *layers, name=None):
        for place, layer in enumerate(layers):
            if isinstance(layer, type) or not callable(layer) or not callable(getattr(layer, "vjp", None)):
                raise TypeError(
                    f"layer {place} is {layer!r}, of type {type(layer).__name__}; wanted an object that can be called "
                    "and has a vjp"
                )
        self._layers = layers
        distinct = {id(layer): layer for layer in layers}.values()
        names = unique_names([_format_of(layer) for layer in distinct])
        self._by_name = dict(zip(names, distinct, strict=True))
        for layer_name, layer in self._by_name.items():
            if isinstance(layer, Layer):
                layer.name = layer_name
        self._set_name(name)

    def __call__(self, x):
        """The result of the last layer; of a list of inputs a list, as each layer has it."""
        self._settle_for(x)
        for layer in self._layers:
            x = layer(x)
        return x

    def vjp(self, x):
        """The result, and the way back: see `Conv.vjp`."""
        self._check_differentiable()
        self._settle_for(x)
        ways_back = []
        for layer in self._layers:
            x, way_back = layer.vjp(x)
            ways_back.append(way_back)

        def backward(grad_y):
            for way_back in reversed(ways_back):
                grad_y = way_back(grad_y)
            return grad_y

        return x, backward

    def freeze(self, input_shape=None):
        """A `Chain` of plans with the parameters as they are now. What has no ``freeze`` stays as it is.

        Parameters
        ----------
        input_shape : tuple of int, optional
            The shape of the inputs, to prepare everything now.
        """
        self._require_settled("a plan")
        steps = []
        for layer in self._layers:
            steps.append(frozen(layer, input_shape))
            input_shape = output_shape_of(layer, input_shape)
        return Chain(*steps)

    def named_parameters(self):
        """Pairs (name, `Parameter`) in a list: ``"conv1.weight"``. Shared ones are listed once, by their first name."""
        found = {}
        for name, layer in self._by_name.items():
            for own_name, parameter in named_parameters_of(layer):
                found.setdefault(parameter, f"{name}.{own_name}")
        return [(name, parameter) for parameter, name in found.items()]

    def named_layers(self):
        """Pairs (name, layer) in a list, in the order of calls; as often as a layer is called."""
        names = {id(layer): name for name, layer in self._by_name.items()}
        return [(names[id(layer)], layer) for layer in self._layers]

    def __getitem__(self, key):
        """The layer of that name or at that place; for a slice, a tuple of layers."""
        if isinstance(key, str):
            if key not in self._by_name:
                raise KeyError(f"{key!r} is no layer; there are {', '.join(map(repr, self._by_name)) or 'none'}")
            return self._by_name[key]
        return self._layers[key]

    def __len__(self):
        return len(self._layers)

    def __iter__(self):
        return iter(self._layers)

    def __repr__(self):
        entries = list(map(repr, self._layers))
        if self._given["name"] is not None:
            entries.append(f"name={self._given['name']!r}")
        lines = indent("".join(f"{entry},\n" for entry in entries), "    ")
        return f"Sequential(\n{lines})" if entries else "Sequential()"

    def _parts(self):
        for name, layer in self.named_layers():
            if isinstance(layer, Sequential):
                yield from ((f"{name}.{inner}", part) for inner, part in layer._parts())
            else:
                yield name, layer

    def _own(self):
        """Those of the layers that are this package's."""
        return [layer for layer in self._by_name.values() if isinstance(layer, Layer)]

    def _is_open(self):
        return any(layer._is_open() for layer in self._own())

    def _unknown(self):
        return [what for layer in self._own() for what in layer._unknown()]

    def _check_differentiable(self):
        for layer in self._own():
            layer._check_differentiable()

    def _first(self):
        return self._layers[0] if self._layers and isinstance(self._layers[0], Layer) else None

    def _first_shape(self):
        return None if self._first() is None else self._first()._first_shape()

    def _input_shapes(self, x):
        return [] if self._first() is None else self._first()._input_shapes(x)

    def _walk(self, input_shape, found):
        """As far as shapes are known: what stands behind a layer that tells none settles itself as inputs reach it."""
        for layer in self._layers:
            is_own = isinstance(layer, Layer)
            input_shape = layer._walk(input_shape, found) if is_own else output_shape_of(layer, input_shape)
            if input_shape is None:
                break
        return input_shape


class Chain:
    """What a frozen `Sequential` is: plans that are called one after the other.

    It never changes, and any number of threads may call it at once, as far as that holds for all its steps.

    Parameters
    ----------
    *steps : callable

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> net = fastconv.Sequential(fastconv.Conv1d(1, 2, 3), fastconv.Conv1d(2, 1, 3))
    >>> chain = net.freeze()
    >>> chain(np.ones((1, 10), np.float32)).shape
    (1, 6)
    >>> len(chain)
    2
    """

    def __init__(self, *steps):
        self.steps = steps

    def __call__(self, x):
        for step in self.steps:
            x = step(x)
        return x

    def __len__(self):
        return len(self.steps)

    def __repr__(self):
        return f"<fastconv.Chain: {', '.join(map(repr, self.steps))}>"


def _format_of(layer):
    return layer._name_format if isinstance(layer, Layer) else name_format(getattr(layer, "name", None), layer)
