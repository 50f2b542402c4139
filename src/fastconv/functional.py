"""The functions: convolutions of one call, the shapes of their results, and how they are computed.

Each is a plan that is used once. What the arguments and shapes alone decide is kept in a small bounded cache; weights,
and anything made from their values, never are.
"""

import inspect
from functools import wraps

import numpy as np

from . import _activations
from ._algorithms import forced
from ._arrays import FLOAT32, as_array, as_real, as_shape, contiguous, contiguous_strides, output, promote
from ._cache import Bounded, typed
from ._complex import complex_forward
from ._explain import Explanation
from ._geometry import Arguments, Convolution
from ._plan import Plan, plan_of
from ._tasks import Tasks
from ._threads import get_num_threads

__all__ = ["conv", "conv1d", "conv2d", "conv3d", "conv_output_shape", "explain", "plan"]

PARAMETERS = """
    stride, dilation : int or sequence of int
        Step of the kernel over the input, and of the taps within the kernel; one number, or one for each spatial axis.
    padding : int, sequence or {"valid", "same", "full"}
        Positions that are added at both ends of each spatial axis: one number, or for each axis a number or a pair
        (before, after). ``"valid"`` adds none, ``"same"`` as many as give ``ceil(size / stride)`` outputs (the odd one
        at the end), ``"full"`` adds ``dilation * (kernel - 1)`` at both ends.
    groups : int
        Groups of channels that are convolved separately.
    padding_mode : str
        Where the values of padded positions come from: ``"constant"`` (``"zeros"``), ``"replicate"`` (``"edge"``,
        ``"nearest"``), ``"symmetric"`` (``"symmetric-include-edge"``), ``"reflect"`` (``"symmetric-exclude-edge"``,
        ``"mirror"``) or ``"circular"`` (``"wrap"``). A pad wider than the input repeats the rule.
    padding_value : float
        The constant.
    flip_kernel : bool
        False is the cross-correlation of neural networks, True the convolution of mathematics and signal processing.
    activation : str, callable or pair of callables, optional
        Applied to the result: ``"relu"``, ``"relu6"``, ``"leaky_relu"``, ``"sigmoid"``, ``"tanh"``, ``"silu"``,
        ``"gelu"``, ``"hardswish"``, a function of arrays, or a pair (function, derivative).
    data_format : {"channels_first", "channels_last"}
        Whether the channels stand before or after the spatial axes.
    precision : {"default", "strict"}
        ``"strict"`` sums products directly, in an order that depends on neither threads nor the size of the input.
    algorithm : str
        ``"auto"``, or an entry of the table of algorithms by name.
""".strip()

ARRAYS = """
    weight : array_like
        ``(out_channels, in_channels // groups, *kernel)``.
    bias : array_like, optional
        ``(out_channels,)``, or ``(out_channels, *output_spatial)`` for one of its own at every position.
""".strip()

_TASKS = Bounded(256)  # for one shape each, and few strides


