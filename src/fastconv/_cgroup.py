"""The processor time that Linux control groups grant this process; OpenMP does not look at it.

Containers are limited this way: all of the machine's processors are in the affinity mask, but who uses more than the
quota is stopped until the next period. Groups nest, and the narrowest one binds. Versions 1 and 2 may be mounted
side by side.
"""

from pathlib import Path, PurePosixPath


def cpu_limit(root="/"):
    """Return the quota in whole processors, rounded up, at least 1; None where there is none.

    Parameters
    ----------
    root : str or Path
        Where ``/proc`` and the mount points are found.
    """
    root = Path(root)
    quotas = [quota for folder, stop in _folders(root) for quota in _quotas(folder, stop)]
    return min((max(1, -(-quota // period)) for quota, period in quotas), default=None)


def _folders(root):
    """Yield (folder of the process' group, mount point) for each hierarchy that limits processors."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:  # not Linux
        return
    # "4:cpu,cpuacct:/path" in version 1; "0::/path" in version 2
    paths = {}
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(",") or not controllers:
            paths["cgroup" if controllers else "cgroup2"] = path
    # "36 35 98:0 /root /mount/point rw,noatime shared:1 - cgroup cgroup rw,cpu,cpuacct"
    for line in mounts:
        mount, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        if kind in paths and (kind == "cgroup2" or "cpu" in options.split(",")):
            mounted, point = (field.replace("\\040", " ") for field in mount.split(" ")[3:5])
            stop = root / point.lstrip("/")
            yield _below(stop, paths[kind], mounted), stop


def _below(point, path, mounted):
    """The folder of the group ``path`` where the group ``mounted`` is mounted at ``point``."""
    path = PurePosixPath(path)
    # In a container that sees the host's paths, but has its own group mounted, they need not match: it is that group.
    if ".." in path.parts or not path.is_relative_to(mounted):
        return point
    return point / path.relative_to(mounted)


def _quotas(folder, stop):
    """Yield (quota, period) of the group and of those around it, as far as they are mounted."""
    while True:
        for read in (_version_2, _version_1):
            try:
                quota, period = read(folder)
            except (OSError, ValueError):  # no such file, or "max"
                continue
            if quota > 0 and period > 0:  # -1: no limit
                yield quota, period
        if folder == stop:
            return
        folder = folder.parent


def _version_2(folder):
    quota, period = (folder / "cpu.max").read_text().split()
    return int(quota), int(period)


def _version_1(folder):
    return int((folder / "cpu.cfs_quota_us").read_text()), int((folder / "cpu.cfs_period_us").read_text())
