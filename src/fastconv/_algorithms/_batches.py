"""Batches in Python: parts of a convolution whose inputs are gathered into cache, one thread for each."""

from itertools import product

from .._threads import num_threads


def in_threads(work, batches, threads):
    """What `work` returns for each batch, in their order."""

    def alone(batch):
        with num_threads(1):
            return work(batch)

    threads = min(threads, len(batches))
    if threads <= 1:
        yield from map(alone, batches)
        return
    from concurrent.futures import ThreadPoolExecutor  # not before it is needed

    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(alone, batches)
    finally:
        pool.shutdown(cancel_futures=True)


def parts(size, most):
    """Slices of an axis, none longer than `most`."""
    return [slice(first, min(first + most, size)) for first in range(0, size, most)]


def lengths(*slices):
    return tuple(part.stop - part.start for part in slices)


def pieces(axis_map, start, stop):
    """The padded positions start .. stop - 1: where they are, and the elements of the input; None is the constant."""
    inside = max(start, axis_map.before), min(stop, axis_map.before + axis_map.size)
    found = []
    for first, last in (start, min(stop, axis_map.before)), (max(start, axis_map.before + axis_map.size), stop):
        if first < last:
            source = axis_map.source(first, last)
            found.append((slice(first - start, last - start), None if source[0] < 0 else source))
    if inside[0] < inside[1]:
        source = slice(*(position - axis_map.before for position in inside))
        found.append((slice(*(position - start for position in inside)), source))
    return found


def fill(target, x, pieces, value):
    """The last three axes of `target` from those of `x`, piece by piece.

    In few calls: after each, threads wait for each other to go on in Python.
    """
    copied = [[piece for piece in axis if piece[1] is not None] for axis in pieces]
    if copied != pieces:
        target[...] = value
    for piece in product(*copied):
        targets, sources = zip(*piece, strict=True)
        part = x[(..., *(source if isinstance(source, slice) else slice(None) for source in sources))]
        for axis, source in enumerate(sources, start=-3):
            if not isinstance(source, slice):
                part = part[(..., source, *[slice(None)] * (-1 - axis))]  # `take` would copy all of a slice first
        target[(..., *targets)] = part
