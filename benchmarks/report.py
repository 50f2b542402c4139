"""`compare`'s tables and its picture."""

import math
import platform
import re
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.peers import versions

NAME = 26
CELL = 9
# Processors' worth of other processes' work above which a row is not to be trusted.
DISTURBING = 0.1
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")


def processor():
    """The processor's name, as well as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def about(sides):
    """Date, machine and versions, for the head of a table and the foot of a picture."""
    from fastconv import _isa

    known = ", ".join(f"{name} {version}" for name, version in versions(sides).items())
    return f"{time.strftime('%Y-%m-%d')}, {processor()}, {_isa.level}, Python {platform.python_version()}\n{known}"


def row_of(name, figures, best=""):
    """One line of a table; `figures` maps the heading of each column to what stands there."""
    cells = "".join(f"{figure:>{max(len(heading) + 2, CELL)}}" for heading, figure in figures.items())
    return f"{name:<{NAME}}{cells}  {best}".rstrip()


def headings(figures, name="case", best=""):
    return row_of(name, dict(zip(figures, figures, strict=True)), best)


def is_disturbed(row):
    return (row["disturbed"] or 0) > DISTURBING


def ratios_of(row):
    """Part of the work → ratio of the best peer, or None; the whole, whose name is empty, comes first."""
    return {"": row["ratio"]} | {part: best["ratio"] for part, best in row["parts"].items()}


def figures_of(row, sides):
    """Heading → figure; a side that was not timed shows a dash, a wrong one says so."""
    shown = {name: f"{ratio:.2f}" for name, ratio in row["ratios"].items()} | dict.fromkeys(row["wrong"], "WRONG")
    return {
        "threads": row["threads"],
        "µs": f"{row['seconds'][row['own']] * 1e6:.1f}",
        "GFLOP/s": f"{row['gflops']:.1f}",
        "of peak": "-" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}",
        **{name: shown.get(name, "-") for name in sides},
        **{f"best{part}": "-" if ratio is None else f"{ratio:.2f}" for part, ratio in ratios_of(row).items()},
    }


def lines(row, sides, with_headings):
    """A row of the table, below the headings where it is the first one."""
    figures = figures_of(row, sides)
    above = [headings(figures, best="best peer")] if with_headings else []
    best = (row["best"] or "no peer") + (f" by {row['own']}" if row["own"] != "fastconv" else "")
    best += ", disturbed" if is_disturbed(row) else ""
    return [*above, row_of(row["case"], figures, best)]


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def means(rows):
    """Geometric means of the ratios to the best peer, by number of threads, part of the work and density."""
    groups = defaultdict(list)
    for row in rows:
        for part, ratio in ratios_of(row).items():
            if ratio is not None:
                groups[row["threads"], part, row["density"]].append(ratio)
                groups[row["threads"], part, "all"].append(ratio)
    lines = ["geometric mean of best peer ÷ fastconv"]
    for (threads, part, density), ratios in sorted(groups.items(), key=lambda item: (*item[0][:2], -len(item[1]))):
        mean, least, group = geometric_mean(ratios), min(ratios), density + part
        lines.append(f"  {threads} thread(s), {group:<8}  {mean:6.2f}   least {least:.2f}   of {len(ratios)} cases")
    return "\n".join(lines)


def remarks(rows):
    """Why sides were not timed, each reason once; rows that other processes disturbed; results that were wrong."""
    reasons = defaultdict(set)
    for row in rows:
        for name, reason in row["declined"].items():
            reasons[name, reason].add(row["case"])
    lines = [f"not timed: {name}, {len(cases)} case(s): {reason}" for (name, reason), cases in sorted(reasons.items())]
    lines += [
        f"disturbed: {row['case']}, {row['threads']} thread(s): others kept {row['disturbed']:.1f} processors busy"
        for row in rows
        if is_disturbed(row)
    ]
    lines += [
        f"WRONG: {row['case']}, {row['threads']} thread(s): {name} {how}"
        for row in rows
        for name, how in row["wrong"].items()
    ]
    return "\n".join(lines)


def picture(rows, caption, path):
    """Horizontal bars of best peer ÷ fastconv on a logarithmic axis; longer than 1 is where fastconv is faster."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    rows = [row for row in rows if row["ratio"] is not None]
    names = list(dict.fromkeys(row["case"] for row in rows))
    threads = sorted({row["threads"] for row in rows})
    height = 0.8 / max(1, len(threads))

    figure, axes = pyplot.subplots(figsize=(9, 2 + 0.22 * len(rows)), layout="constrained")
    for turn, (n, colour) in enumerate(zip(threads, COLOURS, strict=False)):
        own = [row for row in rows if row["threads"] == n]
        places = [names.index(row["case"]) + (turn - (len(threads) - 1) / 2) * height for row in own]
        ratios = [row["ratio"] for row in own]
        # Bars start at 1, the line where both are equal.
        bars = axes.barh(places, [ratio - 1 for ratio in ratios], height, left=1, color=colour, label=f"{n} thread(s)")
        labels = [f" {ratio:.2f} {row['best']}" for ratio, row in zip(ratios, own, strict=True)]
        for bar, ratio, label in zip(bars, ratios, labels, strict=True):
            axes.annotate(label, (max(ratio, 1), bar.get_y() + height / 2), va="center", fontsize=6)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    ratios = [1, *(row["ratio"] for row in rows)]
    axes.set_xlim(min(ratios) / 1.1, max(ratios) * 1.6)  # room for the labels on the right
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.margins(y=0.01)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("time of the best peer ÷ time of fastconv")
    figure.legend(loc="outside upper right", ncols=len(threads), frameon=False)
    if disturbed := sum(map(is_disturbed, rows)):
        caption += f"\n{disturbed} of {len(rows)} bars were disturbed by other processes"
    figure.supxlabel(caption, fontsize=7)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def memory(imports, calls):
    """The tables of ``--memory``."""
    costs = {name: {"ms": f"{c['seconds'] * 1e3:.1f}", "MB": f"{c['bytes'] / 1e6:.1f}"} for name, c in imports.items()}
    columns = {"plan": "plan", "weight": "weight", "call": "one call", "kept": "kept", "told": "explain"}
    sizes = [
        {"threads": row["threads"]} | {heading: f"{row[field] / 1024:.1f}" for field, heading in columns.items()}
        for row in calls
    ]
    lines = [headings(costs["numpy"], "import")]
    lines += [row_of(name, cost) for name, cost in costs.items()]
    lines += ["", headings(sizes[0], "KiB")]
    lines += [row_of(row["case"], size) for row, size in zip(calls, sizes, strict=True)]
    return "\n".join(lines)
