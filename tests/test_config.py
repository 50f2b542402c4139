"""show_config: both of its modes, and that what it says about threads is what holds."""

import pytest

import fastconv
from fastconv import _isa


def test_dicts_hold_the_facts():
    config = fastconv.show_config(mode="dicts")
    assert config["version"] == fastconv.__version__
    assert config["isa"] == {"in use": _isa.level, "available": _isa.available, "built": _isa.built}
    assert config["threads"]["in use"] == fastconv.get_num_threads()
    assert set(config["threads"]["limits"]) == {"affinity mask", "cgroup quota", "OMP_NUM_THREADS"}


def test_openmp_is_a_library_or_a_reason():
    openmp = fastconv.show_config(mode="dicts")["openmp"]
    assert ("omp" in openmp["library"]) if openmp["library"] else openmp["why"]


def test_stdout_prints_every_fact(capsys):
    assert fastconv.show_config() is None
    printed = capsys.readouterr().out
    for line in (
        f"version: {fastconv.__version__}\n",
        f"    in use: {_isa.level}\n",
        f"    available: {', '.join(_isa.available)}\n",
        "    decided by: ",
        "        affinity mask: ",
    ):
        assert line in printed


def test_dicts_are_the_callers_own():
    fastconv.show_config(mode="dicts")["threads"]["limits"]["affinity mask"] = -1
    assert fastconv.show_config(mode="dicts")["threads"]["limits"]["affinity mask"] >= 1


@pytest.mark.parametrize("mode", ["print", None, "Dicts", 1])
def test_unknown_mode(mode):
    with pytest.raises(ValueError, match="mode must be"):
        fastconv.show_config(mode=mode)
