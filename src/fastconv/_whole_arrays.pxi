"""Whole arrays that threads fill together. A part of `_driver.pyx`."""

cdef int64_t MANY_SUMS = 1 << 17  # bytes of parts that threads add up together, or of zeros that they write
cdef enum:
    SOME_SUMS = 1024  # elements that are added at a time: they stay in the first-level cache


def clear(ndarray out not None):
    """Zeros in all threads, if the array is contiguous in C order; whether it is."""
    if not (<object> out).flags.c_contiguous:
        return False
    cdef char* memory = <char*> PyArray_DATA(out)
    cdef int64_t size = out.nbytes
    cdef int threads = get_num_threads() if size >= MANY_SUMS else 1
    with nogil:
        clear_all(memory, size, threads)
    return True


cdef void clear_all(char* memory, int64_t size, int threads) noexcept nogil:
    cdef int part
    if threads == 1:
        memset(memory, 0, size)
        return
    note_parallel()
    for part in prange(threads, num_threads=threads, schedule="static"):
        memset(memory + size * part // threads, 0, size * (part + 1) // threads - size * part // threads)


def sum_of_parts(ndarray parts not None):
    """The sum along the first axis, of float32 or float64, contiguous: every second entry in order, and so the others.

    Two chains, each half as long, round less.
    """
    if parts.shape[0] == 1:
        return parts[0].copy()
    total = empty((<object> parts).shape[1:], parts.dtype)
    cdef uintptr_t source = <uintptr_t> PyArray_DATA(parts), target = <uintptr_t> PyArray_DATA(total)
    cdef int64_t count = parts.shape[0], size = total.size
    cdef int threads = get_num_threads() if parts.nbytes >= MANY_SUMS else 1
    if parts.itemsize == sizeof(float):
        with nogil:
            add_parts(<const float*> source, count, size, <float*> target, threads)
    else:
        with nogil:
            add_parts(<const double*> source, count, size, <double*> target, threads)
    return total


cdef void add_parts(
    const floating* parts, int64_t count, int64_t size, floating* total, int threads
) noexcept nogil:
    cdef int64_t blocks = (size + SOME_SUMS - 1) // SOME_SUMS, block
    if threads == 1:
        for block in range(blocks):
            add_some_parts(parts, count, size, block * SOME_SUMS, total)
        return
    note_parallel()
    for block in prange(blocks, num_threads=threads, schedule="static"):
        add_some_parts(parts, count, size, block * SOME_SUMS, total)


cdef void add_some_parts(
    const floating* parts, int64_t count, int64_t size, int64_t first, floating* total
) noexcept nogil:
    cdef floating others[SOME_SUMS]
    cdef int64_t most = size - first if size - first < SOME_SUMS else SOME_SUMS
    cdef int64_t part, i
    parts += first
    total += first
    for i in range(most):
        total[i] = parts[i]
        others[i] = parts[size + i]
    for part in range(2, count):
        if part % 2:
            for i in range(most):
                others[i] += parts[part * size + i]
        else:
            for i in range(most):
                total[i] += parts[part * size + i]
    for i in range(most):
        total[i] += others[i]
