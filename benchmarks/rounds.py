"""How times are taken: all sides of a case by turns, in one process.

Speed drifts with temperature and with neighbours on the machine, so that only times taken side by side compare. A
sample is as many calls as take `SAMPLE` seconds; every side gives one sample a round, and rounds begin with another
side each time, so that none is always the first.

Idle workers spin after a call, waiting for the next one (OpenMP for about 10 ms, ONNX Runtime for 40), and would take
a core away from the side that follows. To forbid them to spin might slow their own side down; instead, each sample
waits until the process has become quiet, and then come calls that are not timed, which wake the side's own workers,
let the scheduler spread them over the processors (it may take some milliseconds), and fill the caches again.
"""

import itertools
import os
import statistics
import time
from pathlib import Path

SAMPLE = 2e-3
WARM_UP = 1e-2
QUIET = 5e-3


def seconds(run, calls):
    """Wall time of so many calls."""
    start = time.perf_counter()
    for _ in itertools.repeat(None, calls):
        run()
    return time.perf_counter() - start


def calls_lasting(run, duration):
    """How many calls last so many seconds, at least."""
    calls = 1
    while (taken := seconds(run, calls)) < duration:
        calls = max(2 * calls, int(calls * duration / taken))
    return calls


def settle():
    """Sleep until no thread of this process is busy; half a second at most, should one never stop."""
    for _ in range(100):
        before = time.process_time()
        time.sleep(QUIET)
        if time.process_time() - before < QUIET / 10:
            break


class Neighbours:
    """How many processors other processes kept busy since this was made; Linux only, None elsewhere.

    Two threads on two processors, one of which is taken, run ten times slower than one: such times say nothing.
    """

    def __init__(self):
        self.start = self.now()

    @staticmethod
    def now():
        """Seconds that passed, that all processes have computed, and that this one has."""
        if not (stat := Path("/proc/stat")).exists():
            return None
        user, nice, system, _idle, _waiting, *rest = map(int, stat.read_text().splitlines()[0].split()[1:])
        interrupts, steal = sum(rest[:2]), rest[2]
        busy = (user + nice + system + interrupts + steal) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), busy, time.process_time()

    def processors(self):
        if self.start is None:
            return None
        passed, busy, own = (now - start for now, start in zip(self.now(), self.start, strict=True))
        return max(0.0, (busy - own) / passed)


def alternate(runs, settings, rounds, threads):
    """Time every run once a round: a name → seconds per call, median over the rounds.

    Parameters
    ----------
    runs : dict
        Name → callable without arguments.
    settings : dict
        Name → function of the number of threads that gives a context manager, entered around the calls.
    rounds, threads : int
    """
    calls = {}
    for name, run in runs.items():
        with settings[name](threads):
            calls[name] = calls_lasting(run, SAMPLE), calls_lasting(run, WARM_UP)

    names = list(runs)
    samples = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            timed, untimed = calls[name]
            settle()
            with settings[name](threads):
                seconds(runs[name], untimed)
                samples[name].append(seconds(runs[name], timed) / timed)
    return {name: statistics.median(values) for name, values in samples.items()}
