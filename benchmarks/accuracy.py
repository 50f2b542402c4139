"""Measure the rounding errors of direct sums, Winograd and FFT: the tables of docs/accuracy.md, as Markdown.

    python benchmarks/accuracy.py

An error is given over the largest S of its image and output channel, where S = Σ|x·w| of an element. What is exact
comes from `reference` in float64 and, where float64 itself is measured, from sums in long double at some positions.
The last table simulates F(4×4, 3×3) in NumPy as the kernels compute it, at points that they do not have.
"""

import platform
import sys
import time
from contextlib import contextmanager
from math import prod, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Run by its path, a script finds its neighbours beside it; as a module, in the package. The package serves both.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fastconv
from benchmarks.report import processor
from fastconv import _isa
from fastconv._algorithms import _winograd

OUTPUTS = 16  # channels
POSITIONS = 200  # at which float64 is held against long double
CHAIN = _isa.forward.LONGEST_CHAIN


def normal(rng, shape):
    return rng.standard_normal(shape)


def positive(rng, shape):
    return rng.random(shape)


def four_decades(rng, shape):
    return rng.standard_normal(shape) * 10.0 ** rng.uniform(-4, 0, shape)


def equal(rng, shape):
    return np.full(shape, 0.3)


def alike_x(rng, shape):
    return np.broadcast_to(rng.standard_normal((1, *shape[1:])), shape)


def alike_weight(rng, shape):
    return np.broadcast_to(rng.standard_normal((shape[0], 1, *shape[2:])), shape)


# Name → what makes x and weight
DATA = {
    "normal": (normal, normal),
    "uniform in [0, 1)": (positive, positive),
    "uniform x, normal weight": (positive, normal),
    "normal · 10^uniform(−4, 0)": (four_decades, four_decades),
    "all equal": (equal, equal),
    "normal, alike in all channels": (alike_x, alike_weight),
}


class Form(NamedTuple):
    """An algorithm, what its transforms are restricted to, numbers of points, and arguments of the convolution."""

    algorithm: str
    points: tuple = (1, 4, 6)
    kernel: str = ""  # how the name of what runs begins
    arguments: tuple = ()  # (name, value)


DIRECT = Form("direct")
SMALL = Form("winograd", (1, 4), "F(2,3) × F(2,3)")
LARGE = Form("winograd", (1, 6), "F(4,3) × F(4,3)")

