"""What one call of fastconv takes beyond its arrays, and what importing it takes.

Each figure comes from a process of its own, ``python -m benchmarks.memory CASE DTYPE THREADS``, because a process never
gives back all that it once had. Linux only: the high-water mark is read from /proc, where it can be set back. The
kernel counts in batches of pages, so that figures are good to about a quarter of a megabyte.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.shapes import CASES

ROOT = Path(__file__).resolve().parents[1]

# glibc learns to keep large blocks that were freed; what is kept already would hide what a call takes.
RETURNS = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

IMPORT = """\
import time
start = time.perf_counter()
import {module}
taken = time.perf_counter() - start
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(taken, int(status["VmHWM"].split()[0]) * 1024)
"""


def resident(field):
    """Bytes resident now (``VmRSS``) or at most since `forget_peak` (``VmHWM``)."""
    with open("/proc/self/status") as lines:
        status = dict(line.split(":", 1) for line in lines)
    return int(status[field].split()[0]) * 1024


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


def smallest_input(case, x):
    """The smallest corner of the input that gives an output."""
    sizes = ((n,) * case.rank for n in itertools.count(1))
    size = next(size for size in sizes if min(replace(case, size=size).out_size) > 0)
    return np.ascontiguousarray(x[(slice(1), slice(None), *map(slice, size))])


def one_call(case, threads):
    """Bytes that one call takes in this very process."""
    import fastconv

    x, weight = case.arrays()
    out = np.ones(case.out_shape, case.dtype)
    with fastconv.num_threads(threads):
        small = fastconv.plan(weight, **case.plan_arguments)
        small(smallest_input(case, x))  # so that the pages of the code are not counted as workspace
        start = resident("VmRSS")
        plan = fastconv.plan(weight, **case.plan_arguments, input_shape=x.shape)  # and this one, packed weights
        packed = resident("VmRSS")
        forget_peak()
        plan(x, out)
        peak, kept = resident("VmHWM"), resident("VmRSS")
        told = plan.explain().workspace_bytes
    return {"plan": packed - start, "weight": weight.nbytes, "call": peak - packed, "kept": kept - packed, "told": told}


def child(*arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | RETURNS, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def call(name, dtype, threads):
    """`one_call` of the named case in a process of its own."""
    return json.loads(child("-m", "benchmarks.memory", name, dtype, str(threads)))


def calls(cases, threads):
    """A row for each case and number of threads."""
    return [
        {"case": name, "threads": n, "dtype": case.dtype, **call(name, case.dtype, n)}
        for n in threads
        for name, case in cases.items()
    ]


def imports(modules=("numpy", "fastconv"), rounds=9):
    """Module → median seconds of its import, and bytes resident after it, taken by turns in fresh interpreters."""
    samples = {module: [] for module in modules}
    for _ in range(rounds):
        for module in modules:
            samples[module].append([float(figure) for figure in child("-c", IMPORT.format(module=module)).split()])
    return {
        module: dict(zip(("seconds", "bytes"), map(statistics.median, zip(*rows, strict=True)), strict=True))
        for module, rows in samples.items()
    }


if __name__ == "__main__":
    name, dtype, threads = sys.argv[1:]
    print(json.dumps(one_call(replace(CASES[name], dtype=dtype), int(threads))))
