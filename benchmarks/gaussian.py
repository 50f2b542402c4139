"""Time separable Gaussians over a full HD image beside OpenCV's ``sepFilter2D``, by turns.

    python benchmarks/gaussian.py

fastconv finds out by itself that the two-dimensional weights are an outer product; OpenCV is given the two rows.
"""

import os
import sys
from pathlib import Path

import numpy as np

# Run by its path, a script finds its neighbours beside it; as a module, in the package. The package serves both.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fastconv
from benchmarks.peers import OpenCv
from benchmarks.report import processor
from benchmarks.rounds import alternate

SIZES = (7, 15, 31)
ROUNDS = 15


def runs_of(cv2, size, x):
    """Both sides, whose results agree."""
    row = cv2.getGaussianKernel(size, size / 5).astype("float32")
    plan = fastconv.plan((row @ row.T)[None, None], padding=size // 2)
    ours, theirs = np.empty_like(x), np.empty_like(x[0])

    def opencv():
        cv2.sepFilter2D(x[0], -1, row, row, dst=theirs, borderType=cv2.BORDER_CONSTANT)

    opencv()
    np.testing.assert_allclose(plan(x, ours)[0], theirs, rtol=0, atol=1e-5)
    return {"fastconv": lambda: plan(x, ours), "opencv": opencv}


def main():
    import cv2  # not before it is needed: whoever collects the benchmarks may not have it

    x = np.random.default_rng(0).standard_normal((1, 1080, 1920)).astype("float32")
    settings = {"fastconv": fastconv.num_threads, "opencv": OpenCv().setting}
    print(f"{processor()}, OpenCV {cv2.__version__}\nsize  threads  fastconv ms  opencv ms  opencv / fastconv")
    for size in SIZES:
        for threads in sorted({1, os.cpu_count()}):
            times = alternate(runs_of(cv2, size, x), settings, ROUNDS, threads)
            ours, theirs = (1e3 * times[side] for side in ("fastconv", "opencv"))
            print(f"{size:4} {threads:8} {ours:12.2f} {theirs:10.2f} {theirs / ours:18.2f}", flush=True)


if __name__ == "__main__":
    main()
