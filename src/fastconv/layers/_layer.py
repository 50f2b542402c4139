"""What a layer and a chain of layers have in common: names, parameters, state, and what is settled late.

A layer computes by the public functions alone. It holds its parameters and what the constructor was told, and keeps
nothing of a call. What is not known from the beginning is settled once, as one object in one assignment: other threads
see all of it or nothing.
"""

from threading import RLock

from .._errors import integer, sequence
from ._info import describe
from ._naming import name_format, new_name
from ._state import load, load_state, save, state_of

# One for all layers, since each takes it once in its life; so none has a lock that copies would have to leave out.
# Reentrant, because initialisers are the caller's functions.
_SETTLING = RLock()


class Layer:
    """The part that layers and chains of them share.

    A subclass has ``named_parameters()`` and

    - ``_walk(input_shape, found)``: checks a shape of input, returns that of the output, which may be None for unknown,
      and puts what the shape settles into `found`: layer → what ``layer._initial`` makes parameters of;
    - ``_first_shape()``: what is known of the input's shape from the beginning;
    - ``_input_shapes(x)``: the shapes of an input, or of a list of them;
    - ``_is_open()``, ``_unknown()``: whether something is to be settled, and what;
    - ``_check_differentiable()``: raises where there is no way back;
    - ``_parts()``: pairs (name, layer), with those of an inner chain in its place.
    """

    def _set_name(self, name):
        self._given = {"name": name}
        self._name_format = name_format(name, self)
        self.name = new_name(self._name_format)

    def parameters(self):
        """The parameters, each once, in a list."""
        return [parameter for _, parameter in self.named_parameters()]

    def build(self, input_shape):
        """Settle what is not yet known.

        Parameters
        ----------
        input_shape : tuple of int or None
            With or without batch axes; None for a size that is not known and not needed.

        Returns
        -------
        The layer itself.
        """
        self._settle([partial_shape("input_shape", input_shape)])
        return self

    def output_shape(self, input_shape):
        """The shape of the output for this shape of input, in which None stands for an unknown size."""
        shape = self._walk(partial_shape("input_shape", input_shape), {})
        if shape is None:
            raise TypeError(f"{self.name} has a layer without output_shape; wanted one in every layer")
        return shape

    def info(self, input_shape=None):
        """What the layers make of an input, and what it costs: an `Info`, whose ``str`` is a table.

        Parameters
        ----------
        input_shape : tuple of int or None, optional
            By default the constructor's; what depends on an unknown size is None.
        """
        shape = self._first_shape() if input_shape is None else partial_shape("input_shape", input_shape)
        return describe(self._parts(), shape)

    def state_dict(self):
        """The values of the parameters by name, copied."""
        self._require_settled("a state")
        return state_of(self.named_parameters())

    def load_state_dict(self, state):
        """Take the values of `state`: of exactly these names, shapes and types, or nothing is changed."""
        self._require_settled("a state")
        load_state(self.named_parameters(), state)

    def save(self, path):
        """Write the state to a file, ``.npz`` or ``.safetensors``."""
        save(path, self.state_dict())

    def load(self, path):
        """`load_state_dict` of what `save` wrote."""
        self._require_settled("a state")
        self.load_state_dict(load(path))

    def _settle_for(self, x):
        """Settle what is open by an input, or a list of them."""
        if self._is_open():
            self._settle(self._input_shapes(x))

    def _settle(self, input_shapes):
        """Settle all that is open, or, where a shape does not fit, nothing."""
        with _SETTLING:
            found = {}
            for shape in input_shapes:
                self._walk(shape, found)
            settled = {layer: layer._initial(known) for layer, known in found.items()}
            for layer, parameters in settled.items():
                layer._settled = parameters

    def _require_settled(self, what):
        unknown = self._unknown()
        if unknown:
            raise ValueError(
                f"{what} wants what is not known yet: {' and '.join(unknown)}; give input_shape, or call "
                "build(input_shape) or the layer"
            )


def partial_shape(name, shape):
    """`shape` as a tuple of sizes and None."""
    sizes = sequence(shape)
    if sizes is None:
        raise TypeError(
            f"{name}={shape!r} has type {type(shape).__name__}; wanted a tuple of sizes, None where unknown"
        )
    return tuple(None if size is None else integer(name, size, 0) for size in sizes)
