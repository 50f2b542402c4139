"""Small bounded caches, and keys for them."""

from ._errors import sequence


class Bounded(dict):
    """A dictionary that drops its oldest entries.

    Any number of threads may use it. It takes no lock, because a lock that another thread holds during a fork is never
    released in the child: each step is atomic, and what two threads do twice does no harm.
    """

    def __init__(self, limit):
        self.limit = limit

    def put(self, key, value):
        while len(self) >= self.limit:
            try:
                self.pop(next(iter(self)), None)
            except (RuntimeError, StopIteration):  # another thread was dropping the same one
                continue
        self[key] = value
        return value


def typed(value):
    """A key for an argument, in which 1, 1.0 and True differ, nested ones too. All callables are one."""
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value
    if kind is bool or kind is float:
        return kind, value
    if callable(value):
        return callable
    entries = sequence(value)
    return (kind, value) if entries is None else tuple(map(typed, entries))
