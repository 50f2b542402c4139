"""Where the parameters of a layer come from: parameters that are shared, values that are given, or initialisers."""

from numbers import Number

import numpy as np

from .._arrays import as_real, cast, promote
from .._errors import number
from ..initializers import initializer
from ._parameter import Parameter

FACTORS = ("learn_rate_factor", "l2_factor")


class Factor:
    """An attribute such as ``weight_l2_factor``: the parameter's own, as soon as there is one."""

    def __set_name__(self, owner, name):
        self.name = name
        self.parameter, _, self.attribute = name.partition("_")

    def __get__(self, layer, owner=None):
        if layer is None:
            return self
        parameter = getattr(layer, self.parameter)
        return layer.__dict__[self.name] if parameter is None else getattr(parameter, self.attribute)

    def __set__(self, layer, value):
        layer.__dict__[self.name] = number(self.name, value, 0)
        parameter = getattr(layer, self.parameter)
        if parameter is not None:
            setattr(parameter, self.attribute, value)


def sources(layer, weight, bias):
    """For each parameter the one that is given, or the initialiser that will make it; None for no bias."""
    is_choice = isinstance(bias, (bool, np.bool_))
    return {
        "weight": _source(layer, "weight", weight, weight is None),
        "bias": None if bias is None or (is_choice and not bias) else _source(layer, "bias", bias, is_choice),
    }


def is_array(given):
    """Whether an argument holds values, and neither a number nor a name nor a function that fills a parameter."""
    return not (given is None or isinstance(given, (str, Number, np.bool_)) or callable(given))


def made(layer, name, origin, *arguments):
    """The parameter that `sources` says, made by its initialiser where it gives one."""
    return origin if origin is None or isinstance(origin, Parameter) else _new(layer, name, origin(*arguments))


def _source(layer, name, given, by_default):
    default = initializer(getattr(layer, f"{name}_init"), f"{name}_init")  # looked at in any case
    if by_default:
        return default
    if isinstance(given, Parameter):
        return _shared(layer, name, given)
    if is_array(given):
        return _new(layer, name, as_real(name, given, promote(layer=layer.dtype)))
    return initializer(given, name)


def _new(layer, name, values):
    factors = {factor: getattr(layer, f"{name}_{factor}") for factor in FACTORS}
    return Parameter(cast(values, layer.dtype), name=name, **factors)


def _shared(layer, name, parameter):
    if parameter.dtype != layer.dtype:
        raise TypeError(f"{name} is a Parameter of {parameter.dtype}; wanted the layer's, dtype={layer.dtype}")
    for factor in FACTORS:
        argument = f"{name}_{factor}"
        given, own = getattr(layer, argument), getattr(parameter, factor)
        if given not in (own, layer._arguments()[argument].default):
            raise ValueError(f"{argument}={given!r}, but {name} is a Parameter that has {own!r}; wanted no other")
    return parameter
