"""The products of a band: each row of input times the rows of the kernel that meet it, to the sums in registers."""


cdef inline void add_to_rows(
    int first, int low, int high, int V, vector (*total)[BAND], const vector* operand, const real* weight, int64_t step
) noexcept nogil:
    cdef int i, v
    for i in range(low, high):
        for v in range(V):
            multiply_add(total[first + i][v], weight[-i * step], operand[v])


cdef inline void add_column(
    int low, int high, int R, int O, int V, int S, int F, bint inside, int64_t j, vector (*total)[BAND],
    const real* row, const real* weight, int64_t width, const Lines* lines, const lane_mask* edges,
) noexcept nogil:
    """Column j of the kernel, for the image rows low <= i < high; `weight` is that of a kernel row for row 0."""
    cdef vector operand[BAND]
    cdef int64_t step = S * width * O
    if S == 2:
        load_half(V, inside, operand, row, edges, j)
    else:
        load_column(V, F, inside, operand, row, lines, edges, j)
    weight += j * O
    add_to_rows(0, low, high, V, total, operand, weight, step)
    if O > 1:
        add_to_rows(R, low, high, V, total, operand, weight + 1, step)
    if O > 2:
        add_to_rows(2 * R, low, high, V, total, operand, weight + 2, step)
        add_to_rows(3 * R, low, high, V, total, operand, weight + 3, step)


cdef inline void add_held(
    int r, int j, int low, int high, int V, vector (*total)[BAND], const vector* operand, const vector* held
) noexcept nogil:
    """Column j of a row of stride 1, times the rows of a kernel of three by three whose weights are in registers."""
    cdef int i, v
    for i in range(low, high):
        for v in range(V):
            total[i][v] += held[3 * (r - i) + j] * operand[v]


cdef inline void add_held_half(
    int v, int r, int low, int high, int V, bint inside, vector (*total)[BAND], vector* even, vector* odd,
    const real* row, const vector* held, const lane_mask* edges,
) noexcept nogil:
    """Vector v of a row of stride 2, which the one before has loaded; the next one is loaded meanwhile."""
    cdef vector operand = even[0]
    cdef vector second = odd[0]
    cdef vector third
    cdef int i
    load_halves(v + 1, V, inside, even, odd, row, edges)
    take_next(third, operand, even[0])
    for i in range(low, high):
        total[i][v] += held[3 * (r - 2 * i)] * operand
    for i in range(low, high):
        total[i][v] += held[3 * (r - 2 * i) + 1] * second
    for i in range(low, high):
        total[i][v] += held[3 * (r - 2 * i) + 2] * third


cdef inline void add_held_row(
    int r, int low, int high, int V, int S, bint inside, vector (*total)[BAND], const real* row, const vector* held,
    const Lines* lines, const lane_mask* edges,
) noexcept nogil:
    """All columns of a row, with the weights in registers."""
    cdef vector operand[3][BAND]
    if S == 2:
        load_halves(0, V, inside, operand[0], operand[1], row, edges)
        add_held_half(0, r, low, high, V, inside, total, operand[0], operand[1], row, held, edges)
        if V > 1:
            add_held_half(1, r, low, high, V, inside, total, operand[0], operand[1], row, held, edges)
        if V > 2:
            add_held_half(2, r, low, high, V, inside, total, operand[0], operand[1], row, held, edges)
            add_held_half(3, r, low, high, V, inside, total, operand[0], operand[1], row, held, edges)
        return
    load_column(V, 3, inside, operand[0], row, lines, edges, 0)
    load_column(V, 3, inside, operand[1], row, lines, edges, 1)
    load_column(V, 3, inside, operand[2], row, lines, edges, 2)
    add_held(r, 0, low, high, V, total, operand[0], held)
    add_held(r, 1, low, high, V, total, operand[1], held)
    add_held(r, 2, low, high, V, total, operand[2], held)


cdef inline void add_row_of_three(
    int r, int R, int O, int V, int S, bint inside, vector (*total)[BAND],
    const Lines* lines, const uintptr_t* line, int64_t w, const lane_mask* edges, const real* weight,
    const vector* held,
) noexcept nogil:
    """total[o, i] += row r times row r - i * S of a kernel of three by three, for all i for which that is one."""
    cdef const real* row = <const real*> line[r] + w
    cdef int low = 0 if r < 3 else (r - 3 + S) // S
    cdef int high = R if r // S >= R else r // S + 1
    if HOLDS_WEIGHTS and O == 1:
        add_held_row(r, low, high, V, S, inside, total, row, held, lines, edges)
        return
    if O * V > BAND // 2:
        forget_loads()
    weight += r * 3 * O
    add_column(low, high, R, O, V, S, 3, inside, 0, total, row, weight, 3, lines, edges)
    add_column(low, high, R, O, V, S, 3, inside, 1, total, row, weight, 3, lines, edges)
    add_column(low, high, R, O, V, S, 3, inside, 2, total, row, weight, 3, lines, edges)


