"""What the public functions have in common: the documentation of their parameters, and how they take them."""

import inspect
from functools import wraps

ARRAYS = """
    weight : array_like
        ``(out_channels, in_channels // groups, *kernel)``.
    bias : array_like, optional
        ``(out_channels,)``, or ``(out_channels, *output_spatial)`` for one of its own at every position.
""".strip()

TRANSPOSED_ARRAYS = ARRAYS.replace(
    "``(out_channels, in_channels // groups, *kernel)``", "``(in_channels, out_channels // groups, *kernel)``"
)

_STEPS = """
    stride, dilation : int or sequence of int
        Step of the kernel over the input, and of the taps within the kernel; one number, or one for each spatial axis.
"""

_GROUPS = """
    groups : int
        Groups of channels that are convolved separately.
"""

_COMPUTING = """
    activation : str, callable or pair of callables, optional
        Applied to the result: ``"relu"``, ``"relu6"``, ``"leaky_relu"``, ``"sigmoid"``, ``"tanh"``, ``"silu"``,
        ``"gelu"``, ``"hardswish"``, a function of arrays, or a pair (function, derivative).
    data_format : {"channels_first", "channels_last"}
        Whether the channels stand before or after the spatial axes.
    precision : {"default", "strict"}
        ``"strict"`` sums products directly, in an order that depends on neither threads nor the size of the input.
    algorithm : str
        ``"auto"``, or an entry of the table of algorithms by name.
"""

PARAMETERS = f"""
    {_STEPS.strip()}
    padding : int, sequence or {{"valid", "same", "full"}}
        Positions that are added at both ends of each spatial axis: one number, or for each axis a number or a pair
        (before, after). ``"valid"`` adds none, ``"same"`` as many as give ``ceil(size / stride)`` outputs (the odd one
        at the end), ``"full"`` adds ``dilation * (kernel - 1)`` at both ends.
    {_GROUPS.strip()}
    padding_mode : str
        Where the values of padded positions come from: ``"constant"`` (``"zeros"``), ``"replicate"`` (``"edge"``,
        ``"nearest"``), ``"symmetric"`` (``"symmetric-include-edge"``), ``"reflect"`` (``"symmetric-exclude-edge"``,
        ``"mirror"``) or ``"circular"`` (``"wrap"``). A pad wider than the input repeats the rule.
    padding_value : float
        The constant.
    flip_kernel : bool
        False is the cross-correlation of neural networks, True the convolution of mathematics and signal processing.
    {_COMPUTING.strip()}
""".strip()

TRANSPOSED_PARAMETERS = f"""
    {_STEPS.strip()}
    padding : int, sequence or {{"valid", "same", "full"}}
        Positions that are cropped at both ends of each spatial axis, those that the forward convolution of these
        arguments would have padded: one number, or for each axis a number or a pair (before, after). ``"valid"`` crops
        none, ``"same"`` as many as leave ``size * stride`` (the odd one at the end; zeros extend an output that is
        shorter), ``"full"`` crops ``dilation * (kernel - 1)`` at both ends.
    output_padding : int or sequence of int
        Positions by which the output is longer at the end of each spatial axis; less than the larger of `stride` and
        `dilation`.
    {_GROUPS.strip()}
    output_size : int or sequence of int, optional
        The spatial shape of the output, instead of `output_padding`.
    flip_kernel : bool
        That of the forward convolution, whose adjoint this is.
    {_COMPUTING.strip()}
""".strip()


def with_arguments(like, fields):
    """Spell out the parameters of the function `like` that are among `fields`, where a function says ``*arguments``."""
    known = inspect.signature(like).parameters
    shared = [known[name] for name in fields if name in known]

    def decorate(function):
        own = list(inspect.signature(function).parameters.values())
        spread = next(at for at, parameter in enumerate(own) if parameter.kind is parameter.VAR_POSITIONAL)
        first, last = own[:spread], own[spread + 1 :]
        # positional ones before keyword-only ones; the sort is stable
        signature = inspect.Signature(sorted([*first, *shared, *last], key=lambda parameter: parameter.kind))
        wrapper = wraps(function)(_spelled(signature, function, [parameter.name for parameter in first + shared], last))
        wrapper.__signature__ = signature
        for mark, text in _TEXTS.items():
            wrapper.__doc__ = wrapper.__doc__.replace(mark, text)
        return wrapper

    return decorate


def _spelled(signature, function, positional, keywords):
    """A function with this signature that calls `function`: compiled, for Python is quickest at its own parameters."""
    plain = inspect.Signature(
        parameter
        if parameter.default is parameter.empty
        else parameter.replace(default=_Name(f"_defaults[{name!r}]"))
        for name, parameter in signature.parameters.items()
    )
    values = ", ".join([*positional, *(f"{parameter.name}={parameter.name}" for parameter in keywords)])
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    scope = {"_function": function, "_defaults": defaults}
    exec(f"def wrapper{plain}: return _function({values})", scope)
    return scope["wrapper"]


class _Name(str):
    """Code whose `repr` is itself."""

    __repr__ = str.__str__


_TEXTS = {
    "{arrays}": ARRAYS,
    "{parameters}": PARAMETERS,
    "{transposed_arrays}": TRANSPOSED_ARRAYS,
    "{transposed_parameters}": TRANSPOSED_PARAMETERS,
}
