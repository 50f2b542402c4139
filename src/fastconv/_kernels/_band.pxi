"""The register tile of thin convolutions: BAND_ROWS image rows of one channel × vectors along the row.

A row of the input is loaded once for all the output rows that it belongs to: row r is multiplied by row r - i of the kernel for output
row i.  For kernels of at least BAND_ROWS - 1 rows, at stride and dilation 1 from row to row.
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


cdef inline void band_of(
    int vectors, const real* weight, const real* x, const int64_t* rows, int64_t row,
    int64_t planes, int64_t height, int64_t width, vector* sums, int64_t step, bint first,
) noexcept nogil:
    """Sum over `planes` (channels and depths) of kernel planes height × width; `row`: from one image row to the next."""
    cdef vector total[BAND_ROWS][BAND]
    cdef int i, v
    cdef int64_t plane, r
    for i in range(BAND_ROWS):
        for v in range(vectors):
            broadcast(total[i][v], 0)
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
    if not first:
        for i in range(BAND_ROWS):
            for v in range(vectors):
                total[i][v] += (<vector*> (<real*> sums + i * step))[v]
    for i in range(BAND_ROWS):
        for v in range(vectors):
            (<vector*> (<real*> sums + i * step))[v] = total[i][v]


cdef inline void band_as_wide(
    int64_t vectors, const real* weight, const real* x, const int64_t* rows, int64_t row,
    int64_t planes, int64_t height, int64_t width, vector* sums, int64_t step, bint first,
) noexcept nogil:
    if vectors == 1:
        band_of(1, weight, x, rows, row, planes, height, width, sums, step, first)
    elif vectors == 2:
        band_of(2, weight, x, rows, row, planes, height, width, sums, step, first)
    elif BAND > 2:
        if vectors == 3:
            band_of(3, weight, x, rows, row, planes, height, width, sums, step, first)
        elif vectors == 4:
            band_of(4, weight, x, rows, row, planes, height, width, sums, step, first)


cdef void band(
    int64_t vectors, const real* weight, const real* x, const int64_t* rows, int64_t row,
    int64_t planes, int64_t height, int64_t width, vector* sums, int64_t step, bint first,
) noexcept nogil:
    """The instances; the commonest kernel unrolled."""
    if height == 3 and width == 3:
        band_as_wide(vectors, weight, x, rows, row, planes, 3, 3, sums, step, first)
    else:
        band_as_wide(vectors, weight, x, rows, row, planes, height, width, sums, step, first)
