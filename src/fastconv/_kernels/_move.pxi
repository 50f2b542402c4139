"""Copies between a row of an array and a row in cache."""


cdef inline void expect_rows(
    uintptr_t start, int64_t rows, int64_t pitch, int64_t bytes, bint written
) noexcept nogil:
    """Bring what is soon to be written, or read, into cache meanwhile."""
    cdef const char* address
    cdef int64_t i, at
    for i in range(rows):
        at = 0
        while at < bytes:
            address = <const char*> start + i * pitch + at
            if written:
                prefetch_written(address)
            else:
                prefetch_near(address)
            at += LINE


cdef inline void store_row(vector* target, const real* source, int64_t count) noexcept nogil:
    """From cache to an array: not one element more."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t i = 0
    cdef real* to = <real*> target
    cdef vector rest
    while i + lanes <= count:
        (<vector*> (to + i))[0] = (<const vector*> (source + i))[0]
        i += lanes
    if i < count:
        rest = (<const vector*> (source + i))[0]
        store_part(to + i, rest, count - i)


cdef inline void store_row_apart(vector* target, const real* source, int64_t count) noexcept nogil:
    """From cache to every second element of an array."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t i = 0
    while i < count:
        store_every_second(
            <real*> target + 2 * i, (<const vector*> (source + i))[0], lanes if count - i > lanes else count - i
        )
        i += lanes


cdef inline void load_row(vector* target, const real* source, int64_t step, int64_t count) noexcept nogil:
    """Every `step`-th element of an array into cache, written in whole vectors: what lies behind is overwritten."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t length, i = 0
    cdef real* to = <real*> target
    cdef vector low, high
    if step == 1:
        while i + lanes <= count:
            (<vector*> (to + i))[0] = (<const vector*> (source + i))[0]
            i += lanes
        if i < count:
            load_part((<vector*> (to + i))[0], source + i, count - i)
        return
    if step == 2:
        while i + lanes < count:  # one more element follows: two whole vectors may be read
            take_even(
                (<vector*> (to + i))[0],
                (<const vector*> (source + 2 * i))[0], (<const vector*> (source + 2 * i + lanes))[0],
            )
            i += lanes
        if i < count:
            length = 2 * (count - i) - 1
            load_part(low, source + 2 * i, length if length < lanes else lanes)
            load_part(high, source + 2 * i + lanes, length - lanes if length > lanes else 0)
            take_even((<vector*> (to + i))[0], low, high)
        return
    while i < count:
        to[i] = source[i * step]
        i += 1


cdef inline void fill_row(vector* target, real value, int64_t count) noexcept nogil:
    cdef int64_t i = 0
    cdef vector v
    broadcast(v, value)
    while i < count:
        (<vector*> (<real*> target + i))[0] = v
        i += sizeof(vector) // sizeof(real)


cdef inline void lanes_within(
    lane_mask* mask, int64_t begin, int64_t length, int64_t lanes, vector* as_vectors
) noexcept nogil:
    """The lanes of a vector from column `begin` on that lie in a row of `length` columns."""
    set_mask(mask[0], as_vectors[0], bounded(-begin, 0, lanes), bounded(length - begin, 0, lanes))