cdef inline void add_three_by_three(
    int R, int O, int V, int S, bint inside, vector (*total)[BAND],
    const Lines* lines, const uintptr_t* line, int64_t w, const lane_mask* edges, const real* weight,
) noexcept nogil:
    """A kernel plane of 3 rows."""
    cdef vector held[9]
    cdef int k
    if HOLDS_WEIGHTS and O == 1:
        for k in range(9):
            broadcast(held[k], weight[k])
            keep_vector(held[k])
    add_row_of_three(0, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    add_row_of_three(1, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    add_row_of_three(2, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    if S * (R - 1) + 3 > 3:
        add_row_of_three(3, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    if S * (R - 1) + 3 > 4:
        add_row_of_three(4, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    if S * (R - 1) + 3 > 5:
        add_row_of_three(5, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    if S * (R - 1) + 3 > 6:
        add_row_of_three(6, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    if S * (R - 1) + 3 > 7:
        add_row_of_three(7, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    if S * (R - 1) + 3 > 8:
        add_row_of_three(8, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    if S * (R - 1) + 3 > 9:
        add_row_of_three(9, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    if S * (R - 1) + 3 > 10:
        add_row_of_three(10, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    if S * (R - 1) + 3 > 11:
        add_row_of_three(11, R, O, V, S, inside, total, lines, line, w, edges, weight, held)
    if S * (R - 1) + 3 > 12:
        add_row_of_three(12, R, O, V, S, inside, total, lines, line, w, edges, weight, held)


cdef inline void add_row_of_many(
    int low, int high, int R, int O, int V, int F, bint inside, int64_t r, vector (*total)[BAND],
    const Band* band, const Lines* lines, const uintptr_t* line, int64_t w, const lane_mask* edges, const real* weight,
    vector* sums,
) noexcept nogil:
    """total[o, i] += row r times row r - i of the kernel, for low <= i < high."""
    cdef const real* row = <const real*> line[r] + w
    cdef int64_t width = band.width
    cdef int64_t j
    if F == 0 and band.flush < band.height and r > 0:
        flush(low, high, R, O, V, r, total, band, <real*> sums, band.first)
    if F == 0 and line[r] == 0:
        return
    forget_loads()  # of weights that other rows take too: all of them in registers would push the sums out
    if F == 0:
        weight += r * width * O
        for j in range(width):
            add_column(low, high, R, O, V, 1, 0, inside, j, total, row, weight, width, lines, edges)
        return
    weight += r * F
    add_column(low, high, R, 1, V, 1, 5, inside, 0, total, row, weight, F, lines, edges)
    add_column(low, high, R, 1, V, 1, 5, inside, 1, total, row, weight, F, lines, edges)
    add_column(low, high, R, 1, V, 1, 5, inside, 2, total, row, weight, F, lines, edges)
    add_column(low, high, R, 1, V, 1, 5, inside, 3, total, row, weight, F, lines, edges)
    add_column(low, high, R, 1, V, 1, 5, inside, 4, total, row, weight, F, lines, edges)
    if F > 5:
        add_column(low, high, R, 1, V, 1, 7, inside, 5, total, row, weight, F, lines, edges)
        add_column(low, high, R, 1, V, 1, 7, inside, 6, total, row, weight, F, lines, edges)


cdef inline void flush_sums(
    int at, int V, vector (*total)[BAND], real* sums, bint first
) noexcept nogil:
    cdef vector* to = <vector*> sums
    cdef int v
    if not first:
        for v in range(V):
            total[at][v] += to[v]
    for v in range(V):
        to[v] = total[at][v]
        broadcast(total[at][v], 0)


cdef inline void flush_row(
    int i, int low, int high, int R, int O, int V, int64_t r, vector (*total)[BAND], const Band* band, real* sums,
    bint first,
) noexcept nogil:
    """End the chain of image row i, if one ends before row r: total → sums."""
    if i >= low and i < high and r > i and band.ends[r - i]:
        first = first and r - i == band.flush
        sums += i * band.row_step
        flush_sums(i, V, total, sums, first)
        if O > 1:
            flush_sums(R + i, V, total, sums + band.channel_step, first)
        if O > 2:
            flush_sums(2 * R + i, V, total, sums + 2 * band.channel_step, first)
            flush_sums(3 * R + i, V, total, sums + 3 * band.channel_step, first)


cdef inline void flush(
    int low, int high, int R, int O, int V, int64_t r, vector (*total)[BAND], const Band* band, real* sums, bint first
) noexcept nogil:
    flush_row(0, low, high, R, O, V, r, total, band, sums, first)
    flush_row(1, low, high, R, O, V, r, total, band, sums, first)
    flush_row(2, low, high, R, O, V, r, total, band, sums, first)
    flush_row(3, low, high, R, O, V, r, total, band, sums, first)
    flush_row(4, low, high, R, O, V, r, total, band, sums, first)
    flush_row(5, low, high, R, O, V, r, total, band, sums, first)


cdef inline void add_many_rows(
    int R, int O, int V, int F, bint inside, vector (*total)[BAND],
    const Band* band, const Lines* lines, const uintptr_t* line, int64_t w, const lane_mask* edges, const real* weight,
    vector* sums,
) noexcept nogil:
    """A kernel plane of R - 1 rows or more."""
    cdef int64_t height = band.height
    cdef int64_t r
    add_row_of_many(0, 1, R, O, V, F, inside, 0, total, band, lines, line, w, edges, weight, sums)
    add_row_of_many(0, 2, R, O, V, F, inside, 1, total, band, lines, line, w, edges, weight, sums)
    if R > 3:
        add_row_of_many(0, 3, R, O, V, F, inside, 2, total, band, lines, line, w, edges, weight, sums)
        add_row_of_many(0, 4, R, O, V, F, inside, 3, total, band, lines, line, w, edges, weight, sums)
        add_row_of_many(0, 5, R, O, V, F, inside, 4, total, band, lines, line, w, edges, weight, sums)
    if R > 6:
        add_row_of_many(0, 6, R, O, V, F, inside, 5, total, band, lines, line, w, edges, weight, sums)
    for r in range(R - 1, height):
        add_row_of_many(0, R, R, O, V, F, inside, r, total, band, lines, line, w, edges, weight, sums)
    if R > 6:
        add_row_of_many(R - 6, R, R, O, V, F, inside, height + R - 7, total, band, lines, line, w, edges, weight, sums)
    if R > 3:
        add_row_of_many(R - 5, R, R, O, V, F, inside, height + R - 6, total, band, lines, line, w, edges, weight, sums)
        add_row_of_many(R - 4, R, R, O, V, F, inside, height + R - 5, total, band, lines, line, w, edges, weight, sums)
        add_row_of_many(R - 3, R, R, O, V, F, inside, height + R - 4, total, band, lines, line, w, edges, weight, sums)
    add_row_of_many(R - 2, R, R, O, V, F, inside, height + R - 3, total, band, lines, line, w, edges, weight, sums)
    add_row_of_many(R - 1, R, R, O, V, F, inside, height + R - 2, total, band, lines, line, w, edges, weight, sums)


cdef inline bint add_planes(
    int R, int O, int V, int S, int F, bint inside, vector (*total)[BAND],
    const Band* band, const Lines* lines, int64_t top, int64_t w, const lane_mask* edges, const real* weight,
    vector* sums,
) noexcept nogil:
    """The products of kernel planes height × width, from row `top` of the sums and column w on; whether the sums hold
    something then."""
    cdef int64_t height = 3 if F == 3 else band.height
    cdef int64_t size = height * (F if F else band.width)
    cdef int64_t rows = height + S * (R - 1)
    cdef const uintptr_t* line = lines.line + S * top
    cdef int64_t plane
    for plane in range(band.planes):
        if band.expects and S * V <= 4:  # longer runs are foreseen by the processor
            expect_rows(
                line[rows // 2] + (w + band.row * (rows - rows // 2)) * sizeof(real),
                S * R, band.row * sizeof(real), S * V * sizeof(vector), False,
            )
        if F == 3:
            add_three_by_three(R, O, V, S, inside, total, lines, line, w, edges, weight)
        else:
            add_many_rows(R, O, V, F, inside, total, band, lines, line, w, edges, weight, sums)
        weight += size * O
        line += band.lines
    return not band.first or (F == 0 and band.flush < height)


cdef inline void add_taps(
    int R, int V, vector (*total)[BAND], const Band* band, const real* weight, const real* x
) noexcept nogil:
    cdef const vector* source
    cdef int i, v
    cdef int64_t k
    for k in range(band.chain):
        for i in range(R):
            source = <const vector*> (x + band.rows[k] + i * band.row)
            for v in range(V):
                multiply_add(total[i][v], weight[k], source[v])


cdef inline void add_alternate_tap(
    int R, int V, bint pair, vector (*total)[BAND], const Band* band, const real* weight, const real* x
) noexcept nogil:
    """One tap, which takes the even elements, and of a pair the next one, which takes the odd ones."""
    cdef const vector* source
    cdef vector operand
    cdef int i, v
    for i in range(R):
        source = <const vector*> (x + i * band.row)
        for v in range(V):
            take_mixed(operand, source[2 * v], source[2 * v + 1], 0)
            multiply_add(total[i][v], weight[0], operand)
            if pair:
                take_mixed(operand, source[2 * v], source[2 * v + 1], 1)
                multiply_add(total[i][v], weight[1], operand)


cdef inline void add_alternate_taps(
    int R, int V, vector (*total)[BAND], const Band* band, const real* weight, const real* x
) noexcept nogil:
    """Taps at stride 2 along the row: neighbouring ones share what they load."""
    cdef int64_t k = 0
    while k < band.chain:
        if k + 1 < band.chain and band.rows[k + 1] == band.rows[k] + 1:
            add_alternate_tap(R, V, True, total, band, weight + k, x + band.rows[k])
            k += 2
        else:
            add_alternate_tap(R, V, False, total, band, weight + k, x + band.rows[k])
            k += 1
