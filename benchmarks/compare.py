"""Time fastconv and every installed peer by turns, in one run.

    python benchmarks/compare.py                                  every case, on one thread and on all
    python benchmarks/compare.py --cases 'resnet.*' --threads 1 --peers 'torch*' ort
    python benchmarks/compare.py --backward                       the gradients instead, beside PyTorch's
    python benchmarks/compare.py --memory                         what a call and an import take, fastconv alone

Every peer's result is held against fastconv's before anything is timed. A ratio is a peer's time over that of
fastconv's plan with ``out=``, so that above 1 fastconv is the faster one; "best" is the fastest peer. fastconv, like
its peers, is timed in both memory formats, .cl being channels last: the faster one counts, and is named where it is not
channels first.

Backward, it is over the function that returns the gradients with respect to input and weight. Columns that end in .dx
and .dw are one of them alone, over the same of fastconv; those of fastconv itself are over both together. Speeds count
the sums of both. Filters that nobody trains are left out.
"""

import argparse
import fnmatch
import json
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

# Run by its path, a script finds its neighbours beside it; as asv imports it, in the package. The package serves both.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import backward, memory, peers, report
from benchmarks.rounds import Neighbours, alternate
from benchmarks.shapes import CASES

BASE = "fastconv"
# Of the largest sum of products there can be: what the strict bound allows in each type.
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}
# A side whose first call takes longer than this many seconds, and this many times fastconv's, is not timed further.
TOO_SLOW = 2.0, 20.0


def base_of(side):
    """The name of fastconv's side for the same part of the work, channels first; it comes before the other sides."""
    return BASE + side.part


def timed_call(run):
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def disagreement(results, expected, case):
    """How results differ from the expected ones by more than rounding may, or None."""
    for result, wanted in zip(results, expected, strict=True):
        if result.shape != wanted.shape:
            return f"shape {result.shape}, not {wanted.shape}"
        # As many products are added to an element, edges and strides averaged, and none is larger than 1.
        allowed = TOLERANCE[case.dtype] * case.flops / 2 / wanted.size
        if not (off := np.abs(result - wanted).max()) <= allowed:
            return f"off by {off:.1e} where {allowed:.1e} is allowed"
    return None


