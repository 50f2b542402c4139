"""What asv's timings of a case share."""

from contextlib import ExitStack

import fastconv

from .shapes import CASES

THREADS = ("1", "all")


class Timed:
    """Sets a case up at a number of threads."""

    param_names = ("case", "threads")
    warmup_time = 0.05
    repeat = (3, 20, 1.0)

    def setup(self, name, threads):
        self.case = CASES[name]
        self.x, self.weight = self.case.arrays()
        self.settings = ExitStack()
        self.settings.enter_context(fastconv.num_threads({"1": 1, "all": fastconv.get_num_threads()}[threads]))

    def teardown(self, name, threads):
        self.settings.close()
