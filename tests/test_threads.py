"""Thread counts: the limits found at import, what the caller sets, later OpenMP limits, and forks."""

import asyncio
import os
import threading
from ast import literal_eval

import numpy as np
import pytest
from interpreter import output, run

import fastconv
from fastconv import _cgroup, _openmp, _threads

# What n threads come down to in a build without OpenMP.
PARALLEL = bool(_openmp.specification)
LINUX = hasattr(os, "sched_setaffinity")

COUNT = "import fastconv; print(fastconv.get_num_threads())"
FACTS = "import fastconv; print(fastconv.show_config('dicts')['threads'])"

# A convolution that is worth two threads, and a forked child given 30 seconds.
FORKING = """
    import ctypes, os, signal, time
    import numpy as np
    import fastconv
    from fastconv import _openmp

    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 64, 56, 56), dtype="float32")
    w = rng.standard_normal((64, 64, 3, 3), dtype="float32")

    def convolve():
        return fastconv.conv2d(x, w, padding=1).tobytes()

    def in_child(work):
        pid = os.fork()
        if not pid:
            try:
                print(work(), flush=True)
            finally:
                os._exit(0)
        for _ in range(300):
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print("hung")
"""


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Undo what a test sets for the process."""
    monkeypatch.setattr(_threads, "_process_wide", _threads._process_wide)


def threads(n):
    return n if PARALLEL else 1


class TestDefault:
    def test_is_the_smallest_limit(self):
        facts = literal_eval(output(FACTS))
        assert facts["in use"] == threads(min(limit for limit in facts["limits"].values() if limit))

    @pytest.mark.skipif(not LINUX, reason="no affinity masks on this system")
    def test_affinity_mask(self):
        pinned = """
            import os
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            import fastconv
            print(fastconv.get_num_threads(), fastconv.show_config("dicts")["threads"]["limits"]["affinity mask"])
        """
        assert output(pinned) == "1 1"

    def test_omp_num_threads_lowers(self):
        assert output(COUNT, OMP_NUM_THREADS="1") == "1"

    def test_omp_num_threads_does_not_raise(self):
        assert output(COUNT, OMP_NUM_THREADS="1000") == output(COUNT)

    def test_limit_that_was_set_on_openmp_before_import_ends_when_it_is_lifted(self):
        limited = f"""
            import ctypes
            openmp = ctypes.CDLL({_openmp.library()!r}, mode=ctypes.RTLD_GLOBAL)
            before = openmp.omp_get_max_threads()
            openmp.omp_set_num_threads(1)
            import fastconv
            print(fastconv.get_num_threads())
            openmp.omp_set_num_threads(before)
            print(fastconv.get_num_threads())
        """
        if PARALLEL:
            assert output(limited).split() == ["1", output(COUNT)]

    @pytest.mark.parametrize(
        ("value", "limit"),
        [
            ("3", 3),
            (" 3 ", 3),
            ("4,2", 4),
            ("4, 2 ,1", 4),
            ("007", 7),
            ("", None),
            (" ", None),
            ("0", None),
            ("-2", None),
            ("+2", None),
            ("2.0", None),
            ("1_0", None),
            ("two", None),
            ("4,two", None),
            ("4,", None),
            ("٣", None),
            ("9" * 5000, None),
        ],
    )
    def test_values_of_omp_num_threads(self, monkeypatch, value, limit):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert _threads.environment_limit() == limit

    def test_without_omp_num_threads(self, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert _threads.environment_limit() is None

    @pytest.mark.parametrize("value", ["garbage", "0", "-1", "9" * 5000])
    def test_garbage_does_not_break_the_import(self, value):
        assert output(COUNT, OMP_NUM_THREADS=value) == output(COUNT)


V1_MOUNT = "30 25 0:26 {mounted} /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"
V2_MOUNT = "31 25 0:27 {mounted} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
OTHER_MOUNTS = [
    "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw,discard",
    "33 25 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset",
]


def v1(quota, period=100_000):
    return {"cpu.cfs_quota_us": f"{quota}\n", "cpu.cfs_period_us": f"{period}\n"}


def v2(quota, period=100_000):
    return {"cpu.max": f"{quota} {period}\n"}


@pytest.mark.parametrize(
    ("groups", "mounts", "folders", "limit"),
    [
        pytest.param(["0::/a"], [V2_MOUNT], {"a": v2(200_000)}, 2, id="v2"),
        pytest.param(["0::/a"], [V2_MOUNT], {"a": v2(150_000)}, 2, id="v2, rounded up"),
        pytest.param(["0::/a"], [V2_MOUNT], {"a": v2(100_001)}, 2, id="v2, just above one"),
        pytest.param(["0::/a"], [V2_MOUNT], {"a": v2(1_000)}, 1, id="v2, a hundredth of a processor"),
        pytest.param(["0::/a"], [V2_MOUNT], {"a": v2("max")}, None, id="v2, no limit"),
        pytest.param(["0::/a"], [V2_MOUNT], {"a": v2(50_000, 10_000)}, 5, id="v2, another period"),
        pytest.param(["0::/a/b/c"], [V2_MOUNT], {"a": v2(300_000), "a/b/c": v2("max")}, 3, id="v2, set above"),
        pytest.param(["0::/a/b"], [V2_MOUNT], {"a": v2(200_000), "a/b": v2(500_000)}, 2, id="v2, narrower above"),
        pytest.param(["0::/a/b"], [V2_MOUNT], {"a": v2(500_000), "a/b": v2(200_000)}, 2, id="v2, narrower below"),
        pytest.param(["0::/a"], [V2_MOUNT], {"b": v2(100_000)}, None, id="v2, a neighbour's limit"),
        pytest.param(["0::/"], [V2_MOUNT], {"": v2(400_000)}, 4, id="v2, own namespace"),
        pytest.param(["0::/../x"], [V2_MOUNT], {"": v2(400_000)}, 4, id="v2, moved out of the namespace"),
        pytest.param(["0::/d/1"], [V2_MOUNT.replace("{mounted}", "/d/1")], {"": v2(200_000)}, 2, id="v2, own group"),
        pytest.param(["4:cpu,cpuacct:/a"], [V1_MOUNT], {"cpu/a": v1(250_000)}, 3, id="v1"),
        pytest.param(["4:cpuacct,cpu:/a"], [V1_MOUNT], {"cpu/a": v1(-1)}, None, id="v1, no limit"),
        pytest.param(["4:cpu:/a/b"], [V1_MOUNT], {"cpu/a": v1(100_000), "cpu/a/b": v1(-1)}, 1, id="v1, set above"),
        pytest.param(["4:cpu:/d/1"], [V1_MOUNT], {"cpu": v1(200_000)}, 2, id="v1, the host's path in a container"),
        pytest.param(
            ["4:cpu:/d/1/e"], [V1_MOUNT.replace("{mounted}", "/d/1")], {"cpu/e": v1(700_000)}, 7, id="v1, below it"
        ),
        pytest.param(["5:cpuset:/a"], [V1_MOUNT], {"cpu/a": v1(100_000)}, None, id="v1, another controller"),
        pytest.param(
            ["4:cpu:/a", "1:name=systemd:/s", "0::/b"],
            [V1_MOUNT, V2_MOUNT],
            {"cpu/a": v1(300_000), "b": v2(200_000)},
            2,
            id="both versions",
        ),
        pytest.param(["0::/a"], [V2_MOUNT], {"a": {"cpu.max": "nonsense\n"}}, None, id="nonsense"),
        pytest.param([], [], {}, None, id="no groups"),
    ],
)
def test_cgroup_quota(tmp_path, groups, mounts, folders, limit):
    process = tmp_path / "proc/self"
    process.mkdir(parents=True)
    (process / "cgroup").write_text("".join(f"{line}\n" for line in groups))
    mounts = [*OTHER_MOUNTS, *(line.replace("{mounted}", "/") for line in mounts)]
    (process / "mountinfo").write_text("".join(f"{line}\n" for line in mounts))
    for folder, files in folders.items():
        path = tmp_path / "sys/fs/cgroup" / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (path / name).write_text(text)
    assert _cgroup.cpu_limit(str(tmp_path)) == limit


def test_no_cgroups_on_other_systems(tmp_path):
    assert _cgroup.cpu_limit(str(tmp_path)) is None


class TestSetting:
    def test_process_wide(self):
        fastconv.set_num_threads(3)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(fastconv.get_num_threads()))
        thread.start()
        thread.join()
        assert [fastconv.get_num_threads(), *seen] == [threads(3)] * 2

    def test_blocks_nest_and_restore(self):
        fastconv.set_num_threads(5)
        seen = [fastconv.get_num_threads()]
        with fastconv.num_threads(3):
            seen.append(fastconv.get_num_threads())
            with fastconv.num_threads(4):
                seen.append(fastconv.get_num_threads())
            seen.append(fastconv.get_num_threads())
        seen.append(fastconv.get_num_threads())
        assert seen == [threads(n) for n in (5, 3, 4, 3, 5)]

    def test_a_block_restores_after_an_exception(self):
        before = fastconv.get_num_threads()
        with pytest.raises(ZeroDivisionError), fastconv.num_threads(before + 1):
            1 / 0  # noqa: B018
        assert fastconv.get_num_threads() == before

    def test_a_block_holds_against_the_process(self):
        with fastconv.num_threads(2):
            fastconv.set_num_threads(6)
            assert fastconv.get_num_threads() == threads(2)
        assert fastconv.get_num_threads() == threads(6)

    def test_a_block_leaves_other_threads_alone(self):
        fastconv.set_num_threads(5)
        seen = []
        with fastconv.num_threads(2):
            thread = threading.Thread(target=lambda: seen.append(fastconv.get_num_threads()))
            thread.start()
            thread.join()
        assert seen == [threads(5)]

    def test_a_block_leaves_other_tasks_alone(self):
        async def within(n):
            with fastconv.num_threads(n):
                await asyncio.sleep(0)
                return fastconv.get_num_threads()

        async def both():
            return await asyncio.gather(within(2), within(3))

        assert asyncio.run(both()) == [threads(2), threads(3)]

    @pytest.mark.parametrize("set_threads", [fastconv.set_num_threads, fastconv.num_threads])
    @pytest.mark.parametrize("n", [0, -1, 2**31, 2**62, _threads.MOST + 1, np.int8(-1)])
    def test_wrong_numbers(self, set_threads, n):
        with pytest.raises(ValueError, match=f"number of threads must be from 1 to {_threads.MOST}, got {n}"):
            set_threads(n)

    @pytest.mark.parametrize("set_threads", [fastconv.set_num_threads, fastconv.num_threads])
    @pytest.mark.parametrize("n", [True, np.True_, 2.0, np.float64(2), "2", None, [2]])
    def test_wrong_types(self, set_threads, n):
        with pytest.raises(TypeError, match="number of threads must be an integer, got"):
            set_threads(n)

    def test_wrong_calls_change_nothing(self):
        before = fastconv.get_num_threads()
        with pytest.raises(ValueError, match="number of threads"):
            fastconv.set_num_threads(0)
        assert fastconv.get_num_threads() == before

    @pytest.mark.parametrize("n", [4, np.int64(4), np.uint8(4)])
    def test_integers_of_all_kinds(self, n):
        fastconv.set_num_threads(n)
        with fastconv.num_threads(n):
            pass
        assert type(fastconv.get_num_threads()) is int


class TestOpenMPLimit:
    """In interpreters whose OpenMP gives eight threads, whatever it gives here."""

    def test_caps_the_process(self):
        code = """
            import fastconv, threadpoolctl
            fastconv.set_num_threads(4)
            with threadpoolctl.threadpool_limits(1, user_api="openmp"):
                print(fastconv.get_num_threads())
            print(fastconv.get_num_threads())
        """
        assert output(code, OMP_NUM_THREADS="8").split() == ["1", str(threads(4))]

    def test_caps_a_block(self):
        code = """
            import fastconv, threadpoolctl
            with fastconv.num_threads(4), threadpoolctl.threadpool_limits(1):
                print(fastconv.get_num_threads())
        """
        assert output(code, OMP_NUM_THREADS="8") == "1"

    def test_does_not_raise(self):
        code = """
            import fastconv, threadpoolctl
            with fastconv.num_threads(2), threadpoolctl.threadpool_limits(3, user_api="openmp"):
                print(fastconv.get_num_threads())
        """
        assert output(code, OMP_NUM_THREADS="8") == str(threads(2))


class TestDecidedBy:
    @pytest.mark.skipif(not PARALLEL, reason="a build without OpenMP has one reason for everything")
    def test_what_was_set(self):
        code = """
            import fastconv, threadpoolctl
            def decided_by():
                return fastconv.show_config("dicts")["threads"]["decided by"]
            fastconv.set_num_threads(3)
            print(decided_by())
            with fastconv.num_threads(2):
                print(decided_by())
                with threadpoolctl.threadpool_limits(1):
                    print(decided_by())
        """
        expected = ["set_num_threads", "num_threads", "a limit set on OpenMP"]
        assert output(code, OMP_NUM_THREADS="8").splitlines() == expected

    def test_environment(self):
        eight_processors = "import os; os.sched_getaffinity = lambda process: range(8); "
        facts = literal_eval(output(eight_processors + FACTS, OMP_NUM_THREADS="1"))
        # but in a draw with a control group's quota of one processor that one is said to decide
        limits = {name: limit for name, limit in facts["limits"].items() if limit}
        assert limits["affinity mask"] == 8
        assert limits["OMP_NUM_THREADS"] == 1
        assert facts["decided by"] == min(limits, key=limits.get)

    @pytest.mark.skipif(PARALLEL, reason="built with OpenMP")
    def test_without_openmp(self):
        fastconv.set_num_threads(3)
        assert fastconv.show_config("dicts")["threads"]["decided by"] == "built without OpenMP"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
class TestFork:
    def test_child_of_a_parallel_process_works_on_one_thread(self):
        code = FORKING + """
    fastconv.set_num_threads(2)
    expected = convolve()

    def work():
        fastconv.set_num_threads(2)
        with fastconv.num_threads(2):
            same = convolve() == expected
            return same, fastconv.get_num_threads(), fastconv.show_config("dicts")["threads"]["decided by"]

    in_child(work)
    print(fastconv.get_num_threads(), convolve() == expected)
