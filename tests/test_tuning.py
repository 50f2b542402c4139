"""Tuning: what is measured, kept, loaded and refused, and that plans made afterwards run what was found."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from interpreter import output, run

import fastconv
from fastconv import _isa, _tuning_file, tuning
from fastconv._algorithms import TIMED

SHAPES = (3, 8, 20, 20), (16, 8, 3, 3)


@pytest.fixture(autouse=True)
def nothing_in_force(monkeypatch):
    monkeypatch.delenv("FASTCONV_ALGORITHM", raising=False)
    fastconv.forget_tuning()
    yield
    fastconv.forget_tuning()


@pytest.fixture
def fastest(monkeypatch):
    """A function: let this algorithm be measured as the fastest. It returns the names of those that are measured."""

    def let(winner):
        measured = []

        def measure(calls, seconds):
            measured[:] = calls
            return {name: 1e-3 if name == winner else 2e-3 for name in calls}

        monkeypatch.setattr(tuning, "_measure", measure)
        return measured

    return let


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tuning.json"


def chosen(x_shape=SHAPES[0], weight_shape=SHAPES[1], dtype="float32", **arguments):
    """What a new plan runs."""
    return fastconv.plan(np.zeros(weight_shape, dtype), **arguments).explain(x_shape).algorithm


def in_force():
    return fastconv.show_config(mode="dicts")["tuning"]["outcomes in force"]


@pytest.mark.parametrize("winner", TIMED)
def test_a_plan_runs_what_was_fastest(fastest, file, winner):
    fastest(winner)
    found = fastconv.tune(*SHAPES, padding=1, file=file)
    assert found == fastconv.Tuning(winner, found.seconds, fastconv.get_num_threads())
    assert found.seconds == {name: 1e-3 if name == winner else 2e-3 for name in TIMED}
    assert chosen(padding=1) == winner
    x, weight = np.ones(SHAPES[0], "float32"), np.ones(SHAPES[1], "float32")
    expected = fastconv.conv2d(x, weight, padding=1, algorithm=winner)
    np.testing.assert_array_equal(fastconv.plan(weight, padding=1)(x), expected)


@pytest.mark.parametrize("winner", TIMED)
def test_round_trip(fastest, file, winner):
    fastest(winner)
    fastconv.tune(*SHAPES, padding=1, file=file)
    fastest("im2col")
    fastconv.tune((8, 20), (16, 8, 3), padding_mode="reflect", padding=2, file=file, dtype="float64")
    fastconv.tune((2, 9, 9, 9, 4), (6, 2, 3, 3, 3), groups=2, data_format="channels_last", stride=2, file=str(file))
    written = file.read_text()
    assert in_force() == 3
    fastconv.forget_tuning()
    assert in_force() == 0
    assert fastconv.load_tuning(file) is None
    assert in_force() == 3
    assert chosen(padding=1) == winner
    assert chosen((2, 9, 9, 9, 4), (6, 2, 3, 3, 3), groups=2, data_format="channels_last", stride=2) == "im2col"
    assert len(json.loads(written)["outcomes"]) == 3
    assert os.listdir(file.parent) == [file.name]


def test_a_later_outcome_replaces_an_earlier_one(fastest, file):
    for winner in ("direct", "winograd", "im2col"):
        fastest(winner)
        fastconv.tune(*SHAPES, padding=1, file=file)
        assert chosen(padding=1) == winner
    (outcome,) = json.loads(file.read_text())["outcomes"]
    assert outcome["algorithm"] == "im2col"
    assert outcome["threads"] == fastconv.get_num_threads()


def test_the_fastest_is_found_by_turns(monkeypatch, file):
    """With a clock that each call moves: three rounds at least, and one slow call does not count."""
    now, log = [0.0], []
    taken = {"direct": 5e-3, "im2col": 4e-3, "winograd": 7e-3, "fft": 8e-3}

    def call(name):
        log.append(name)
        now[0] += taken[name] + (1.0 if log.count("im2col") == 3 and name == "im2col" else 0.0)

    monkeypatch.setattr(tuning, "perf_counter", lambda: now[0])
    monkeypatch.setattr(tuning, "_calls", lambda geometry, arguments, names: {n: lambda n=n: call(n) for n in names})
    found = fastconv.tune(*SHAPES, file=file, seconds=0)
    assert found.algorithm == "im2col"
    assert found.seconds == pytest.approx(taken)
    rounds = log[2 * len(taken) :]
    assert [rounds[at] for at in range(0, len(rounds), 2)] == [
        *("direct", "im2col", "winograd", "fft"),
        *("im2col", "winograd", "fft", "direct"),
        *("winograd", "fft", "direct", "im2col"),
    ]


def test_the_real_clock(file):
    found = fastconv.tune((2, 6, 6), (3, 2, 3, 3), file=file, seconds=0)
    assert min(found.seconds.values()) > 0
    assert found.seconds[found.algorithm] == min(found.seconds.values())


def test_declined_algorithms_are_not_measured(fastest, file):
    measured = fastest("direct")
    fastconv.tune(*SHAPES, stride=3, file=file)
    assert measured == ["direct", "im2col", "fft"]
    fastconv.tune(*SHAPES, precision="strict", file=file)
    assert measured == ["direct", "im2col"]
    fastconv.tune(*SHAPES, file=file)
    assert measured == ["direct", "im2col", "winograd", "fft"]


SAME = {
    "other batch axes": {"x_shape": (1, 3, 1, 8, 20, 20)},
    "flip_kernel": {"flip_kernel": True},
    "activation": {"activation": "relu"},
    "a callable": {"activation": np.abs},
    "padding_value": {"padding_value": 2.0},
    "bias": {"bias": np.ones(16)},
    "by name": {"padding": "same"},
    "pairs": {"padding": [(1, 1), (1, 1)]},
    "zeros": {"padding_mode": "zeros"},
}
OTHER = {
    "images": {"x_shape": (2, 8, 20, 20)},
    "size": {"x_shape": (3, 8, 20, 21)},
    "weight shape": {"weight_shape": (15, 8, 3, 3)},
    "kernel": {"weight_shape": (16, 8, 3, 1)},
    "rank": {"x_shape": (3, 8, 1, 20, 20), "weight_shape": (16, 8, 1, 3, 3)},
    "stride": {"stride": (1, 2)},
    "padding": {"padding": 2},
    "dilation": {"dilation": 2},
    "groups": {"weight_shape": (16, 4, 3, 3), "groups": 2},
    "padding_mode": {"padding_mode": "reflect"},
    "data_format": {"x_shape": (3, 20, 20, 8), "data_format": "channels_last"},
    "dtype": {"dtype": "float64"},
    "precision": {"precision": "strict"},
}


@pytest.mark.parametrize("what", [*SAME, *OTHER])
def test_what_an_outcome_holds_for(fastest, file, what):
    arguments = {"padding": 1} | (SAME | OTHER)[what]
    untuned = chosen(**arguments)
    other = "im2col" if untuned == "direct" else "direct"  # both take everything
    fastest(other)
    fastconv.tune(*SHAPES, padding=1, file=file)
    assert chosen(**arguments) == (other if what in SAME else untuned)


def test_strict_is_never_given_transforms(fastest, file):
    fastest("winograd")
    fastconv.tune(*SHAPES, padding=1, file=file)
    assert chosen(padding=1) == "winograd"
    assert chosen(padding=1, precision="strict") != "winograd"


def test_an_outcome_is_of_one_level(fastest, file, monkeypatch):
    fastest("winograd")
    monkeypatch.setattr(_isa, "level", "baseline" if _isa.level != "baseline" else "x86-64-v2")
    fastconv.tune(*SHAPES, stride=1, file=file)
    assert chosen() == "winograd"
    monkeypatch.undo()
    fastconv.load_tuning(file)
    untuned = chosen()
    fastconv.forget_tuning()
    assert chosen() == untuned


def test_whoever_names_an_algorithm_gets_it(fastest, file, monkeypatch):
    fastest("winograd")
    fastconv.tune(*SHAPES, padding=1, file=file)
    assert chosen(padding=1, algorithm="direct") == "direct"
    monkeypatch.setenv("FASTCONV_ALGORITHM", "im2col")
    assert chosen(padding=1) == "im2col"
    fastconv.tune(*SHAPES, padding=1, file=file)  # the environment does not say what is measured


def test_plans_that_exist_and_functions_do_not_change(fastest, file):
    plan = fastconv.plan(np.zeros(SHAPES[1], "float32"), padding=1)
    before, function = plan.explain(SHAPES[0]).algorithm, fastconv.explain(*SHAPES, padding=1).algorithm
    fastest("im2col" if before == "direct" else "direct")
    found = fastconv.tune(*SHAPES, padding=1, file=file)
    with fastconv.num_threads(3):  # a task that was not prepared before
        assert plan.explain(SHAPES[0]).algorithm == before
    assert fastconv.explain(*SHAPES, padding=1).algorithm == function
    tuned = fastconv.plan(np.zeros(SHAPES[1], "float32"), padding=1)
    fastconv.forget_tuning()
    assert tuned.explain(SHAPES[0]).algorithm == found.algorithm


def test_large_tasks_are_not_taken_from_plans_of_other_outcomes(fastest, file):
    shapes = (1, 9000), (1, 1, 5000)  # whose index tables are kept for all plans together
    for winner in ("direct", "im2col", "direct"):
        fastest(winner)
        fastconv.tune(*shapes, file=file)
        assert chosen(*shapes) == winner


def test_transposed_plans_are_made_of_convolutions_that_may_be_tuned(fastest, file):
    weight = np.zeros((16, 8, 3, 3), "float32")

    def algorithm():
        return fastconv.plan(weight, padding=1, transposed=True).explain((16, 20, 20)).algorithm

    for winner in TIMED:
        fastest(winner)
        fastconv.tune((16, 20, 20), (8, 16, 3, 3), padding=1, file=file)
        assert algorithm() == winner


def test_threads_do_not_change_the_choice(fastest, file):
    for winner in TIMED:
        fastest(winner)
        with fastconv.num_threads(2):
            assert fastconv.tune(*SHAPES, file=file).threads == 2
        for threads in (1, 2, 5):
            with fastconv.num_threads(threads):
                assert chosen() == winner


REFUSED = {
    "algorithm": ({"algorithm": "direct"}, ValueError, r"algorithm='direct'.*wanted 'auto'"),
    "seconds": ({"seconds": -1}, ValueError, "seconds=-1"),
    "seconds type": ({"seconds": "1"}, TypeError, "seconds='1'"),
    "stride": ({"stride": 0}, ValueError, "stride=0"),
    "channels": ({"x_shape": (3, 7, 20, 20)}, ValueError, "x has 7 channels"),
    "x_shape": ({"x_shape": 3}, TypeError, "x_shape=3"),
    "weight_shape": ({"weight_shape": (3,)}, ValueError, "weight has 1 axes"),
    "nothing": ({"x_shape": (0, 8, 20, 20)}, ValueError, r"x_shape=\(0, 8, 20, 20\)"),
    "dtype": ({"dtype": "U3"}, TypeError, "dtype has dtype"),
    "file": ({"file": 3}, TypeError, "file=3"),
    "empty": ({"file": ""}, ValueError, "file='' is empty"),
    "folder": ({"file": "/no/such/folder/tuning.json"}, OSError, "/no/such/folder"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_errors_before_anything_is_timed(fastest, file, what):
    measured = fastest("direct")
    arguments, error, message = REFUSED[what]
    with pytest.raises(error, match=message):
        fastconv.tune(**{"x_shape": SHAPES[0], "weight_shape": SHAPES[1], "file": file} | arguments)
    assert not measured
    assert not file.exists()
    assert in_force() == 0


def test_a_file_is_wanted():
    with pytest.raises(TypeError, match="'file'"):
        fastconv.tune(*SHAPES)


def test_a_folder_that_takes_no_files(fastest, file):
    measured = fastest("direct")
    file.parent.chmod(0o500)
    try:
        if os.access(file.parent, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(OSError, match=str(file.parent)):
            fastconv.tune(*SHAPES, file=file)
    finally:
        file.parent.chmod(0o700)
    assert not measured


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_everything_as_it_was(fastest, file, monkeypatch, failing):
    fastest("direct")
    fastconv.tune(*SHAPES, file=file)
    written = file.read_text()
    fastest("im2col")

    def fail(*arguments):
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(os, failing, fail)
        with pytest.raises(OSError, match="the disk is full"):
            fastconv.tune(*SHAPES, file=file)
    assert file.read_text() == written
    assert os.listdir(file.parent) == [file.name]
    assert chosen() == "direct"


def test_an_interrupted_measurement_leaves_everything_as_it_was(file, monkeypatch):
    def interrupted(calls, seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "_measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fastconv.tune(*SHAPES, file=file)
    assert os.listdir(file.parent) == []
    assert in_force() == 0
    monkeypatch.undo()
    fastconv.tune((1, 9), (1, 1, 3), file=file, seconds=0)  # nothing is locked


def spoilt(change):
    """A function from the content of a good file to that of one whose last outcome is changed."""

    def spoil(content):
        content = json.loads(content)
        change(content["outcomes"][-1])
        return json.dumps(content)

    return spoil


def with_convolution(**values):
    return spoilt(lambda outcome: outcome["convolution"].update(values))


def labelled(**values):
    return lambda content: json.dumps(json.loads(content) | values)


SPOILT = {
    "empty": (lambda content: "", "cannot load"),
    "truncated": (lambda content: content[: len(content) // 2], "cannot load"),
    "not JSON": (lambda content: "algorithm: direct", "cannot load"),
    "not text": (lambda content: "\ud800", "cannot load"),
    "a list": (lambda content: "[1, 2]", "it has no format; wanted 'fastconv tuning'"),
    "foreign": (lambda content: '{"name": "x"}', "it has no format"),
    "another format": (labelled(format="fastconv state"), "its format is 'fastconv state'"),
    "newer": (labelled(version="2"), "its version is '2'; wanted '1'"),
    "more": (labelled(more=1), "it has .*more"),
    "no list": (labelled(outcomes={}), "its outcomes are a dict"),
    "no outcome": (labelled(outcomes=[3]), "its outcome 0: it is a int"),
    "unknown algorithm": (spoilt(lambda outcome: outcome.update(algorithm="gemm")), "its outcome 1: algorithm='gemm'"),
    "reference": (spoilt(lambda outcome: outcome.update(algorithm="reference")), "algorithm='reference' is unknown"),
    "unknown candidate": (spoilt(lambda outcome: outcome["seconds"].update(gemm=1.0)), "seconds='gemm' is unknown"),
    "negative": (spoilt(lambda outcome: outcome["seconds"].update(direct=-1.0)), r"seconds\['direct'\]=-1.0"),
    "no seconds": (spoilt(lambda outcome: outcome.update(seconds=1)), "seconds=1"),
    "threads": (spoilt(lambda outcome: outcome.update(threads=0)), "threads=0"),
    "a field less": (spoilt(lambda outcome: outcome.pop("threads")), "its outcome 1: it has"),
    "declines": (with_convolution(precision="strict"), "its outcome 1: algorithm='winograd' cannot do this"),
    "level": (with_convolution(isa="x86-64-v9"), "isa='x86-64-v9' is unknown"),
    "type": (with_convolution(dtype="int8"), "dtype='int8' is unknown"),
    "images": (with_convolution(images=True), "images=True"),
    "outputs": (with_convolution(out=[7, 7]), r"its convolution is Key\(.*out=\(7, 7\).*wanted Key"),
    "stride": (with_convolution(stride=1), "its convolution is"),
    "mode": (with_convolution(padding_mode="zeros"), "its convolution is"),
    "channels": (with_convolution(groups=3), "groups=3"),
    "a null": (with_convolution(size=None), "size=None"),
    "another field": (with_convolution(colour="red"), "its convolution has .*colour"),
    "twice": (
        lambda content: json.dumps(json.loads(content) | {"outcomes": json.loads(content)["outcomes"][:1] * 2}),
        "its outcome 1 is of a convolution that an earlier one is of",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_files_that_are_not_right(fastest, file, what):
    measured = fastest("winograd")
    fastconv.tune((8, 9, 9), (2, 8, 3, 3), file=file)
    fastconv.tune(*SHAPES, file=file)
    spoil, message = SPOILT[what]
    content = spoil(file.read_text()).encode(errors="surrogatepass")
    file.write_bytes(content)
    fastconv.forget_tuning()
    measured.clear()
    for use in (fastconv.load_tuning, lambda file: fastconv.tune(*SHAPES, file=file)):
        with pytest.raises(ValueError, match=message) as raised:
            use(file)
        assert str(file) in str(raised.value)
    assert not measured
    assert file.read_bytes() == content
    assert in_force() == 0  # not even the outcome that is right


def test_a_file_that_is_not_there(file):
    with pytest.raises(FileNotFoundError, match=file.name):
        fastconv.load_tuning(file)
    with pytest.raises(IsADirectoryError):
        fastconv.load_tuning(file.parent)
    with pytest.raises(IsADirectoryError):
        fastconv.tune(*SHAPES, file=file.parent)


def test_loading_adds_to_what_is_in_force(fastest, file):
    fastest("im2col")
    fastconv.tune(*SHAPES, file=file)
    fastest("direct")
    fastconv.tune(*SHAPES, file=file.with_name("other.json"))
    fastconv.tune((8, 9, 9), (2, 8, 3, 3), file=file.with_name("other.json"))
    fastconv.load_tuning(file)
    assert in_force() == 2
    assert chosen() == "im2col"


CODE = """
    import numpy as np, fastconv
    plan = fastconv.plan(np.zeros((16, 8, 3, 3), "float32"))
    print(plan.explain((3, 8, 20, 20)).algorithm, fastconv.show_config(mode="dicts")["tuning"])
