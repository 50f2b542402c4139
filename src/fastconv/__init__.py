"""Convolution on the CPU, for NumPy arrays, as fast as the machine allows.

`conv1d`, `conv2d`, `conv3d` and `conv` convolve, `conv_transpose1d` and its like do so transposed, and `conv_backward`
and `conv_transpose_backward` give their gradients; `plan` prepares a convolution that is called often; `explain` and
`show_config` tell how and on what it is computed, and `tune` measures how it is fastest. `Conv2d` and its like
hold parameters that are learned; `Sequential` chains them.
"""

from . import conventions, initializers
from ._config import show_config
from ._explain import Explanation
from ._plan import Plan
from ._threads import get_num_threads, num_threads, set_num_threads
from ._version import __version__
from .conventions import load_weights
from .functional import (
    conv,
    conv1d,
    conv2d,
    conv3d,
    conv_output_shape,
    conv_transpose,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    conv_transpose_output_shape,
    explain,
    plan,
)
from .gradients import conv_backward, conv_transpose_backward
from .layers import (
    SGD,
    Adam,
    Chain,
    Conv,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Info,
    Parameter,
    Sequential,
)
from .tuning import Tuning, forget_tuning, load_tuning, tune

__all__ = [
    "SGD",
    "Adam",
    "Chain",
    "Conv",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Explanation",
    "Info",
    "Parameter",
    "Plan",
    "Sequential",
    "Tuning",
    "__version__",
    "conv",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_backward",
    "conv_output_shape",
    "conv_transpose",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "conv_transpose_backward",
    "conv_transpose_output_shape",
    "conventions",
    "explain",
    "forget_tuning",
    "get_num_threads",
    "initializers",
    "load_tuning",
    "load_weights",
    "num_threads",
    "plan",
    "set_num_threads",
    "show_config",
    "tune",
]
