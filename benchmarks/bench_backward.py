"""Gradients: those of a training step, and each alone, on a few cases of each kind."""

from functools import partial

import fastconv

from .backward import WANTED
from .timed import THREADS, Timed

NAMES = [
    "resnet.1x1 64>256@56",
    "resnet.3x3 64>64@56",
    "resnet.3x3s2 128>128@56",
    "dw.3x3 32@112",
    "1d.k3d8 64>64@16000",
    "3d.3x3x3 1>16@64^3",
    "tr.2x2s2 128>64@64",
    "small.3x3 1>8@28",
    "small.5x5 6>16@14",
]


class Backward(Timed):
    params = (NAMES, THREADS)

    def setup(self, name, threads):
        super().setup(name, threads)
        backward = getattr(fastconv, f"conv{self.case.kind}_backward")
        self.backward = partial(backward, self.case.grad_output(), self.x, self.weight, **self.case.arguments)

    def time_step(self, name, threads):
        self.backward(needs=WANTED[""])

    def time_grad_input(self, name, threads):
        self.backward(needs=WANTED[".dx"])

    def time_grad_weight(self, name, threads):
        self.backward(needs=WANTED[".dw"])