# Heading → form, taps, and the sizes of images of 64 and of 512 channels
COLUMNS = {
    "direct 3×3": (DIRECT, (3, 3), {64: (56, 56), 512: (7, 7)}),
    "F(2×2, 3×3)": (SMALL, (3, 3), {64: (56, 56), 512: (7, 7)}),
    "F(4×4, 3×3)": (LARGE, (3, 3), {64: (56, 56), 512: (7, 7)}),
    "direct 5×5": (DIRECT, (5, 5), {64: (56, 56), 512: (7, 7)}),
    "F(2×2, 5×5)": (Form("winograd", (1, 6), "F(2,5) × F(2,5)"), (5, 5), {64: (56, 56), 512: (7, 7)}),
    "1-D F(4, 3)": (Form("winograd", (1, 6), "F(4,3) "), (3,), {64: (3136,), 512: (49,)}),
    "3-D F(4×4, 3×3)": (LARGE, (3, 3, 3), {64: (14, 14, 14), 512: (7, 7, 7)}),
}
FURTHER_COLUMNS = {
    "F(4×4, 2×2)": (Form("winograd", (1, 5), "F(4,2) × F(4,2)"), (2, 2), {64: (56, 56), 512: (7, 7)}),
    "F(3×3, 3×3), dilated by 12": (
        Form("winograd", (1, 5), "F(3,3) × F(3,3)", (("dilation", 12),)), (3, 3), {64: (33, 33), 512: (33, 33)}
    ),
    "F(2×2, 3×3) at stride 2": (
        Form("winograd", (1, 5), "F(2,3)/2 × F(2,3)/2", (("stride", 2),)), (3, 3), {64: (56, 56), 512: (14, 14)}
    ),
    "F(4×4, 3×3) at stride 2": (
        Form("winograd", (1, 9), "F(4,3)/2 × F(4,3)/2", (("stride", 2),)), (3, 3), {64: (56, 56), 512: (14, 14)}
    ),
}
FFT = Form("fft")
LONG_COLUMNS = {  # of one channel and of four
    "direct 1-D 1,023": (DIRECT, (1023,), {1: (5000,), 4: (5000,)}),
    "FFT 1-D 1,023": (FFT, (1023,), {1: (5000,), 4: (5000,)}),
    "direct 31×31": (DIRECT, (31, 31), {1: (70, 90), 4: (70, 90)}),
    "FFT 31×31": (FFT, (31, 31), {1: (70, 90), 4: (70, 90)}),
    "FFT 9×9×9": (FFT, (9, 9, 9), {1: (20, 22, 24), 4: (20, 22, 24)}),
}
LAYERS = {64: (56, 56), 128: (28, 28), 256: (14, 14), 512: (7, 7)}  # channels → size
LAYER_COLUMNS = {"direct": DIRECT, "F(2×2, 3×3)": SMALL, "F(4×4, 3×3)": LARGE}
SIGNAL_COLUMNS = {"direct": DIRECT, "FFT": FFT}
FACTORS = (1, 100, 10_000)  # of the columns that a kernel does not read
SEARCHED = (1, 16, 128)  # channels
PERIOD = 8  # of the patterns that a search is made among, in images that go on around their ends
PATTERNS, ROUNDS = 64, 80
AROUND = {"padding_mode": "circular"}
SIMULATED = ("normal", "uniform in [0, 1)", "uniform x, normal weight", "normal · 10^uniform(−4, 0)")
DRAWS = 8
POINTS = {
    "1, 2": (1, 2),
    "1/2, 1": (1 / 2, 1),
    "**5/8, 3/2**": (5 / 8, 3 / 2),
    "3/4, 3/2": (3 / 4, 3 / 2),
    "1/2, 3/2": (1 / 2, 3 / 2),
    "5/8, 5/4": (5 / 8, 5 / 4),
    "3/4, 11/8": (3 / 4, 11 / 8),
    "√½, √2": (sqrt(1 / 2), sqrt(2)),
}


@contextmanager
def only(points):
    """Let Winograd have no transforms but those of these numbers of points."""
    forms = _winograd.FORMS
    _winograd.FORMS = tuple(form for form in forms if form.points in points)
    _winograd.best.cache_clear()
    try:
        yield
    finally:
        _winograd.FORMS = forms
        _winograd.best.cache_clear()


def arrays(data, channels, size, taps, dtype):
    rng = np.random.default_rng(0)
    make_x, make_weight = DATA[data]
    return make_x(rng, (channels, *size)).astype(dtype), make_weight(rng, (OUTPUTS, channels, *taps)).astype(dtype)


def computed(form, x, weight, **arguments):
    with only(form.points):
        arguments = {"padding": "same"} | dict(form.arguments) | arguments
        plan = fastconv.plan(weight, **arguments, algorithm=form.algorithm)
        kernel = plan.explain(x.shape).kernel
        if not kernel.startswith(form.kernel):
            raise RuntimeError(f"{kernel} runs, not {form.kernel}")
        return plan(x)


def reference(x, weight, **arguments):
    """In float64."""
    x, weight = x.astype(np.float64), weight.astype(np.float64)
    return fastconv.conv(x, weight, **({"padding": "same"} | arguments), algorithm="reference")


