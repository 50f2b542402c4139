"""Copies between a row of an array and a row in cache."""


cdef inline void move(vector* target, const real* source, int64_t count) noexcept nogil:
    """Contiguous to contiguous, not one element more: the last vector overlaps the one before it."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t i = 0
    cdef real* to = <real*> target
    if count < lanes:
        memcpy(to, source, <size_t> count * sizeof(real))
        return
    while i < count - lanes:
        (<vector*> (to + i))[0] = (<const vector*> (source + i))[0]
        i += lanes
    (<vector*> (to + count - lanes))[0] = (<const vector*> (source + count - lanes))[0]


cdef inline void gather(vector* target, const real* source, int64_t step, int64_t count) noexcept nogil:
    """Every `step`-th element of the source."""
    cdef int64_t i
    if step == 1:
        move(target, source, count)
    elif step == 2:  # a constant step is compiled to shuffles
        for i in range(count):
            (<real*> target)[i] = source[2 * i]
    else:
        for i in range(count):
            (<real*> target)[i] = source[i * step]
