"""grad_bias: the gradient of a convolution with respect to its bias, a sum of grad_output."""

import numpy as np

from ._geometry import CHANNELS_LAST
from ._sums import chained_sum


def grad_bias(convolution, grad_output, untied):
    """The sum over the batch, and over the positions unless the bias is `untied`, as (channels, *spatial)."""
    if CHANNELS_LAST[convolution.data_format]:
        grad_output = np.moveaxis(grad_output, -1, -convolution.rank - 1)
    batch = grad_output.ndim - convolution.rank - 1
    axes = [0] * batch if untied else [-1] * convolution.rank + [0] * batch  # of what is left each time
    with np.errstate(all="ignore"):
        for axis in axes:
            grad_output = chained_sum(grad_output, axis)
        return grad_output.astype(convolution.dtype)
