"""What it takes before the first result: importing, planning, and memory."""

import fastconv

from . import memory
from .shapes import CASES


def timeraw_import_fastconv():
    return "import fastconv"


def timeraw_import_numpy():
    return "import numpy"


class Planning:
    params = (["resnet.3x3 64>64@56", "resnet.3x3 512>512@7", "dw.3x3 32@112", "small.3x3 1>1@8"],)
    param_names = ("case",)

    def setup(self, name):
        self.case = CASES[name]
        _, self.weight = self.case.arrays()

    def time_plan(self, name):
        fastconv.plan(self.weight, **self.case.plan_arguments, input_shape=self.case.x_shape)


class Memory:
    """Peaks, in bytes, each of a process of its own."""

    unit = "bytes"

    def track_import(self, module):
        return memory.imports([module], rounds=1)[module]["bytes"]

    track_import.params = (["numpy", "fastconv"],)
    track_import.param_names = ("module",)

    def track_call(self, name, threads):
        return memory.call(name, CASES[name].dtype, threads)["call"]

    track_call.params = (list(CASES), [1])
    track_call.param_names = ("case", "threads")