"""
        reason = "forked from a process that ran in parallel" if PARALLEL else "built without OpenMP"
        assert output(code).splitlines() == [str((True, 1, reason)), f"{threads(2)} True"]

    def test_its_children_too(self):
        code = FORKING + """
    fastconv.set_num_threads(2)
    convolve()
    in_child(lambda: in_child(lambda: (len(convolve()) == x.nbytes, fastconv.get_num_threads())))
"""
        assert output(code).splitlines() == ["(True, 1)", "None"]

    @pytest.mark.parametrize("parent", ["pass", "with fastconv.num_threads(1): convolve()"], ids=["idle", "serial"])
    def test_child_of_another_process_may_use_threads(self, parent):
        code = FORKING + f"""
    {parent}
    fastconv.set_num_threads(2)
    in_child(lambda: (fastconv.get_num_threads(), len(convolve()) == x.nbytes))
    print(fastconv.get_num_threads(), len(convolve()) == x.nbytes)
"""
        assert output(code).splitlines() == [f"({threads(2)}, True)", f"{threads(2)} True"]

    @pytest.mark.skipif(not PARALLEL, reason="no OpenMP to share")
    def test_another_library_ran_in_parallel_on_the_same_runtime(self):
        code = FORKING + """
    region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda data: None)
    openmp = ctypes.CDLL(_openmp.library())
    openmp.GOMP_parallel(region, None, 2, 0)
    fastconv.set_num_threads(2)
    in_child(lambda: len(convolve()) == x.nbytes)
    openmp.GOMP_parallel(region, None, 2, 0)
    print(len(convolve()) == x.nbytes)
"""
        assert output(code).splitlines() == ["True", "True"]

    def test_spawned_child_is_not_a_fork(self):
        code = FORKING + """
    import subprocess, sys
    fastconv.set_num_threads(2)
    convolve()
    count = "import fastconv; fastconv.set_num_threads(2); print(fastconv.get_num_threads())"
    print(subprocess.run([sys.executable, "-c", count], capture_output=True, text=True).stdout.strip())
"""
        assert run(code).stdout.strip() == str(threads(2))


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_threads_pack_large_weights_together(bad):
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (64, 7, 7)).astype(float)
    weight = rng.integers(-3, 4, (150, 64, 5, 5)).astype(float)  # no whole number of tiles
    weight[149, 63, 0, 0] = bad  # products of which, with zeros of the padding, are not left out
    expected = fastconv.conv2d(x, weight, padding=2, algorithm="reference")
    for threads in (1, 2, 3):
        with fastconv.num_threads(threads):
            y = fastconv.conv2d(x, weight, padding=2, algorithm="im2col")
        np.testing.assert_array_equal(y, expected)
