"""Forward convolution: plans on every case, functions where the call itself is what costs."""

import numpy as np

import fastconv

from .shapes import CASES
from .timed import THREADS, Timed

# Below this many flops a call costs more than its sums.
SMALL = 1e6


class Forward(Timed):
    def setup(self, name, threads):
        super().setup(name, threads)
        case = self.case
        self.out = np.empty(case.out_shape, case.dtype)
        self.conv = getattr(fastconv, f"conv{case.kind}{case.rank}d")
        self.plan = fastconv.plan(self.weight, **case.plan_arguments, input_shape=self.x.shape)


class Plan(Forward):
    params = (list(CASES), THREADS)

    def time_forward(self, name, threads):
        self.plan(self.x, self.out)


class Function(Forward):
    params = ([name for name, case in CASES.items() if case.flops < SMALL], THREADS)

    def time_forward(self, name, threads):
        self.conv(self.x, self.weight, **self.case.arguments)
