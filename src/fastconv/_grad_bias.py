"""grad_bias: the gradient of a convolution with respect to its bias, a sum of grad_output."""

import numpy as np

from ._padding import CHAIN


def grad_bias(convolution, grad_output, untied):
    """The sum over the batch, and over the positions unless the bias is `untied`, as (channels, *spatial)."""
    if convolution.data_format == "channels_last":
        grad_output = np.moveaxis(grad_output, -1, -convolution.rank - 1)
    batch = grad_output.ndim - convolution.rank - 1
    with np.errstate(all="ignore"):
        if not untied:
            for _ in range(convolution.rank):
                grad_output = _sum(grad_output, -1)
        for _ in range(batch):
            grad_output = _sum(grad_output, 0)
        return grad_output.astype(convolution.dtype)


def _sum(array, axis):
    """The sum along one axis in float64, in chains of at most `CHAIN`."""
    array = np.moveaxis(array, axis, -1)
    while array.shape[-1] > CHAIN:
        size = array.shape[-1] // CHAIN * CHAIN
        chains = array[..., :size].reshape(*array.shape[:-1], -1, CHAIN)  # a view
        rest = array[..., size:]
        array = np.append(chains.sum(-1, dtype=np.float64), rest.sum(-1, dtype=np.float64)[..., None], -1)
    return array.sum(-1, dtype=np.float64)