"""


@pytest.mark.parametrize("winner", TIMED)
def test_the_environment_loads_a_file(fastest, file, winner):
    fastest(winner)
    fastconv.tune(*SHAPES, file=file)
    level = {"FASTCONV_ISA": _isa.level}
    assert output(CODE, FASTCONV_TUNING=str(file), **level) == f"{winner} {{'outcomes in force': 1}}"
    assert output(CODE, FASTCONV_TUNING="", **level).endswith("{'outcomes in force': 0}")


def test_the_environment_names_a_file_that_is_not_right(file):
    for content in (None, "{}"):
        if content is not None:
            file.write_text(content)
        finished = run("import fastconv", FASTCONV_TUNING=str(file))
        assert finished.returncode != 0
        assert f"ImportError: fastconv can't load the file FASTCONV_TUNING={str(file)!r}: " in finished.stderr


def test_threads_that_tune_lose_nothing(fastest, file):
    fastest("im2col")
    sizes = range(5, 21)
    start = threading.Barrier(4)

    def tune(part):
        start.wait()
        for size in sizes[part::4]:
            fastconv.tune((1, size), (1, 1, 3), file=file)
            assert chosen((1, size), (1, 1, 3)) == "im2col"
            fastconv.load_tuning(file)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tune, range(4)))
    assert in_force() == len(sizes)
    assert len(_tuning_file.read(file)) == len(sizes)