def _forward_function(name, rank, summary, example):
    """One of the forward functions. Their arguments, and the defaults, stand here and nowhere else."""

    def function(
        x,
        weight,
        bias=None,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        *,
        padding_mode="constant",
        padding_value=0.0,
        flip_kernel=False,
        activation=None,
        data_format="channels_first",
        precision="default",
        algorithm="auto",
        out=None,
    ):
        arguments = Arguments(
            stride,
            padding,
            dilation,
            groups,
            padding_mode,
            padding_value,
            flip_kernel,
            activation,
            data_format,
            precision,
            algorithm,
        )
        return _forward(rank, x, weight, bias, arguments, out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{summary}

    Parameters
    ----------
    x : array_like
        ``(*batch, channels, *spatial)``, or ``(*batch, *spatial, channels)`` with `data_format` ``"channels_last"``;
        any number of batch axes, none included.
    {ARRAYS}
    {PARAMETERS}
    out : ndarray, optional
        Where to put the result: writable, of its exact shape and type, and apart from the inputs.

    Returns
    -------
    ndarray
        A new array, or `out`.

    See Also
    --------
    plan : the same convolution to be called often: faster.
    explain : how it is computed.

    Examples
    --------
    {example}
    """
    return function


conv1d = _forward_function(
    "conv1d",
    1,
    "Convolve signals.",
    """>>> import numpy as np, fastconv
    >>> fastconv.conv1d(np.array([[1, 2, 3, 4]]), np.array([[[3, 2]]]))
    array([[ 7., 12., 17.]])""",
)

conv2d = _forward_function(
    "conv2d",
    2,
    "Convolve images.",
    """>>> import numpy as np, fastconv
    >>> image = np.array([[[3.0, 1.0, 4.0], [1.0, 5.0, 9.0], [2.0, 6.0, 5.0]]])
    >>> fastconv.conv2d(image, np.ones((1, 1, 3, 3)), padding="same", padding_mode="replicate")
    array([[[21., 31., 41.],
            [24., 36., 48.],
            [27., 41., 55.]]])""",
)

conv3d = _forward_function(
    "conv3d",
    3,
    "Convolve volumes.",
    """>>> import numpy as np, fastconv
    >>> fastconv.conv3d(np.ones((2, 1, 8, 9, 10)), np.ones((4, 1, 3, 3, 3)), stride=2).shape
    (2, 4, 3, 4, 4)""",
)

conv = _forward_function(
    "conv",
    None,
    "Convolve arrays with one, two or three spatial axes, as many as the weight has.",
    """>>> import numpy as np, fastconv
    >>> fastconv.conv(np.ones((5, 1, 8)), np.ones((4, 1, 3)), padding="full").shape
    (5, 4, 10)""",
)


def _with_arguments(function):
    """Spell out the parameters that all forward functions share where `function` says ``*arguments``."""
    own = list(inspect.signature(function).parameters.values())
    spread = next(at for at, parameter in enumerate(own) if parameter.kind is parameter.VAR_POSITIONAL)
    first, last = own[:spread], own[spread + 1 :]
    shared = [inspect.signature(conv).parameters[name] for name in Arguments._fields]
    # positional ones before keyword-only ones; the sort is stable
    signature = inspect.Signature(sorted([*first, *shared, *last], key=lambda parameter: parameter.kind))

    @wraps(function)
    def wrapper(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        positional = [given[parameter.name] for parameter in first + shared]
        return function(*positional, **{parameter.name: given[parameter.name] for parameter in last})

    wrapper.__signature__ = signature
    wrapper.__doc__ = function.__doc__.replace("{arrays}", ARRAYS).replace("{parameters}", PARAMETERS)
    return wrapper


@_with_arguments
def plan(weight, bias=None, *arguments, input_shape=None):
    """Prepare a convolution that is called often: copy and pack the weights, choose the algorithm.

    Parameters
    ----------
    {arrays}
    {parameters}
    input_shape : tuple of int, optional
        The shape of the inputs, to prepare everything now. Other batch axes are allowed then, other spatial sizes not.

    Returns
    -------
    Plan
        ``p(x, out=None, *, add=None)`` convolves, in the type of the weights. It never changes, and any number of
        threads may call it at once.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> p = fastconv.plan(np.array([[[1.0, 2.0]]]), bias=[0.5], activation="relu")
    >>> p(np.array([[1.0, -1.0, 2.0]]))
    array([[0. , 3.5]])
    >>> p(np.array([[1.0, -1.0, 2.0]]), add=np.array([[1.0, 1.0]]))
    array([[0.5, 4.5]])
    """
    return plan_of(weight, bias, Arguments(*arguments), input_shape)


@_with_arguments
def conv_output_shape(input_shape, weight_shape, *arguments):
    """The shape of a convolution's result.

    Parameters
    ----------
    input_shape, weight_shape : tuple of int
        Shapes of `x` and `weight`.
    {parameters}

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> import fastconv
    >>> fastconv.conv_output_shape((117, 4, 10, 3), (5, 4, 2, 3))
    (117, 5, 9, 1)
    """
    weight_shape = as_shape("weight_shape", weight_shape)
    convolution = Convolution.parse(None, weight_shape, None, promote(dtype=FLOAT32), Arguments(*arguments))
    return convolution.at(as_shape("input_shape", input_shape)).out_shape


@_with_arguments
def explain(x_shape, weight_shape, *arguments, dtype="float32"):
    """How a convolution of these shapes is computed, and why.

    Parameters
    ----------
    x_shape, weight_shape : tuple of int
        Shapes of `x` and `weight`.
    {parameters}
    dtype : dtype
        Type of both.

    Returns
    -------
    Explanation
        A frozen object with `algorithm`, `kernel`, `declined` (name → why), `flops` and `workspace_bytes`; its ``str``
        is a table.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.explain((1, 64, 56, 56), (64, 64, 3, 3), padding=1).flops
    231211008
    """
    weight_shape, x_shape = as_shape("weight_shape", weight_shape), as_shape("x_shape", x_shape)
    types = promote(dtype=np.dtype(dtype)).of_parts
    tasks = Tasks(Convolution.parse(None, weight_shape, None, types, Arguments(*arguments)))
    strides = contiguous_strides(x_shape, types.computed.itemsize)
    return Explanation.of(tasks.prepare(x_shape, strides, None, None, None, get_num_threads()))


def _forward(rank, x, weight, bias, arguments, out):
    x, weight = as_array("x", x), as_array("weight", weight)
    bias = None if bias is None else as_array("bias", bias)
    types = promote(x=x.dtype, weight=weight.dtype)
    bias_shape = None if bias is None else bias.shape
    if types.is_complex:
        return complex_forward(_forward, rank, x, weight, bias, arguments, types, out)
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
    return result


def _tasks(rank, x_shape, weight_shape, bias_shape, types, arguments):
    """The `Tasks` of these arguments, kept from call to call for each shape of input."""
    key = (rank, x_shape, weight_shape, bias_shape, types, forced(), *map(typed, arguments))
    try:
        found = _TASKS.get(key)
    except TypeError:  # an argument that no key can hold: parsing it says which
        found = None
    if found is None:
        found = Tasks(Convolution.parse(rank, weight_shape, bias_shape, types, arguments), limit=4)
        _TASKS.put(key, found)
    return found
