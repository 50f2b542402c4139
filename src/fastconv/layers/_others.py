"""Layers that are not this package's: they must be callable and have a ``vjp``; the rest is asked for here."""


def output_shape_of(layer, input_shape):
    """The shape of a layer's output, or None where it is not known."""
    if input_shape is None or not hasattr(layer, "output_shape"):
        return None
    return tuple(layer.output_shape(input_shape))


def named_parameters_of(layer):
    """Pairs (name, parameter) in a list."""
    return list(dict(layer.named_parameters()).items()) if hasattr(layer, "named_parameters") else []


def frozen(layer, input_shape):
    """A layer's plan; one that has none stays as it is."""
    return layer.freeze(input_shape) if hasattr(layer, "freeze") else layer
