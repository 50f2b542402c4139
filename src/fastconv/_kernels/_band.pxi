"""The register tiles of thin convolutions: BAND_ROWS image rows of one channel × vectors along the row.

A plain band takes the taps one by one. An alternate one is of stride 2 along rows that are staged as they lie: of two
neighbouring taps, one takes the even elements and the other one the odd ones. A shared one loads a row of input once
for all the output rows that it belongs to: row r is multiplied by row r - i of the kernel for output row i; for kernels
of at least BAND_ROWS - 1 rows, at stride and dilation 1 from row to row.
"""


cdef struct Band:
    # One chain of one channel
    const int64_t* rows     # offset of each tap's operand
    int64_t row             # from one image row to the next
    int64_t height          # of the kernel
    int64_t width
    int64_t chain
    bint shared
    bint alternate


cdef inline void add_row(
    int low, int high, int vectors, vector (*total)[BAND],
    const real* row, const int64_t* columns, const real* weight, int64_t width,
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
    int vectors, vector (*total)[BAND], const Band* band, const real* weight, const real* x
) noexcept nogil:
    """The products of kernel planes height × width, of channels and depths."""
    cdef int64_t row = band.row
    cdef int64_t height = band.height
    cdef int64_t width = band.width
    cdef const int64_t* rows = band.rows
    cdef int64_t plane, r
    for plane in range(band.chain // (height * width)):
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


cdef inline void add_row_of_3(
    int low, int high, int r, int vectors, vector (*total)[BAND],
    const vector* taps, const real* row, const int64_t* columns,
) noexcept nogil:
    """`add_row` for row r of the input and a 3 × 3 kernel whose taps are in registers."""
    cdef const vector* source
    cdef vector operand
    cdef int i, j, v
    for j in range(3):
        source = <const vector*> (row + columns[j])
        for v in range(vectors):
            operand = source[v]
            for i in range(low, high):
                total[i][v] += taps[3 * (r - i) + j] * operand


cdef inline void add_3_by_3(
    int vectors, vector (*total)[BAND], const Band* band, const vector* taps, const real* x
) noexcept nogil:
    add_row_of_3(0, 1, 0, vectors, total, taps, x, band.rows)
    add_row_of_3(0, 2, 1, vectors, total, taps, x + band.row, band.rows)
    add_row_of_3(0, 3, 2, vectors, total, taps, x + 2 * band.row, band.rows)
    add_row_of_3(1, 4, 3, vectors, total, taps, x + 3 * band.row, band.rows)
    add_row_of_3(2, 4, 4, vectors, total, taps, x + 4 * band.row, band.rows)
    add_row_of_3(3, 4, 5, vectors, total, taps, x + 5 * band.row, band.rows)


cdef inline void add_taps(
    int vectors, vector (*total)[BAND], const Band* band, const real* weight, const real* x
) noexcept nogil:
    cdef const vector* source
    cdef int i, v
    cdef int64_t k
    for k in range(band.chain):
        for i in range(BAND_ROWS):
            source = <const vector*> (x + band.rows[k] + i * band.row)
            for v in range(vectors):
                multiply_add(total[i][v], weight[k], source[v])


cdef inline void add_alternate_tap(
    int vectors, bint pair, vector (*total)[BAND], const Band* band, const real* weight, const real* x
) noexcept nogil:
    """One tap, which takes the even elements, and of a pair the next one, which takes the odd ones."""
    cdef const vector* source
    cdef vector operand
    cdef int i, v
    for i in range(BAND_ROWS):
        source = <const vector*> (x + i * band.row)
        for v in range(vectors):
            take_even(operand, source[2 * v], source[2 * v + 1])
            multiply_add(total[i][v], weight[0], operand)
            if pair:
                take_odd(operand, source[2 * v], source[2 * v + 1])
                multiply_add(total[i][v], weight[1], operand)


cdef inline void add_alternate_taps(
    int vectors, vector (*total)[BAND], const Band* band, const real* weight, const real* x
) noexcept nogil:
    """Taps at stride 2 along the row: neighbouring ones share what they load."""
    cdef int64_t k = 0
    while k < band.chain:
        if k + 1 < band.chain and band.rows[k + 1] == band.rows[k] + 1:
            add_alternate_tap(vectors, True, total, band, weight + k, x + band.rows[k])
            k += 2
        else:
            add_alternate_tap(vectors, False, total, band, weight + k, x + band.rows[k])
            k += 1


cdef inline void band_columns(
    int vectors, bint three, const Band* band, const vector* taps, const real* weight, const real* x,
    vector* sums, int64_t step, int64_t width, bint first,
) noexcept nogil:
    """`vectors` columns of the band, of which the first `width` elements are wanted."""
    cdef vector total[BAND_ROWS][BAND]
    cdef vector* to
    cdef int i, v
    for i in range(BAND_ROWS):
        for v in range(vectors):
            broadcast(total[i][v], 0)
    if three:
        add_3_by_3(vectors, total, band, taps, x)
    elif band.shared:
        add_planes(vectors, total, band, weight, x)
    elif band.alternate:
        add_alternate_taps(vectors, total, band, weight, x)
    else:
        add_taps(vectors, total, band, weight, x)
    for i in range(BAND_ROWS):
        to = <vector*> (<real*> sums + i * step)
        if not first:
            for v in range(vectors):
                total[i][v] += to[v]
        for v in range(vectors - 1):
            to[v] = total[i][v]
        store_part(to + vectors - 1, total[i][vectors - 1], width - (vectors - 1) * (sizeof(vector) // sizeof(real)))


cdef inline void whole_band(
    bint three, const Band* band, const real* weight, const real* x,
    vector* sums, int64_t step, int64_t width, bint first,
) noexcept nogil:
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t w = 0
    cdef int64_t k, vectors, wanted
    cdef int64_t pace = 2 if band.alternate else 1
    cdef vector taps[9]
    if three:
        for k in range(9):
            broadcast(taps[k], weight[k])
    while w < width:
        vectors = (bounded(width - w, 0, BAND * lanes) + lanes - 1) // lanes
        wanted = bounded(width - w, 0, vectors * lanes)
        if vectors == 1:
            band_columns(1, three, band, taps, weight, x + w * pace, sums, step, wanted, first)
        elif vectors == 2:
            band_columns(2, three, band, taps, weight, x + w * pace, sums, step, wanted, first)
        elif BAND > 2:
            if vectors == 3:
                band_columns(3, three, band, taps, weight, x + w * pace, sums, step, wanted, first)
            elif vectors == 4:
                band_columns(4, three, band, taps, weight, x + w * pace, sums, step, wanted, first)
        sums += BAND
        w += BAND * lanes


cdef void multiply_band(
    const Band* band, const real* weight, const real* x, vector* sums, int64_t step, int64_t width, bint first
) noexcept nogil:
    """Add a chain to BAND_ROWS rows of `width` sums; the commonest kernel has instances of its own."""
    if band.shared and band.height == 3 and band.width == 3 and band.chain == 9:
        whole_band(True, band, weight, x, sums, step, width, first)
    else:
        whole_band(False, band, weight, x, sums, step, width, first)
