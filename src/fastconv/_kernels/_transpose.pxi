"""Rows → columns: squares of as many rows as a vector has lanes, transposed in registers.

Taking the even elements of neighbouring rows, then the odd ones, log2(lanes) times, leaves column i in vector i.
"""

cdef enum:
    NARROW = 2  # columns that are not worth it


cdef inline void shuffle_rows(int lanes, bint last, const vector* rows, vector* columns) noexcept nogil:
    """One of the steps."""
    cdef int i
    for i in range(lanes // 2):
        if last:
            take_last(columns[i], rows[2 * i], rows[2 * i + 1], 0)
            take_last(columns[i + lanes // 2], rows[2 * i], rows[2 * i + 1], 1)
        else:
            take_mixed(columns[i], rows[2 * i], rows[2 * i + 1], 0)
            take_mixed(columns[i + lanes // 2], rows[2 * i], rows[2 * i + 1], 1)


cdef inline void transpose_square(int lanes, vector* rows) noexcept nogil:
    cdef vector other[SQUARE]
    if lanes == 2:
        shuffle_rows(2, True, rows, other)
        rows[0] = other[0]
        rows[1] = other[1]
    elif lanes == 4:
        shuffle_rows(4, False, rows, other)
        shuffle_rows(4, True, other, rows)
    elif lanes == 8:
        shuffle_rows(8, False, rows, other)
        shuffle_rows(8, False, other, rows)
        shuffle_rows(8, True, rows, other)
        for lanes in range(8):
            rows[lanes] = other[lanes]
    else:
        shuffle_rows(16, False, rows, other)
        shuffle_rows(16, False, other, rows)
        shuffle_rows(16, False, rows, other)
        shuffle_rows(16, True, other, rows)


cdef inline void whole_square(
    const real* rows, int64_t step, real* target, int64_t pitch, vector* as_vectors
) noexcept nogil:
    cdef int lanes = sizeof(vector) // sizeof(real)
    cdef vector square[SQUARE]
    cdef int r
    for r in range(lanes):
        square[r] = (<const vector*> rows)[0]
        rows += step
    transpose_square(lanes, square)
    for r in range(lanes):
        (<vector*> target)[0] = square[r]
        target += pitch


cdef void part_of_square(
    const real* rows, int64_t step, int64_t height, int64_t width, real* target, int64_t pitch, vector* as_vectors
) noexcept nogil:
    cdef int lanes = sizeof(vector) // sizeof(real)
    cdef vector square[SQUARE]
    cdef int64_t r, c
    if width <= NARROW:
        for c in range(width):
            for r in range(height):
                target[c * pitch + r] = rows[r * step + c]
        return
    for r in range(lanes):
        load_part(square[r], rows + (r if r < height else 0) * step, width)
    transpose_square(lanes, square)
    for r in range(width):
        store_part(target + r * pitch, square[r], height)


cdef void transpose(
    const real* rows, int64_t step, int64_t count, int64_t columns, real* target, int64_t pitch, vector* as_vectors
) noexcept nogil:
    """target[j * pitch + i] = rows[i * step + j] for i < count, j < columns; nothing else is read or written."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t i = 0, j, height, width
    while i < count:
        height = bounded(count - i, 0, lanes)
        j = 0
        while j < columns:
            width = bounded(columns - j, 0, lanes)
            if height == lanes and width == lanes:
                whole_square[real, vector](rows + i * step + j, step, target + j * pitch + i, pitch, as_vectors)
            else:
                part_of_square[real, vector](
                    rows + i * step + j, step, height, width, target + j * pitch + i, pitch, as_vectors
                )
            j += lanes
        i += lanes


cdef void turn(
    const real* source, int64_t channel_stride, int64_t column_stride, int64_t channels, int64_t columns,
    real* target, int64_t pitch, vector* as_vectors,
) noexcept nogil:
    """source[channel, column] → target[column, channel]."""
    cdef int64_t c, w
    if column_stride == 1:
        transpose[real, vector](source, channel_stride, channels, columns, target, pitch, as_vectors)
    elif channel_stride == 1:
        for w in range(columns):
            store_exactly(<vector*> (target + w * pitch), source + w * column_stride, channels)
    else:
        for w in range(columns):
            for c in range(channels):
                target[w * pitch + c] = source[w * column_stride + c * channel_stride]


cdef inline void store_exactly(vector* target, const real* source, int64_t count) noexcept nogil:
    """A copy that neither reads nor writes behind its end."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t i = 0
    cdef real* to = <real*> target
    cdef vector v
    while i + lanes <= count:
        (<vector*> (to + i))[0] = (<const vector*> (source + i))[0]
        i += lanes
    if i < count:
        load_part(v, source + i, count - i)
        store_part(to + i, v, count - i)