def prepare(case, threads, sides):
    """Build and check the sides of a case.

    Returns
    -------
    ready : dict
        Name → what is to be timed.
    declined, wrong : dict
        Name → why it is not timed; `wrong` are results that differ from fastconv's.
    """
    x, weight = case.arrays()
    ready, declined, wrong, first = {}, {}, {}, {}
    for name, side in sides.items():
        if reason := side.declines(case):
            declined[name] = reason
            continue
        try:
            with side.setting(threads):
                built = side.build(case, x, weight, threads)
                result, taken = timed_call(built.run)
            results = built.fetch(result)
        except Exception as error:  # a peer's failure is its own: the table says so and goes on
            if name == base_of(side):
                raise
            declined[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        if name == base_of(side):
            first[side.part] = [result.copy() for result in results], taken
        expected, base_taken = first[side.part]
        if how := disagreement(results, expected, case):
            wrong[name] = how
        elif taken > max(TOO_SLOW[0], TOO_SLOW[1] * base_taken):
            declined[name] = f"takes {taken:.1f} s"
        else:
            ready[name] = built
    return ready, declined, wrong


def fma_peak(dtype):
    """GFLOP/s of multiply-adds in registers on one thread."""
    from fastconv._isa import forward

    return forward.fma_peak(dtype)


def is_ours(side):
    return side.startswith(BASE)


def fastest(seconds, sides, part, ours):
    """Of fastconv's sides, or of the others, the one that does this part of the work best; None where none does."""
    return min((s for s in seconds if sides[s].part == part and is_ours(s) == ours), key=seconds.get, default=None)


def measure(name, case, threads, sides, rounds):
    """One row of the table, as JSON can hold it."""
    ready, declined, wrong = prepare(case, threads, sides)
    runs = {side: built.run for side, built in ready.items()}
    settings = {side: sides[side].setting for side in ready}
    peaks = [fma_peak(case.dtype)]
    neighbours = Neighbours()
    seconds = alternate(runs, settings, rounds, threads)
    disturbed = neighbours.processors()
    peaks.append(fma_peak(case.dtype))

    parts = dict.fromkeys(sides[side].part for side in ready)
    own = {part: fastest(seconds, sides, part, ours=True) for part in parts}
    ratios = {side: seconds[side] / seconds[own["" if is_ours(side) else sides[side].part]] for side in seconds}
    peer = {part: fastest(seconds, sides, part, ours=False) for part in parts}
    best = {part: {"own": own[part], "best": peer[part], "ratio": ratios.get(peer[part])} for part in parts}
    flops = case.flops * sides[BASE].convolutions
    gflops = flops / seconds[own[""]] / 1e9
    return {
        "case": name,
        "threads": threads,
        "dtype": case.dtype,
        "density": case.density,
        "gflop": flops / 1e9,
        "seconds": seconds,
        "gflops": gflops,
        "share_of_peak": None if None in peaks else gflops / (threads * max(peaks)),
        "ratios": ratios,
        **best.pop(""),
        "parts": best,
        "declined": declined,
        "wrong": wrong,
        "disturbed": disturbed,
    }


def matching(patterns, names):
    """Those of the names that one of the patterns fits, in their order; a pattern that fits none is an error."""
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise SystemExit(f"{pattern!r} fits none of: {', '.join(names)}")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="GLOB", help="names in benchmarks/shapes.py")
    parser.add_argument("--threads", nargs="+", type=int, metavar="N", help="default: 1, and all")
    parser.add_argument("--peers", nargs="+", default=["*"], metavar="GLOB", help=f"of {', '.join(peers.PEERS)}")
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    parser.add_argument("--dtype", choices=TOLERANCE, help="compute every case in this type, not in its own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the ratios (needs matplotlib)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--backward", action="store_true", help="time gradients, where a case is one that is trained")
    what.add_argument("--memory", action="store_true", help="measure memory and import time, and no peer")
    options = parser.parse_args(arguments)
    if options.picture and find_spec("matplotlib") is None:
        parser.error("--picture needs matplotlib")
    return options


def compare(cases, threads, options):
    """The second half of `main`: time, print and save; True if every result agreed with fastconv's."""
    adapters = backward if options.backward else peers
    known = {name: adapters.PEERS[name] for name in matching(options.peers, list(adapters.PEERS))}
    missing = {name: reason for name, peer in known.items() if (reason := peer.missing())}
    sides = adapters.OURS | {name: peer for name, peer in known.items() if name not in missing}

    about = f"{'backward' if options.backward else 'forward'}, {report.about(sides.values())}"
    print(about, *(f"{name}: {reason}" for name, reason in missing.items()), sep="\n", end="\n\n")
    print("fastconv's time and speed, and each other side's time divided by fastconv's")
    rows = []
    for n in threads:
        for name, case in cases.items():
            rows.append(measure(name, case, n, sides, options.rounds))
            print(*report.lines(rows[-1], sides, with_headings=len(rows) == 1), sep="\n", flush=True)
    print("", report.means(rows), "", report.remarks(rows), sep="\n")

    if options.json:
        options.json.write_text(json.dumps({"about": about, "missing": missing, "rows": rows}, indent=1))
    if options.picture:
        report.picture(rows, about, options.picture)
    return not any(row["wrong"] for row in rows)


def main(arguments=None):
    options = parse(arguments)
    names = matching(options.cases, [name for name, case in CASES.items() if case.trained or not options.backward])
    cases = {name: replace(CASES[name], dtype=options.dtype or CASES[name].dtype) for name in names}
    import fastconv

    threads = options.threads or sorted({1, fastconv.get_num_threads()})
    if options.memory:
        results = {"imports": memory.imports(), "calls": memory.calls(cases, threads)}
        print(report.memory(**results))
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))
        return True
    return compare(cases, threads, options)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
