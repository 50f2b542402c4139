"""Instruction set levels: what may run, what is chosen, and that nothing else is loaded."""

import pathlib
import platform

import pytest
from interpreter import output, run

from fastconv import _isa

X86_64 = platform.machine() in ("x86_64", "AMD64")
V4, V3, V2, BASELINE = _isa.LEVELS
ALL_REGISTERS = _isa.ZMM | 0b1
NO_ZMM = _isa.YMM | 0b1

LOADED = """
    import sys, fastconv
    from fastconv import _isa
    kernels = {module.__name__ for name, module in sys.modules.items() if name.startswith("fastconv._kernels.")}
    print(_isa.level, *sorted(name for name in kernels if name.endswith("ward")))
"""

# A processor with every feature, and an operating system that saves the registers given.
FAKE_PROCESSOR = """
    import sys, types
    sys.modules["fastconv._cpu"] = types.SimpleNamespace(
        compiler="a compiler", cpuid=lambda leaf, subleaf=0: ({features},) * 4, saved_registers=lambda: {registers}
    )
"""


def modules_of(name):
    package = next(level.package for level in _isa.LEVELS if level.name == name)
    return f"{package}.backward {package}.forward"


@pytest.fixture
def processor(monkeypatch):
    """A function that fakes the processor: all features but those of these (leaf, register, bit)."""

    def fake(*missing, registers=ALL_REGISTERS):
        def cpuid(leaf, subleaf=0):
            return tuple(
                0xFFFFFFFF & ~sum(1 << bit for at, where, bit in missing if (at, where) == (leaf, register))
                for register in range(4)
            )

        monkeypatch.setattr(_isa._cpu, "cpuid", cpuid)
        monkeypatch.setattr(_isa._cpu, "saved_registers", lambda: registers)

    return fake


def test_best_level_is_the_default():
    assert output(LOADED) == f"{_isa.available[0]} {modules_of(_isa.available[0])}"


def test_an_empty_variable_forces_nothing():
    assert output(LOADED, FASTCONV_ISA="") == output(LOADED)


@pytest.mark.parametrize("name", _isa.available)
def test_forced_level_is_the_only_one_loaded(name):
    assert output(LOADED, FASTCONV_ISA=name) == f"{name} {modules_of(name)}"


@pytest.mark.parametrize("name", ["x86-64-v9", "V3", "avx2", " x86-64-v2"])
def test_unknown_level_is_an_import_error(name):
    process = run("import fastconv", FASTCONV_ISA=name)
    assert process.returncode == 1
    assert f"ImportError: fastconv can't run the instruction set level FASTCONV_ISA={name!r} here" in process.stderr
    assert f"built: {', '.join(_isa.built)}\n" in process.stderr
    assert f"allowed by the processor and the operating system: {', '.join(_isa.allowed)}\n" in process.stderr


@pytest.mark.parametrize("level", [level.name for level in _isa.LEVELS if level.name not in _isa.built])
def test_level_that_is_not_built_is_an_import_error(level):
    process = run("import fastconv", FASTCONV_ISA=level)
    assert process.returncode == 1
    assert f"ImportError: fastconv can't run the instruction set level FASTCONV_ISA={level!r} here" in process.stderr


@pytest.mark.parametrize("feature", _isa.V4)
def test_every_feature_is_required_from_its_level_up(processor, feature):
    processor(_isa.V4[feature])
    for level in _isa.LEVELS:
        assert _isa.lacking(level) == ([feature] if feature in level.features else [])


@pytest.mark.parametrize(
    ("registers", "runs"),
    [
        (ALL_REGISTERS, [V4, V3, V2, BASELINE]),
        (NO_ZMM, [V3, V2, BASELINE]),
        (ALL_REGISTERS & ~(1 << 5), [V3, V2, BASELINE]),  # half of each wide register
        (0b11, [V2, BASELINE]),
        (0, [V2, BASELINE]),
    ],
)
def test_operating_system_must_save_the_registers(processor, registers, runs):
    processor(registers=registers)
    assert [level for level in _isa.LEVELS if not _isa.lacking(level)] == runs


@pytest.mark.skipif("x86-64-v4" not in _isa.available, reason="the processor, or the build, has no AVX-512")
class TestProcessorBelowTheBuild:
    no_zmm = FAKE_PROCESSOR.format(features=0xFFFFFFFF, registers=NO_ZMM)

    def test_next_level_is_chosen(self):
        assert output(self.no_zmm + LOADED) == f"x86-64-v3 {modules_of('x86-64-v3')}"

    def test_forced_level_is_an_import_error_that_says_what_lacks(self):
        process = run(self.no_zmm + LOADED, FASTCONV_ISA="x86-64-v4")
        assert process.returncode == 1
        assert "allowed by the processor and the operating system: x86-64-v3, x86-64-v2, baseline\n" in process.stderr
        assert "x86-64-v4 lacks: registers saved by the operating system\n" in process.stderr

    def test_no_level_at_all_is_an_import_error(self):
        process = run(FAKE_PROCESSOR.format(features=0, registers=0) + LOADED)
        assert process.returncode == 1
        assert "ImportError: fastconv can't run any of its instruction set levels here" in process.stderr
        assert "x86-64-v2 lacks: SSE3, SSSE3" in process.stderr


@pytest.mark.skipif(not (X86_64 and pathlib.Path("/proc/cpuinfo").exists()), reason="no witness on this machine")
def test_linux_agrees_on_the_processor():
    flags = next(
        line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
    ).split()
    assert ("x86-64-v2" in _isa.allowed) == ("sse4_2" in flags)
    assert ("x86-64-v3" in _isa.allowed) == ({"avx2", "fma", "bmi2", "movbe"} <= set(flags))
    assert ("x86-64-v4" in _isa.allowed) == ({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= set(flags))