def in_long_double(x, weight, positions):
    """The same at some positions only."""
    taps = weight.shape[2:]
    padded = np.pad(x, [(0, 0), *((tap // 2, tap // 2) for tap in taps)]).astype(np.longdouble)
    weight = weight.reshape(len(weight), -1).astype(np.longdouble)
    columns = []
    for position in zip(*np.unravel_index(positions, x.shape[1:]), strict=True):
        window = (slice(None), *(slice(first, first + tap) for first, tap in zip(position, taps, strict=True)))
        columns.append((weight * padded[window].ravel()).sum(1))
    return np.stack(columns, 1)


def errors(form, data, channels, size, taps, dtype):
    """The largest error over the largest S of its channel, and over its own S."""
    x, weight = arrays(data, channels, size, taps, dtype)
    arguments = dict(form.arguments)
    y, sums = (z.reshape(OUTPUTS, -1) for z in (computed(form, x, weight), reference(abs(x), abs(weight), **arguments)))
    positions = np.arange(y.shape[1])
    if dtype == "float64":
        positions = np.random.default_rng(1).permutation(positions)[:POSITIONS]
        exact = in_long_double(x, weight, positions)
    else:
        exact = reference(x, weight, **arguments).reshape(OUTPUTS, -1)
    error = abs(y[:, positions] - exact)
    return float((error.max(1) / sums.max(1)).max()), float((error / sums[:, positions]).max())


def table(heading, rows):
    """Name → cells by column, as Markdown."""
    columns = list(next(iter(rows.values())))
    yield f"| {' | '.join([heading, *columns])} |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, cells in rows.items():
        yield f"| {' | '.join([name, *cells.values()])} |"


def forms_table(columns, dtype):
    """Data by form: the errors of few and of many channels."""

    def cell(data, form, taps, sizes):
        return " / ".join(f"{errors(form, data, c, size, taps, dtype)[0]:.1e}" for c, size in sizes.items())

    rows = {data: {name: cell(data, *column) for name, column in columns.items()} for data in DATA}
    return table("data", rows)


def layers_table(dtype):
    """Layers by form: the largest error of any data, and for direct sums that over its own S too."""
    rows = {}
    for channels, size in LAYERS.items():
        found = {
            name: np.max([errors(form, data, channels, size, (3, 3), dtype) for data in DATA], axis=0)
            for name, form in LAYER_COLUMNS.items()
        }
        cells = {"direct, over its own S": f"{found['direct'][1]:.1e}"}
        rows[f"{channels}, {size[0]}²"] = cells | {name: f"{value[0]:.1e}" for name, value in found.items()}
    return table("channels, size", rows)


def unread_table():
    """Large values in columns that only zero taps read: no S has them, but transforms do."""
    rows = {}
    for factor in FACTORS:
        x, weight = arrays("normal", 64, (56, 56), (3, 3), "float32")
        x[..., :2] *= factor
        weight[..., :2] = 0
        exact, sums = reference(x, weight, padding=0), reference(abs(x), abs(weight), padding=0)
        found = {name: abs(computed(form, x, weight, padding=0) - exact) for name, form in LAYER_COLUMNS.items()}
        rows[f"× {factor:,}"] = {
            name: f"{(error.max((1, 2)) / sums.max((1, 2))).max():.1e}" for name, error in found.items()
        }
    return table("first two columns", rows)


def unread_signal_table():
    """The same of a signal, whose kernel is zero but for its last tap."""
    rows = {}
    for factor in FACTORS:
        x, weight = arrays("normal", 1, (5000,), (1023,), "float32")
        x[..., :1000] *= factor
        weight[..., :-1] = 0
        exact, sums = reference(x, weight, padding=0), reference(abs(x), abs(weight), padding=0)
        found = {name: abs(computed(form, x, weight, padding=0) - exact) for name, form in SIGNAL_COLUMNS.items()}
        rows[f"× {factor:,}"] = {name: f"{(error.max(1) / sums.max(1)).max():.1e}" for name, error in found.items()}
    return table("first thousand samples", rows)


def searched(form, taps, channels):
    """The largest error that a search finds among patterns which all channels share."""
    rng, step, worst, found = np.random.default_rng(0), 0.3, 0.0, None
    for turn in range(ROUNDS):
        pair = [rng.standard_normal((PATTERNS, 1, *size)) for size in ((PERIOD, PERIOD), taps)]
        if turn >= ROUNDS // 2:  # from the worst so far on
            pair = [near + step * array for near, array in zip(found, pair, strict=True)]
        pair = [array.astype(np.float32) for array in pair]
        exact, sums = (channels * reference(*map(f, pair), **AROUND) for f in (np.positive, np.abs))
        y = computed(form, *(np.repeat(array, channels, 1) for array in pair), **AROUND)
        share = abs(y - exact).max((-2, -1)) / sums.max((-2, -1))
        image, channel = np.unravel_index(share.argmax(), share.shape)
        if share[image, channel] > worst:
            worst, found = share[image, channel], (pair[0][image], pair[1][channel])
        elif turn >= ROUNDS // 2:
            step *= 0.9
    return worst


def searches_table():
    columns = {name: column[:2] for name, column in COLUMNS.items() if len(column[1]) == 2}
    rows = {
        str(c): {name: f"{searched(form, taps, c):.1e}" for name, (form, taps) in columns.items()} for c in SEARCHED
    }
    return table("channels", rows)


def matrices(outputs, taps, points):
    """A', G and B' of Toom and Cook, with the point at infinity."""
    others = [[other for other in points if other != point] for point in points]
    a = np.array([[point**power for point in points] + [0.0] for power in range(outputs)])
    a[-1, -1] = 1.0
    g = [
        [point**tap / prod(point - other for other in rest) for tap in range(taps)]
        for point, rest in zip(points, others, strict=True)
    ]
    b = [[*np.poly(rest)[::-1], 0.0] for rest in others]
    return a, np.array([*g, [0.0] * (taps - 1) + [1.0]]), np.array([*b, np.poly(points)[::-1]])


def both_axes(matrix, tiles):
    """A transform of the first two axes, in the tiles' type."""
    matrix = matrix.astype(tiles.dtype)
    return np.einsum("ia,jb,ab...->ij...", matrix, matrix, tiles, optimize=["einsum_path", (0, 2), (0, 1)])


def simulated(points, data, seed, channels=64, tiles=200):
    """The error of F(4×4, 3×3) in float32 with these points and their negatives, 0 and infinity."""
    rng = np.random.default_rng(seed)
    make_x, make_weight = DATA[data]
    x = make_x(rng, (6, 6, channels, tiles)).astype(np.float32)
    weight = make_weight(rng, (3, 3, channels, OUTPUTS)).astype(np.float32)
    a, g, b = matrices(4, 3, [0.0, *(sign * point for point in points for sign in (1, -1))])
    values = both_axes(b, x)
    factors = both_axes(g, weight.astype(np.float64)).astype(np.float32)
    total = np.zeros((6, 6, OUTPUTS, tiles), np.float32)
    for first in range(0, channels, CHAIN):
        chain = np.zeros_like(total)
        for c in range(first, min(channels, first + CHAIN)):
            chain += factors[:, :, c, :, None] * values[:, :, c, None, :]
        total += chain
    y = both_axes(a, total)
    exact, sums = (
        sum(np.einsum("abct,co->abot", part[i : i + 4, j : j + 4], kernel[i, j]) for i in range(3) for j in range(3))
        for part, kernel in ((f(x.astype(np.float64)), f(weight.astype(np.float64))) for f in (np.positive, np.abs))
    )
    axes = (0, 1, 3)
    return (abs(y - exact).max(axes) / sums.max(axes)).max()


def points_table():
    def cell(points, data):
        return f"{np.mean([simulated(points, data, seed) for seed in range(DRAWS)]):.1e}"

    rows = {name: {data: cell(points, data) for data in SIMULATED} for name, points in POINTS.items()}
    return table("points, ±", rows)


if __name__ == "__main__":
    print(f"{time.strftime('%Y-%m-%d')}, {processor()}, {_isa.level}, NumPy {np.__version__}, {platform.machine()}")
    for dtype in ("float32", "float64"):
        print(f"\n{dtype}, 64 / 512 channels:\n", *forms_table(COLUMNS, dtype), sep="\n")
        print(f"\n{dtype}, long kernels, 1 / 4 channels:\n", *forms_table(LONG_COLUMNS, dtype), sep="\n")
        print(f"\n{dtype}, 3×3, the largest of all data:\n", *layers_table(dtype), sep="\n")
    print("\nfloat32, further transforms, 64 / 512 channels:\n", *forms_table(FURTHER_COLUMNS, "float32"), sep="\n")
    print("\nx large where only zero taps read it, 64 channels, 56², no padding, float32:\n", *unread_table(), sep="\n")
    print("\nthe same, 1,023 taps, float32:\n", *unread_signal_table(), sep="\n")
    print("\nthe largest that a search finds, alike in all channels, float32:\n", *searches_table(), sep="\n")
    print("\nF(4×4, 3×3), 64 channels, float32, simulated:\n", *points_table(), sep="\n")
