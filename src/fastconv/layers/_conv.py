"""The layers of convolutions: their signatures, and what is particular to each direction."""

from functools import partial

from .. import functional, gradients
from .._errors import sequence
from .._signatures import PARAMETERS, TRANSPOSED_PARAMETERS
from ._arguments import spelled_out
from ._convolution import ConvolutionLayer, Functions

_CHANNELS = """
    in_channels : int or None
        Channels of the input. None: as a given weight, `input_shape`, `build` or the first input says, once.
    out_channels : int or None
        Channels of the output. None: as a given weight says.
    kernel_size : int, sequence of int, or None
        One number, or one for each spatial axis. None: as a given weight says.
"""

_PARAMETERS = """
    bias : bool, array_like, number, initialiser or Parameter, optional
        Whether there is one, or its values, or what gives them; a `Parameter` is shared.
    untie_biases : bool
        A bias of its own for every position of the output, ``(out_channels, *output_spatial)``. The layer then takes
        inputs of one size.
    weight : array_like, number, initialiser or Parameter, optional
        Values for the weight, or what gives them; a `Parameter` is shared: gradients add up in it.
    weight_init, bias_init : str, initialiser or callable
        What fills the parameters where no values are given: the name of one of `fastconv.initializers`, such as
        ``"glorot"``, an object of that module, or a function ``shape -> array``.
    weight_learn_rate_factor, bias_learn_rate_factor, weight_l2_factor, bias_l2_factor : float
        By what an optimiser multiplies its learning rate and its L2 factor for these parameters.
    input_shape : tuple of int or None, optional
        With or without batch axes, None for sizes that are not known. It settles what is open.
    dtype : {"float32", "float64"}
        Type of the parameters, to which inputs are cast.
    rng : numpy.random.Generator, int or None
        Where random values come from; an integer is a seed.
    name : str, optional
        What errors call the layer, and how a `Sequential` finds it. A Python format such as ``"conv{}"`` is filled
        with 1, 2, 3, …; by default that is ``"conv2d_{}"`` for a `Conv2d`.
"""


def _documented(summary, parameters, example):
    return f"""{summary}

    Parameters
    ----------
    {_CHANNELS.strip()}
    {parameters}
    {_PARAMETERS.strip()}

    Attributes
    ----------
    weight, bias : Parameter or None
        None before they are settled, and for no bias.

    All arguments are attributes of the same names. A call ``layer(x)`` keeps nothing: any number of threads may call.

    Examples
    --------
    {example}
    """


class Conv(ConvolutionLayer):
    __doc__ = _documented(
        "Convolution with parameters, over as many spatial axes as `kernel_size` has entries, or a given weight has.",
        PARAMETERS,
        """>>> import numpy as np, fastconv
    >>> layer = fastconv.Conv(4, 5, (2, 3))
    >>> layer(np.ones((117, 4, 10, 3), np.float32)).shape
    (117, 5, 9, 1)
    >>> layer
    Conv(4, 5, (2, 3))""",
    )
    _transposed = False
    _functions = Functions(functional.conv, gradients.conv_backward, functional.conv_output_shape, functional.plan)

    @spelled_out(ConvolutionLayer.__init__)
    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="constant",
        *,
        padding_value=0.0,
        **shared,
    ):
        self.padding_mode = padding_mode
        self.padding_value = padding_value
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, **shared)


