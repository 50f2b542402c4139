"""The one door to the kernels: which instruction set levels are built, which may run here, and the best one, loaded.

A level's modules are compiled with that level's instructions throughout, so neither may be imported before
the processor *and* the operating system are known to allow it: importing one might already be an illegal instruction.

The environment variable ``FASTCONV_ISA`` forces a level by name. One that can't be had is an `ImportError`, never a
silent fallback: who forces a level wants to know what runs.

Attributes
----------
level : str
    Name of the level in use.
available : tuple of str
    Names of the levels that are built and may run here, best first.
built : tuple of str
    Names of the levels that this installation holds, best first.
forward, backward : module
    The kernels of ``level``.
"""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from fastconv import _cpu

EBX, ECX = 1, 2
BASIC, EXTENDED, AMD = 1, 7, 0x80000001  # leaves of cpuid

# Features of the x86-64 psABI's levels: name → (leaf, register, bit)
V2 = {
    "SSE3": (BASIC, ECX, 0),
    "SSSE3": (BASIC, ECX, 9),
    "CMPXCHG16B": (BASIC, ECX, 13),
    "SSE4.1": (BASIC, ECX, 19),
    "SSE4.2": (BASIC, ECX, 20),
    "POPCNT": (BASIC, ECX, 23),
    "LAHF": (AMD, ECX, 0),
}
V3 = V2 | {
    "FMA": (BASIC, ECX, 12),
    "MOVBE": (BASIC, ECX, 22),
    "OSXSAVE": (BASIC, ECX, 27),
    "AVX": (BASIC, ECX, 28),
    "F16C": (BASIC, ECX, 29),
    "BMI1": (EXTENDED, EBX, 3),
    "AVX2": (EXTENDED, EBX, 5),
    "BMI2": (EXTENDED, EBX, 8),
    "LZCNT": (AMD, ECX, 5),
}
V4 = V3 | {
    "AVX512F": (EXTENDED, EBX, 16),
    "AVX512DQ": (EXTENDED, EBX, 17),
    "AVX512CD": (EXTENDED, EBX, 28),
    "AVX512BW": (EXTENDED, EBX, 30),
    "AVX512VL": (EXTENDED, EBX, 31),
}
# Registers that the operating system must save: bits of XCR0
YMM = 0b0000_0110
ZMM = 0b1110_0110


class Level(NamedTuple):
    name: str
    package: str
    features: dict
    registers: int


LEVELS = (  # best first
    Level("x86-64-v4", "fastconv._kernels.v4", V4, ZMM),
    Level("x86-64-v3", "fastconv._kernels.v3", V3, YMM),
    Level("x86-64-v2", "fastconv._kernels.v2", V2, 0),
    Level("baseline", "fastconv._kernels.baseline", {}, 0),
)


def lacking(level):
    """What the processor or the operating system lacks for this level: names, empty where it may run."""
    names = [
        name
        for name, (leaf, register, bit) in level.features.items()
        if not _cpu.cpuid(leaf)[register] >> bit & 1
    ]
    if level.registers & ~_cpu.saved_registers():
        names.append("registers saved by the operating system")
    return names


def choose(forced):
    """The level to load: the best available, or the one of the name ``forced``."""
    for level in LEVELS:
        if level.name in available and forced in ("", level.name):
            return level
    asked = f"the instruction set level FASTCONV_ISA={forced!r}" if forced else "any of its instruction set levels"
    lacks = {level.name: ", ".join(lacking(level)) for level in LEVELS if not forced or level.name == forced}
    raise ImportError(
        f"fastconv can't run {asked} here.\n"
        f"  built: {', '.join(built) or 'none'}\n"
        f"  allowed by the processor and the operating system: {', '.join(allowed)}\n"
        + "".join(f"  {name} lacks: {names}\n" for name, names in lacks.items() if names)
    )


built = tuple(level.name for level in LEVELS if find_spec(f"{level.package}.forward"))
allowed = tuple(level.name for level in LEVELS if not lacking(level))
available = tuple(name for name in built if name in allowed)
_chosen = choose(os.environ.get("FASTCONV_ISA", ""))
level = _chosen.name
forward = import_module(f"{_chosen.package}.forward")
backward = import_module(f"{_chosen.package}.backward")
