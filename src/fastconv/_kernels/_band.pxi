"""The register tiles of thin convolutions: BAND_ROWS image rows of one channel × vectors along the row.

A plain band takes the taps one by one. A shared one loads a row of the input once for all the output rows that it belongs to: row r is
multiplied by row r - i of the kernel for output row i; for kernels of at least BAND_ROWS - 1 rows, at stride and dilation 1 from
row to row.  Of the last vector in a row, `last` elements belong to it.
"""


cdef inline void add_row(
    int low, int high, int vectors, vector (*total)[BAND], const real* row, const int64_t* columns, const real* weight, int64_t width
) noexcept nogil:
    """total[i] += the row times the kernel row at weight - i * width, for low <= i < high."""
    cdef vector operand[BAND]
    cdef const vector* source
    cdef int i, v
    cdef int64_t j
    for j in range(width):
        source = <const vector*> (row + columns[j])
        for v in range(vectors):
            operand[v] = source[v]
        for i in range(low, high):
            for v in range(vectors):
                multiply_add(total[i][v], weight[j - i * width], operand[v])


cdef inline void add_planes(
    int vectors, vector (*total)[BAND], const real* weight, const real* x, const int64_t* rows, int64_t row,
    int64_t planes, int64_t height, int64_t width,
) noexcept nogil:
    """The products of `planes` (channels and depths) of kernel planes height × width; `row`: from one image row to the next."""
    cdef int64_t plane, r
    for plane in range(planes):
        add_row(0, 1, vectors, total, x, rows, weight, width)
        add_row(0, 2, vectors, total, x + row, rows, weight + width, width)
        add_row(0, 3, vectors, total, x + 2 * row, rows, weight + 2 * width, width)
        for r in range(BAND_ROWS - 1, height):
            add_row(0, BAND_ROWS, vectors, total, x + r * row, rows, weight + r * width, width)
        add_row(1, 4, vectors, total, x + height * row, rows, weight + height * width, width)
        add_row(2, 4, vectors, total, x + (height + 1) * row, rows, weight + (height + 1) * width, width)
        add_row(3, 4, vectors, total, x + (height + 2) * row, rows, weight + (height + 2) * width, width)
        rows += height * width
        weight += height * width


cdef inline void add_taps(
    int vectors, vector (*total)[BAND], const real* weight, const real* x, const int64_t* rows, int64_t row, int64_t chain
) noexcept nogil:
    cdef const vector* source
    cdef int i, v
    cdef int64_t k
    for k in range(chain):
        for i in range(BAND_ROWS):
            source = <const vector*> (x + rows[k] + i * row)
            for v in range(vectors):
                multiply_add(total[i][v], weight[k], source[v])


cdef inline void band_of(
    int vectors, int64_t height, int64_t width, bint shared, const real* weight, const real* x, const int64_t* rows, int64_t row,
    int64_t chain, vector* sums, int64_t step, int64_t last, bint first,
) noexcept nogil:
    cdef vector total[BAND_ROWS][BAND]
    cdef vector* to
    cdef int i, v
    for i in range(BAND_ROWS):
        for v in range(vectors):
            broadcast(total[i][v], 0)
    if shared:
        add_planes(vectors, total, weight, x, rows, row, chain // (height * width), height, width)
    else:
        add_taps(vectors, total, weight, x, rows, row, chain)
    for i in range(BAND_ROWS):
        to = <vector*> (<real*> sums + i * step)
        if not first:
            for v in range(vectors):
                total[i][v] += to[v]
        for v in range(vectors - 1):
            to[v] = total[i][v]
        store_part(to + vectors - 1, total[i][vectors - 1], last)


cdef inline void band_as_wide(
    int64_t vectors, int64_t height, int64_t width, bint shared, const real* weight, const real* x, const int64_t* rows, int64_t row,
    int64_t chain, vector* sums, int64_t step, int64_t last, bint first,
) noexcept nogil:
    if vectors == 1:
        band_of(1, height, width, shared, weight, x, rows, row, chain, sums, step, last, first)
    elif vectors == 2:
        band_of(2, height, width, shared, weight, x, rows, row, chain, sums, step, last, first)
    elif BAND > 2:
        if vectors == 3:
            band_of(3, height, width, shared, weight, x, rows, row, chain, sums, step, last, first)
        elif vectors == 4:
            band_of(4, height, width, shared, weight, x, rows, row, chain, sums, step, last, first)


cdef void band(
    int64_t vectors, int64_t height, int64_t width, bint shared, const real* weight, const real* x, const int64_t* rows, int64_t row,
    int64_t chain, vector* sums, int64_t step, int64_t last, bint first,
) noexcept nogil:
    """The instances; the commonest kernel unrolled."""
    if not shared:
        band_as_wide(vectors, 0, 0, False, weight, x, rows, row, chain, sums, step, last, first)
    elif height == 3 and width == 3:
        band_as_wide(vectors, 3, 3, True, weight, x, rows, row, chain, sums, step, last, first)
    else:
        band_as_wide(vectors, height, width, True, weight, x, rows, row, chain, sums, step, last, first)