class ConvTranspose(ConvolutionLayer):
    __doc__ = _documented(
        "Transposed convolution with parameters, over as many spatial axes as `kernel_size` or a given weight has.",
        TRANSPOSED_PARAMETERS,
        """>>> import numpy as np, fastconv
    >>> encoder = fastconv.Conv2d(1, 8, 3, stride=2, padding=2)
    >>> code = encoder(np.ones((1, 32, 32), np.float32))
    >>> code.shape
    (8, 17, 17)
    >>> decoder = fastconv.ConvTranspose(8, 1, 3, stride=2, padding=2, weight=encoder.weight)    # shares the parameter
    >>> decoder(code).shape
    (1, 31, 31)""",
    )
    _transposed = True
    _functions = Functions(
        functional.conv_transpose,
        gradients.conv_transpose_backward,
        functional.conv_transpose_output_shape,
        partial(functional.plan, transposed=True),
    )

    @spelled_out(ConvolutionLayer.__init__)
    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
        *,
        output_size=None,
        **shared,
    ):
        self.output_padding = output_padding
        self.output_size = output_size
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, **shared)

    def _some_sizes(self, weight_shape):
        sizes = super()._some_sizes(weight_shape)
        if self.output_size is None:
            return sizes
        spatial = sequence(self.output_size) or [self.output_size] * self.rank
        try:  # what the forward convolution makes of that size
            return functional.conv_output_shape(
                (self.out_channels, *spatial), weight_shape, self.stride, self.padding, self.dilation, self.groups
            )[1:]
        except (TypeError, ValueError):
            return sizes  # for which the error will be about output_size


class Conv1d(Conv):
    __doc__ = _documented(
        "Convolution of signals, with parameters.",
        PARAMETERS,
        """>>> import numpy as np, fastconv
    >>> layer = fastconv.Conv1d(1, 1, 2, weight=np.array([[[3, 2]]]))
    >>> layer(np.array([[1, 2, 3, 4]]))
    array([[ 7., 12., 17.]], dtype=float32)""",
    )
    rank = 1


class Conv2d(Conv):
    __doc__ = _documented(
        "Convolution of images, with parameters.",
        PARAMETERS,
        """>>> import numpy as np, fastconv
    >>> layer = fastconv.Conv2d(None, 8, 5, stride=2, padding=2, activation="relu")
    >>> layer.build((3, 32, 32)).output_shape((None, 3, 32, 32))
    (None, 8, 16, 16)
    >>> y, backward = layer.vjp(np.ones((3, 32, 32)))
    >>> grad_x = backward(np.ones_like(y))
    >>> [(name, parameter.grad.shape) for name, parameter in layer.named_parameters()]
    [('weight', (8, 3, 5, 5)), ('bias', (8,))]""",
    )
    rank = 2


class Conv3d(Conv):
    __doc__ = _documented(
        "Convolution of volumes, with parameters.",
        PARAMETERS,
        """>>> import numpy as np, fastconv
    >>> layer = fastconv.Conv3d(1, 4, 3, stride=2, bias=False)
    >>> layer(np.ones((2, 1, 8, 9, 10))).shape
    (2, 4, 3, 4, 4)""",
    )
    rank = 3


class ConvTranspose1d(ConvTranspose):
    __doc__ = _documented(
        "Transposed convolution of signals, with parameters.",
        TRANSPOSED_PARAMETERS,
        """>>> import numpy as np, fastconv
    >>> layer = fastconv.ConvTranspose1d(1, 1, 2, stride=2, weight=np.array([[[1, 10]]]))
    >>> layer(np.array([[1, 2, 3]]))
    array([[ 1., 10.,  2., 20.,  3., 30.]], dtype=float32)""",
    )
    rank = 1


class ConvTranspose2d(ConvTranspose):
    __doc__ = _documented(
        "Transposed convolution of images, with parameters.",
        TRANSPOSED_PARAMETERS,
        """>>> import fastconv
    >>> fastconv.ConvTranspose2d(512, 256, 4, stride=2, padding=1).output_shape((512, 8, 8))
    (256, 16, 16)""",
    )
    rank = 2


class ConvTranspose3d(ConvTranspose):
    __doc__ = _documented(
        "Transposed convolution of volumes, with parameters.",
        TRANSPOSED_PARAMETERS,
        """>>> import fastconv
    >>> fastconv.ConvTranspose3d(4, 1, 2, stride=2, output_size=(16, 17, 16)).output_shape((4, 8, 8, 8))
    (1, 16, 17, 16)""",
    )
    rank = 3
