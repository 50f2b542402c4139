"""Every instruction set level that may run here gives the same bits, over sizes that hit every tail."""

from pathlib import Path

import pytest
from interpreter import run

from fastconv import _isa

EXACT = [
    "test_functional.py::test_every_algorithm_to_the_bit",
    "test_functional.py::test_channels_last_and_any_strides",
    "test_tiles.py",
    "test_grad_weight.py::test_any_cut_to_the_bit",
    "test_grad_weight.py::test_edges",
    "test_grad_weight.py::test_every_width",
    "test_grad_weight.py::test_every_tile",
    "test_grad_weight.py::test_the_worst_sums",
]


@pytest.mark.parametrize("level", [name for name in _isa.available if name != _isa.level])
def test_every_algorithm_at_every_level(level):
    tests = [str(Path(__file__).with_name(name)) for name in EXACT]
    code = f"import pytest; raise SystemExit(pytest.main({[*tests, '-p', 'no:cacheprovider']}))"
    finished = run(code, FASTCONV_ISA=level)
    assert finished.returncode == 0, finished.stdout
