"""A small convolutional network learns to read 1,797 handwritten digits, and is frozen to read them fast.

    python examples/digits.py

Every layer is a convolution: two of them halve the images, and the last one gives ten scores for each. A quarter of the
digits, the same at every run, is held out: the network does not see them before the end. A picture is saved beside this
file: what the network has learned, what it makes of a digit, and which held-out digits it takes for which.
"""

from itertools import zip_longest
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from tqdm import tqdm

from fastconv import Adam, Conv2d, Sequential, num_threads

EPOCHS, BATCH, RATE = 40, 32, 4e-3  # RATE is the first learning rate
CALLS = 1000
PICTURE = Path(__file__).with_suffix(".png")

DARK, GREY, LIGHT = "#222", "#303030", "#eee"
SIGNED = LinearSegmentedColormap.from_list("signed", ["#3b8bd0", GREY, "#f0a030"])
GLOW = LinearSegmentedColormap.from_list("glow", [GREY, "#f0a030", "#fff4d6"])


def network(rng):
    hidden = {"activation": "relu", "weight_init": "he", "name": "conv{}", "rng": rng}
    return Sequential(
        Conv2d(1, 16, 3, padding=1, **hidden),
        Conv2d(16, 32, 3, stride=2, padding=1, **hidden),
        Conv2d(32, 64, 3, stride=2, padding=1, **hidden),
        Conv2d(64, 10, 2, name="scores", rng=rng),
    )


def digits(rng):
    """Images (n, 1, 8, 8) from 0 to 1 and their digits, to train with and held out."""
    data = load_digits()
    images, labels = (data.images[:, None] / 16).astype(np.float32), data.target
    order = rng.permutation(len(labels))
    held_out, train = np.split(order, [len(order) // 4])
    return (images[train], labels[train]), (images[held_out], labels[held_out])


def cross_entropy(scores, labels):
    """The mean loss of scores (n, 10, 1, 1), and its gradient."""
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    grad = exp / exp.sum(axis=1, keepdims=True)
    right = np.arange(len(labels)), labels
    loss = -np.log(grad[right]).mean()
    grad[right] -= 1
    return loss, grad / len(labels)


def shifted(images, rng):
    """The images moved by at most one pixel, all the same way."""
    down, right = rng.integers(0, 3, 2)
    return np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))[..., down : down + 8, right : right + 8]


def train(net, images, labels, rng):
    """Adam, with a learning rate that falls along half a cosine to zero; every batch is moved a little."""
    optimizer = Adam(net.parameters(), l2=1e-4)
    batches = len(labels) // BATCH
    with tqdm(total=EPOCHS * batches, desc="training", unit="batch") as progress:
        for epoch in range(EPOCHS):
            order = rng.permutation(len(labels))
            losses = []
            for batch in np.array_split(order, batches):
                optimizer.learning_rate = RATE * (1 + np.cos(np.pi * progress.n / progress.total)) / 2
                scores, backward = net.vjp(shifted(images[batch], rng))
                loss, grad = cross_entropy(scores, labels[batch])
                optimizer.zero_grad()
                backward(grad)
                optimizer.step()
                losses.append(loss)
                progress.update()
            progress.set_postfix(epoch=epoch + 1, loss=f"{np.mean(losses):.4f}")


def confusion(labels, read):
    """How often each digit (row) is read as which (column)."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, read), 1)
    return counts


def latency(plan, image):
    """The median time of a call in seconds."""
    times = []
    for _ in range(CALLS):
        start = perf_counter()
        plan(image)
        times.append(perf_counter() - start)
    return median(times)


def draw(net, images, labels, read):
    """Filters and what they make of one digit; what is read as what, and what is not read correctly."""
    figure = Figure(figsize=(16, 9), layout="constrained", facecolor=DARK)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    left, right = figure.subfigures(1, 2, width_ratios=(8, 7), facecolor=DARK)
    rows = left.subfigures(3, 1, height_ratios=(2, 2, 4), facecolor=DARK)

    filters = net["conv1"].weight.value[:, 0]
    image = images[np.argmax(labels == 3)]
    first = net["conv1"](image)
    second = net["conv2"](first)
    tiles(rows[0], filters, "the filters of conv1, blue for negative", SIGNED, -abs(filters).max())
    tiles(rows[1], first, "what they make of a held-out 3", GLOW)
    tiles(rows[2], second, "what conv2 makes of that", GLOW)

    wrong = np.flatnonzero(labels != read)[:8]
    matrix, mistakes = right.subfigures(2, 1, height_ratios=(5, 1), facecolor=DARK)
    draw_confusion(matrix.subplots(), confusion(labels, read))
    if len(wrong):
        titles = [f"{digit} as {other}" for digit, other in zip(labels[wrong], read[wrong], strict=True)]
        tiles(mistakes, images[wrong, 0], "and these are not", GLOW, titles=titles)
    return figure


def tiles(figure, planes, title, colours, lowest=0.0, titles=()):
    """Planes in rows of at most eight, all on one scale."""
    figure.suptitle(title, color=LIGHT, fontsize=12)
    columns = min(8, len(planes))
    grid = figure.subplots(-(-len(planes) // columns), columns, squeeze=False)
    for axes, plane, above in zip_longest(grid.flat, planes, titles):
        axes.axis("off")
        if plane is not None:
            axes.imshow(plane, colours, vmin=lowest, vmax=abs(planes).max())
            axes.set_title(above, color=LIGHT, fontsize=10)


def draw_confusion(axes, counts):
    axes.imshow(np.sqrt(counts), GLOW)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            axes.text(column, row, count, ha="center", va="center", color=DARK if row == column else LIGHT)
    axes.set_title(f"{counts.trace()} of {counts.sum()} held-out digits are read correctly", color=LIGHT, fontsize=12)
    axes.set_xlabel("read as", color=LIGHT)
    axes.set_ylabel("digit", color=LIGHT)
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.tick_params(colors=LIGHT, length=0)
    axes.spines[:].set_visible(False)


def main():
    rng = np.random.default_rng(0)
    training, (images, labels) = digits(rng)
    net = network(rng)
    print(net.info((BATCH, 1, 8, 8)), end="\n\n")
    start = perf_counter()
    with num_threads(1):  # batches this small gain nothing by a second one, and one never waits for another
        train(net, *training, rng)
    taken = perf_counter() - start

    plan = net.freeze(input_shape=(1, 8, 8))
    scores = plan(images)
    np.testing.assert_array_equal(scores, net(images))
    read = scores[:, :, 0, 0].argmax(axis=1)
    print(f"\ntrained on {len(training[1])} digits in {taken:.1f} s")
    print(f"held out: {np.mean(read == labels):.2%} of {len(labels)} digits are read correctly")
    print(f"frozen: one digit takes {1e6 * latency(plan, images[0]):.0f} µs, the median of {CALLS} calls")
    draw(net, images, labels, read).savefig(PICTURE, dpi=100)
    print(f"picture: {PICTURE}")


if __name__ == "__main__":
    main()
