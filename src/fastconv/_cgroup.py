"""The processor time that Linux control groups grant this process; OpenMP does not look at it.

Containers are limited this way: all of the machine's processors are in the affinity mask, but who uses more than the
quota is stopped until the next period. Groups nest, and the narrowest one binds. Versions 1 and 2 may be mounted
side by side.
"""

from posixpath import join, relpath


def cpu_limit(root="/"):
    """Return the quota in whole processors, rounded up, at least 1; None where there is none.

    Parameters
    ----------
    root : str
        Where ``/proc`` and the mount points are found.
    """
    quotas = (quota for folder in _folders(root) for quota in _quotas(folder))
    return min((max(1, -(-quota // period)) for quota, period in quotas), default=None)


def _folders(root):
    """Yield the folders of the process' group and of those around it, in each hierarchy that limits processors."""
    try:
        groups = _read(root, "proc/self/cgroup").splitlines()
        mounts = _read(root, "proc/self/mountinfo").splitlines()
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
            below = relpath(paths[kind], mounted).split("/")
            # A container that sees the host's paths, but has its own group mounted, is in that group.
            inside = [] if below[0] in (".", "..") else below
            for depth in range(len(inside) + 1):
                yield join(root, point.lstrip("/"), *inside[:depth])


def _quotas(folder):
    """Yield the group's (quota, period), if it has one."""
    for read in (_version_2, _version_1):
        try:
            quota, period = read(folder)
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if quota > 0 and period > 0:  # -1: no limit
            yield quota, period


def _version_2(folder):
    quota, period = _read(folder, "cpu.max").split()
    return int(quota), int(period)


def _version_1(folder):
    return int(_read(folder, "cpu.cfs_quota_us")), int(_read(folder, "cpu.cfs_period_us"))


def _read(folder, name):
    with open(join(folder, name), encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
