"""A photograph through a bank of filters, under every padding mode, timed beside SciPy.

    python examples/photograph.py

Both sides apply the same 12 filters of 9×9 to the three colours of the same photograph, in float32, by turns; SciPy
skips the zeros around the small filters. The results are compared before anything is timed. A picture is saved beside
this file: what the filters do, and what each padding mode puts around the photograph.
"""

import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from matplotlib import cbook, image
from matplotlib.figure import Figure
from scipy import ndimage
from tqdm import tqdm

import fastconv

ROUNDS = 5
PICTURE = Path(__file__).with_suffix(".png")

# Our padding mode → SciPy's name for the same. "reflect" means two different things.
MODES = {
    "constant": "constant",
    "replicate": "nearest",
    "symmetric": "reflect",
    "reflect": "mirror",
    "circular": "wrap",
}


def filters(size=9):
    """Name → kernel, (size, size)."""
    y, x = np.mgrid[:size, :size] - size // 2

    def small(*rows):
        return np.pad(np.array(rows, float), size // 2 - 1)

    def gaussian(sigma):
        bell = np.exp(-(x**2 + y**2) / (2 * sigma**2))
        return bell / bell.sum()

    def gabor(degrees):
        along = x * np.cos(np.deg2rad(degrees)) + y * np.sin(np.deg2rad(degrees))
        wave = gaussian(2) * np.cos(along * np.pi / 3)
        return wave - gaussian(2) * wave.sum()  # nothing where the picture is flat

    identity = small((0, 0, 0), (0, 1, 0), (0, 0, 0))
    return {
        "Gaussian blur": gaussian(2),
        "motion blur": np.eye(size) / size,
        "sharpen": small((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
        "unsharp mask": identity + 2 * (identity - gaussian(2)),
        "emboss": small((-2, -1, 0), (-1, 1, 1), (0, 1, 2)),
        "Laplacian": small((0, 1, 0), (1, -4, 1), (0, 1, 0)),
        "Sobel x": small((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
        "Sobel y": small((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
        "difference of Gaussians": gaussian(1) - gaussian(2),
        "Gabor 0°": gabor(0),
        "Gabor 45°": gabor(45),
        "Gabor 90°": gabor(90),
    }


def scipy_bank(photograph, bank, mode, out):
    for colour in range(len(photograph)):
        for kernel in range(len(bank)):
            ndimage.correlate(photograph[colour, 0], bank[kernel, 0], out[colour, kernel], mode)


def seconds(function, *args):
    start = perf_counter()
    function(*args)
    return perf_counter() - start


def compare(photograph, bank, mode, progress):
    """One padding mode: the largest difference from SciPy's result, and each side's median time in seconds."""
    plan = fastconv.plan(bank, padding="same", padding_mode=mode, input_shape=photograph.shape)
    ours = plan(photograph)
    scipys = np.empty_like(ours)

    def on_one_thread():
        with fastconv.num_threads(1):
            plan(photograph, ours)

    sides = {
        "SciPy": lambda: scipy_bank(photograph, bank, MODES[mode], scipys),
        "one thread": on_one_thread,
        "all threads": lambda: plan(photograph, ours),
    }
    for run in sides.values():
        run()
    difference = abs(ours - scipys).max()
    if not difference <= 1e-5 * abs(bank).sum(axis=(1, 2, 3)).max():
        sys.exit(f"{mode}: the largest difference from SciPy is {difference:.1e}")
    times = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, run in sides.items():
            times[side].append(seconds(run))
        progress.update()
    return difference, {side: median(taken) for side, taken in times.items()}


def table(rows):
    """The lines of a table: milliseconds of each side, and SciPy's time over ours."""
    ours = [f"fastconv, {threads} thread{'s'[: threads - 1]}" for threads in (1, fastconv.get_num_threads())]
    yield f"{'padding mode':13}{'SciPy':>10}{ours[0]:>22}{ours[1]:>23}{'largest difference':>22}"
    for mode, difference, times in rows:
        scipys, *fastconvs = (1e3 * taken for taken in times.values())
        columns = "  ".join(f"{taken:10.1f} ms{scipys / taken:6.1f} ×" for taken in fastconvs)
        yield f"{mode:13}{scipys:7.0f} ms {columns}{difference:22.1e}"


def draw(photograph, names, bank):
    """The photograph and its filtered versions; below, what each padding mode puts around its corner."""
    filtered = fastconv.conv2d(photograph, bank, padding="same", padding_mode="reflect")
    figure = Figure(figsize=(16, 9), layout="constrained", facecolor="#222")
    above, below = figure.subfigures(2, height_ratios=(5, 3.6), facecolor="#222")

    grid = above.add_gridspec(2, 8)
    show(above.add_subplot(grid[:, :2], anchor="N"), photograph[:, 0], "photograph")
    cells = [grid[row, column] for row in range(2) for column in range(2, 8)]
    for cell, name, kernel, planes in zip(cells, names, bank, filtered.swapaxes(0, 1), strict=True):
        if abs(kernel.sum()) < 0.5:  # edges, of either sign: as light on black
            planes = abs(planes) / np.percentile(abs(planes), 99)
        show(above.add_subplot(cell), planes, name)

    pad, inside = 70, 110
    identity = np.ones((1, 1, 1, 1), np.float32)
    for axes, mode in zip(below.subplots(1, len(MODES)), MODES, strict=True):
        padded = fastconv.conv2d(photograph, identity, padding=((pad, 0), (pad, 0)), padding_mode=mode)
        show(axes, padded[:, 0, : pad + inside, : pad + inside], f'padding_mode="{mode}"')
        edge = pad - 0.5, pad + inside - 0.5
        axes.plot([edge[0], edge[0], edge[1]], [edge[1], edge[0], edge[0]], color="white", dashes=(4, 3), linewidth=1.5)
    return figure


def show(axes, planes, title):
    """An image of three planes, (3, h, w)."""
    axes.imshow(np.clip(np.moveaxis(planes, 0, -1), 0, 1), interpolation="lanczos")
    axes.set_title(title, color="white", fontsize=11)
    axes.axis("off")


def main():
    photograph = image.imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    x = np.moveaxis(photograph, -1, 0)[:, None].astype(np.float32) / 255  # the colours are a batch of grey images
    named = filters()
    bank = np.array(list(named.values()), np.float32)[:, None]

    with tqdm(total=ROUNDS * len(MODES), desc="filtering") as progress:
        rows = [(mode, *compare(x, bank, mode, progress)) for mode in MODES]
    print(f"\n{len(bank)} filters over a photograph of {x.shape[3]}×{x.shape[2]} pixels, medians of {ROUNDS} rounds\n")
    print(*table(rows), sep="\n", end="\n\n")
    draw(x, named, bank).savefig(PICTURE, dpi=100)
    print(f"picture: {PICTURE}")


if __name__ == "__main__":
    main()
