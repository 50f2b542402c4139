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
    bint placed             # rows are read in the input itself, which has zeros around it:
    int64_t top             # the band's first row and column in it
    int64_t left
    int64_t rows_of_input
    int64_t row_length
    uintptr_t zeros         # a row of the padding


cdef struct Lines:
    # What a shared band reads of one plane
    uintptr_t line[CHAIN + BAND_ROWS]   # image rows
    int64_t column[CHAIN]               # offset of each column of the kernel
    int64_t first[CHAIN]                # which lanes of the first vector hold input, for each column of the kernel
    int64_t last[CHAIN]                 # and of the last one; all between do


cdef inline void set_lines(const Band* band, const real* x, Lines* lines) noexcept nogil:
    """Where the rows begin; `x` is where the plane's first tap finds the first one."""
    cdef int64_t r, row
    for r in range(band.height + BAND_ROWS - 1):
        row = band.top + r
        if band.placed and (row < 0 or row >= band.rows_of_input):
            lines.line[r] = band.zeros
        else:
            lines.line[r] = <uintptr_t> (x + r * band.row)


cdef inline void set_masks(const Band* band, int64_t w, int64_t vectors, int64_t lanes, Lines* lines) noexcept nogil:
    """For the vectors from column w of the band on."""
    cdef int64_t all_lanes = (<int64_t> 1 << lanes) - 1
    cdef int64_t j, begin, end
    for j in range(band.width):
        lines.column[j] = band.rows[j] - band.rows[0]
        lines.first[j] = lines.last[j] = all_lanes
        if band.placed:
            begin = band.left + w + lines.column[j]
            end = band.row_length - begin - (vectors - 1) * lanes
            lines.first[j] = all_lanes & ~((<int64_t> 1 << bounded(-begin, 0, lanes)) - 1)
            lines.last[j] = (<int64_t> 1 << bounded(end, 0, lanes)) - 1
        if vectors == 1:
            lines.first[j] &= lines.last[j]


cdef inline void load_column(
    int v, int vectors, vector* operand, const real* row, const Lines* lines, int64_t j
) noexcept nogil:
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef const real* source = row + lines.column[j] + v * lanes
    if v == 0:
        load_masked(operand[0], source, lines.first[j])
    elif v == vectors - 1:
        load_masked(operand[0], source, lines.last[j])
    else:
        operand[0] = (<const vector*> source)[0]


cdef inline void add_row(
    int low, int high, int vectors, vector (*total)[BAND],
    const Lines* lines, int64_t r, const real* weight, int64_t width,
) noexcept nogil:
    """total[i] += row r times row r - i of the kernel, for low <= i < high."""
    cdef const real* row = <const real*> lines.line[r]
    cdef vector operand[BAND]
    cdef int i, v
    cdef int64_t j
    weight += r * width
    for j in range(width):
        for v in range(vectors):
            load_column(v, vectors, operand + v, row, lines, j)
        for i in range(low, high):
            for v in range(vectors):
                multiply_add(total[i][v], weight[j - i * width], operand[v])


cdef inline void add_planes(
    int vectors, vector (*total)[BAND], const Band* band, const real* weight, const real* x, Lines* lines
) noexcept nogil:
    """The products of kernel planes height × width, of channels and depths."""
    cdef int64_t height = band.height
    cdef int64_t width = band.width
    cdef int64_t size = height * width
    cdef int64_t plane, r
    for plane in range(band.chain // size):
        set_lines(band, x + band.rows[plane * size], lines)
        add_row(0, 1, vectors, total, lines, 0, weight, width)
        add_row(0, 2, vectors, total, lines, 1, weight, width)
        add_row(0, 3, vectors, total, lines, 2, weight, width)
        for r in range(BAND_ROWS - 1, height):
            add_row(0, BAND_ROWS, vectors, total, lines, r, weight, width)
        add_row(1, 4, vectors, total, lines, height, weight, width)
        add_row(2, 4, vectors, total, lines, height + 1, weight, width)
        add_row(3, 4, vectors, total, lines, height + 2, weight, width)
        weight += size


cdef inline void add_row_of_3(
    int low, int high, int r, int vectors, vector (*total)[BAND], const vector* taps, const Lines* lines, real* as_real
) noexcept nogil:
    """`add_row` for a 3 × 3 kernel whose taps are in registers."""
    cdef const real* row = <const real*> lines.line[r]
    cdef vector operand
    cdef int i, j, v
    for j in range(3):
        for v in range(vectors):
            load_column(v, vectors, &operand, row, lines, j)
            for i in range(low, high):
                total[i][v] += taps[3 * (r - i) + j] * operand


cdef inline void add_3_by_3(
    int vectors, vector (*total)[BAND], const Band* band, const vector* taps, const real* x, Lines* lines
) noexcept nogil:
    cdef real* as_real = NULL
    set_lines(band, x + band.rows[0], lines)
    add_row_of_3(0, 1, 0, vectors, total, taps, lines, as_real)
    add_row_of_3(0, 2, 1, vectors, total, taps, lines, as_real)
    add_row_of_3(0, 3, 2, vectors, total, taps, lines, as_real)
    add_row_of_3(1, 4, 3, vectors, total, taps, lines, as_real)
    add_row_of_3(2, 4, 4, vectors, total, taps, lines, as_real)
    add_row_of_3(3, 4, 5, vectors, total, taps, lines, as_real)


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
    int vectors, bint three, const Band* band, const vector* taps, const real* weight, const real* x, int64_t w,
    vector* sums, int64_t step, int64_t width, bint first,
) noexcept nogil:
    """`vectors` columns from w on of the band, of which the first `width` elements are wanted."""
    cdef vector total[BAND_ROWS][BAND]
    cdef Lines lines
    cdef vector* to
    cdef int i, v
    if band.shared:
        set_masks(band, w, vectors, sizeof(vector) // sizeof(real), &lines)
    for i in range(BAND_ROWS):
        for v in range(vectors):
            broadcast(total[i][v], 0)
    if three:
        add_3_by_3(vectors, total, band, taps, x, &lines)
    elif band.shared:
        add_planes(vectors, total, band, weight, x, &lines)
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
            band_columns(1, three, band, taps, weight, x + w * pace, w, sums, step, wanted, first)
        elif vectors == 2:
            band_columns(2, three, band, taps, weight, x + w * pace, w, sums, step, wanted, first)
        elif BAND > 2:
            if vectors == 3:
                band_columns(3, three, band, taps, weight, x + w * pace, w, sums, step, wanted, first)
            elif vectors == 4:
                band_columns(4, three, band, taps, weight, x + w * pace, w, sums, step, wanted, first)
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
