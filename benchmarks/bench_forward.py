"""Forward convolution: plans on every case, functions where the call itself is what costs."""

from contextlib import ExitStack

import numpy as np

import fastconv

from .shapes import CASES

THREADS = ("1", "all")
# Below this many flops a call costs more than its sums.
SMALL = 1e6


class Forward:
    """Sets a case up at a number of threads."""

    param_names = ("case", "threads")
    warmup_time = 0.05
    repeat = (3, 20, 1.0)

    def setup(self, name, threads):
        case = CASES[name]
        self.x, self.weight = case.arrays()
        self.out = np.empty(case.out_shape, case.dtype)
        self.conv = getattr(fastconv, f"conv{case.kind}{case.rank}d")
        self.arguments = case.arguments
        self.plan = fastconv.plan(self.weight, **case.plan_arguments, input_shape=self.x.shape)
        self.settings = ExitStack()
        self.settings.enter_context(fastconv.num_threads({"1": 1, "all": fastconv.get_num_threads()}[threads]))

    def teardown(self, name, threads):
        self.settings.close()


class Plan(Forward):
    params = (list(CASES), THREADS)

    def time_forward(self, name, threads):
        self.plan(self.x, self.out)


class Function(Forward):
    params = ([name for name, case in CASES.items() if case.flops < SMALL], THREADS)

    def time_forward(self, name, threads):
        self.conv(self.x, self.weight, **self.arguments)
