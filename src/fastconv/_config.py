"""What this installation is and what it would use: for bug reports, and to see that it uses what was meant."""

from fastconv import _cpu, _isa, _openmp, _threads
from fastconv._algorithms import _outcomes
from fastconv._version import __version__

__all__ = ["show_config"]


def _openmp_facts():
    if not _openmp.specification:
        return {"library": None, "why": "the compiler had none at build: everything runs on one thread"}
    return {"library": _openmp.library(), "specification": _openmp.specification}


def _facts():
    return {
        "version": __version__,
        "compiler": _cpu.compiler,
        "openmp": _openmp_facts(),
        "isa": {"in use": _isa.level, "available": _isa.available, "built": _isa.built},
        "threads": {
            "in use": _threads.get_num_threads(),
            "decided by": _threads.decided_by(),
            "limits": dict(_threads.limits),
        },
        "tuning": {"outcomes in force": len(_outcomes.in_force().names)},
    }


def _lines(facts, indent=""):
    for name, fact in facts.items():
        if isinstance(fact, dict):
            yield f"{indent}{name}:"
            yield from _lines(fact, indent + "    ")
        else:
            yield f"{indent}{name}: {', '.join(fact) if isinstance(fact, tuple) else fact}"


def show_config(mode="stdout"):
    """Show the version, the compiler, OpenMP, the instruction sets, the threads with what decided on them, and tuning.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Whether to print, or to return nested dictionaries.

    Returns
    -------
    dict or None
        The dictionaries with ``mode="dicts"``.

    Examples
    --------
    >>> import fastconv
    >>> config = fastconv.show_config(mode="dicts")
    >>> list(config)
    ['version', 'compiler', 'openmp', 'isa', 'threads', 'tuning']
    >>> config["isa"]["in use"] in config["isa"]["available"]
    True
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f'mode must be "stdout" or "dicts", got {mode!r}')
    facts = _facts()
    if mode == "dicts":
        return facts
    print("\n".join(_lines(facts)))
    return None
