"""Files: paths as arguments, files that are replaced whole or not at all, and what is wrong with one that is read."""

import os
from contextlib import contextmanager, suppress


def as_path(name, path):
    """`path` as a string."""
    try:
        decoded = os.fsdecode(path)
    except TypeError:
        raise TypeError(f"{name}={path!r} has type {type(path).__name__}; wanted a path") from None
    if not decoded:
        raise ValueError(f"{name}={path!r} is empty; wanted a path")
    return decoded


def check_place(path):
    """Raise the OSError that `replacing` would, where the folder is missing or takes no new files."""
    import tempfile  # not before it is needed

    with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
        pass


@contextmanager
def replacing(path):
    """A new binary file, which replaces the one at `path` when the block has ended, if it ends without an error."""
    place = os.path.realpath(path)  # where path is a link, what it points to is replaced
    beside = f"{place}.{os.urandom(8).hex()}"
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


@contextmanager
def reading(path):
    """Whatever is wrong with a file, as a ValueError that names it; that it cannot be opened, as it is."""
    with open(path, "rb"):
        pass
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # what damaged files make libraries raise has no end
        raise ValueError(f"cannot load {path!r}: {error}") from error
