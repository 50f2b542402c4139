"""The processor's multiply-add peak, for benchmarks to set a kernel's speed beside: sums in registers, nothing else."""

from time import perf_counter


cdef void multiply_adds(vector* values, int64_t count) noexcept nogil:
    cdef vector total[10]
    cdef vector factor = values[0]
    cdef int64_t k
    cdef int i
    for i in range(10):
        broadcast(total[i], i)
    for k in range(count):
        for i in range(10):
            total[i] = total[i] * factor + factor
    for i in range(10):
        values[i] = total[i]


def fma_peak(dtype="float32"):
    """GFLOP/s of one thread that does nothing but multiply-adds: the best of seven runs of some milliseconds."""
    cdef float singles[5 * MOST_LANES]  # ten vectors, and of doubles more than that
    cdef double doubles[5 * MOST_LANES]
    cdef int64_t count = 200000
    cdef bint single = dtype == "float32"
    best = float("inf")
    for _ in range(7):
        for i in range(5 * MOST_LANES):
            singles[i] = doubles[i] = 0.5
        start = perf_counter()
        if single:
            multiply_adds(<vfloat*> singles, count)
        else:
            multiply_adds(<vdouble*> doubles, count)
        best = min(best, perf_counter() - start)
        for i in range(5 * MOST_LANES):  # results that are read are not optimised away
            if singles[i] + doubles[i] <= 0:
                raise ArithmeticError
    return 2 * 10 * LANES["float32" if single else "float64"] * count / best / 1e9
