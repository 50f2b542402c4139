"""The functions: convolutions of one call, the shapes of their results, and how they are computed."""

import numpy as np

from ._arrays import FLOAT32, as_shape, contiguous_strides, promote
from ._call import call
from ._errors import flag
from ._explain import Explanation
from ._geometry import Arguments, Convolution
from ._plan import plan_of
from ._signatures import ARRAYS, PARAMETERS, TRANSPOSED_ARRAYS, TRANSPOSED_PARAMETERS, with_arguments
from ._tasks import Tasks
from ._threads import get_num_threads
from ._transposed import Transposed, TransposedArguments

__all__ = [
    "conv",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_output_shape",
    "conv_transpose",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "conv_transpose_output_shape",
    "explain",
    "plan",
]


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
        arguments = (
            rank,
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
        return call(Arguments, arguments, x, weight, bias, out)

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


def _transposed_function(name, rank, summary, example):
    """One of the functions of transposed convolutions. Their arguments, and the defaults, stand only here."""

    def function(
        x,
        weight,
        bias=None,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        dilation=1,
        *,
        output_size=None,
        flip_kernel=False,
        activation=None,
        data_format="channels_first",
        precision="default",
        algorithm="auto",
        out=None,
    ):
        arguments = (
            rank,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
            output_size,
            flip_kernel,
            activation,
            data_format,
            precision,
            algorithm,
        )
        return call(TransposedArguments, arguments, x, weight, bias, out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{summary}

    This is the adjoint of the convolution with the same weight and arguments: it takes arrays of the shape of that
    one's result to the shape of its input.

    Parameters
    ----------
    x : array_like
        ``(*batch, channels, *spatial)``, or ``(*batch, *spatial, channels)`` with `data_format` ``"channels_last"``;
        any number of batch axes, none included.
    {TRANSPOSED_ARRAYS}
    {TRANSPOSED_PARAMETERS}
    out : ndarray, optional
        Where to put the result: writable, of its exact shape and type, and apart from the inputs.

    Returns
    -------
    ndarray
        A new array, or `out`.

    See Also
    --------
    plan : with ``transposed=True`` the same to be called often: faster.

    Examples
    --------
    {example}
    """
    return function


conv_transpose1d = _transposed_function(
    "conv_transpose1d",
    1,
    "Convolve signals, transposed.",
    """>>> import numpy as np, fastconv
    >>> fastconv.conv_transpose1d(np.array([[1, 2, 3]]), np.array([[[1, 10]]]), stride=2)
    array([[ 1., 10.,  2., 20.,  3., 30.]])""",
)

conv_transpose2d = _transposed_function(
    "conv_transpose2d",
    2,
    "Convolve images, transposed.",
    """>>> import numpy as np, fastconv
    >>> fastconv.conv_transpose2d(np.ones((8, 14, 14)), np.ones((8, 3, 4, 4)), stride=2, padding=1).shape
    (3, 28, 28)""",
)

conv_transpose3d = _transposed_function(
    "conv_transpose3d",
    3,
    "Convolve volumes, transposed.",
    """>>> import numpy as np, fastconv
    >>> x, weight = np.ones((4, 3, 4, 4)), np.ones((4, 1, 3, 3, 3))
    >>> fastconv.conv_transpose3d(x, weight, stride=2, output_size=(7, 9, 10)).shape
    (1, 7, 9, 10)""",
)

conv_transpose = _transposed_function(
    "conv_transpose",
    None,
    "Convolve arrays with one, two or three spatial axes, as many as the weight has, transposed.",
    """>>> import numpy as np, fastconv
    >>> fastconv.conv_transpose(np.ones((5, 4, 10)), np.ones((4, 1, 3)), padding="full").shape
    (5, 1, 8)""",
)


@with_arguments(conv, Arguments._fields)
def plan(weight, bias=None, *arguments, transposed=False, output_padding=0, output_size=None, input_shape=None):
    """Prepare a convolution that is called often: copy and pack the weights, choose the algorithm.

    Parameters
    ----------
    {arrays}
    {parameters}
    transposed : bool
        Whether to prepare a transposed convolution: `weight`, `padding` and the next two are then what they are in
        `conv_transpose`.
    output_padding, output_size : int or sequence of int
        Of transposed convolutions only.
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
    arguments = Arguments(*arguments)
    if flag("transposed", transposed):
        own = {"output_padding": output_padding, "output_size": output_size}
        arguments = TransposedArguments(**arguments._asdict(), **own)
    elif output_size is not None or type(output_padding) is not int or output_padding:
        raise ValueError(
            f"output_padding={output_padding!r} and output_size={output_size!r} without transposed=True; "
            "wanted 0 and None"
        )
    return plan_of(weight, bias, arguments, input_shape)


@with_arguments(conv, Arguments._fields)
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


@with_arguments(conv_transpose, TransposedArguments._fields)
def conv_transpose_output_shape(input_shape, weight_shape, *arguments):
    """The shape of a transposed convolution's result.

    Parameters
    ----------
    input_shape, weight_shape : tuple of int
        Shapes of `x` and `weight`.
    {transposed_parameters}

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> import fastconv
    >>> fastconv.conv_transpose_output_shape((1, 17, 17), (1, 1, 3, 3), stride=2, padding=2)
    (1, 31, 31)
    """
    weight_shape = as_shape("weight_shape", weight_shape)
    operation = Transposed.parse(None, weight_shape, None, promote(dtype=FLOAT32), TransposedArguments(*arguments))
    return operation.at(as_shape("input_shape", input_shape)).out_shape


@with_arguments(conv, Arguments._fields)
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
