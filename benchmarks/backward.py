"""The sides of ``compare --backward``: what a training step takes beside the forward convolution.

The whole is the gradients with respect to input and weight; sides whose name ends in ``.dx`` or ``.dw`` do one of them.
"""

import functools

import numpy as np

from benchmarks import peers

# Of the input, weight and bias: `needs` to fastconv, `output_mask` to PyTorch.
WANTED = {"": (True, True, False), ".dx": (True, False, False), ".dw": (False, True, False)}


class Backward(peers.Peer):
    """What the sides have in common, beside what they are forward."""

    def __init__(self, layout, part):
        super().__init__(layout)
        self.part = part
        self.wanted = WANTED[part]
        self.convolutions = sum(self.wanted)


class Fastconv(Backward, peers.Fastconv):
    def build(self, case, x, weight, threads):
        import fastconv

        backward = getattr(fastconv, f"conv{case.kind}_backward")
        grad_output, x = (np.ascontiguousarray(np.moveaxis(a, 1, self.channel_axis)) for a in (case.grad_output(), x))
        options = {"data_format": self.data_format, "needs": self.wanted}
        return peers.Side(functools.partial(backward, grad_output, x, weight, **case.arguments, **options), self.fetch)

    def fetch(self, gradients):
        axes = (self.channel_axis, 1)  # of input and weight
        return [np.moveaxis(a, axis, 1) for a, axis in zip(gradients, axes, strict=False) if a is not None]


class Torch(Backward, peers.Torch):
    def build(self, case, x, weight, threads):
        import torch

        tensors = self.tensors(case, case.grad_output(), x, weight)
        geometry = (case.stride, case.padding, case.dilation, case.transposed, (0,) * case.rank, case.groups)
        backward = torch.ops.aten.convolution_backward
        run = functools.partial(backward, *tensors, None, *geometry, self.wanted)
        return peers.Side(run, lambda gradients: [a.numpy() for a in gradients if a is not None])


OURS = {name + part: Fastconv(side.data_format, part) for part in WANTED for name, side in peers.OURS.items()}

PEERS = {
    name + part: Torch(peers.PEERS[name].memory_formats, part) for part in WANTED for name in ("torch", "torch.cl")
}
