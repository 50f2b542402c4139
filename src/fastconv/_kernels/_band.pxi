"""The register tiles of thin convolutions: image rows of one output channel or several × vectors along the row.

    sums[o, i, :] += sum over k of weight[k, o] * x[rows[k] + i * row + (0 .. lanes)]

A plain band takes the taps one by one. An alternate one is of stride 2 along rows that are staged as they lie: of two
neighbouring taps, one takes the even elements and the other one the odd ones. A shared band loads a row of input once
for all the output rows that it belongs to: row r is multiplied by row r - i * stride of the kernel for output row i.

The instances are templates over what is constant in them:
    R, O, V     image rows, output channels, vectors: R * O * V sums in registers
    S           the stride along both axes, 1 or 2
    F           columns of the kernel, 0 for any number; if 3, it has three rows too. Short loops end unpredictably:
                each end costs as much as some ten vectors of sums, so that the commonest kernels are unrolled
    inside      whether a strip reads input alone: no masks, which take registers
"""


cdef enum Form:
    # How a band takes its taps
    PLAIN
    ALTERNATE
    THREE_BY_THREE
    FIVE_COLUMNS
    SEVEN_COLUMNS
    ANY_SIZE
    HALVED_THREE_BY_THREE


cdef struct Band:
    # Chains of products, and the band that they are added to
    Form form
    const int64_t* rows     # offset of each tap's operand
    int64_t row             # from one image row of input to the next that is read
    int64_t rows_of_sums    # of as many bands as go down the image, the last one ending with them
    int64_t lines           # rows that they read of each plane
    int64_t height          # of the kernel
    int64_t width
    int64_t chain           # products,
    int64_t planes          # of planes of the kernel, in a shared band
    int64_t flush           # rows of the kernel that one chain sums; those of one plane are several chains if fewer:
    bint ends[CHAIN]        # whether one ends before this row of the kernel
    bint first              # the sums hold nothing yet
    int64_t row_step        # elements from one image row of sums to the next,
    int64_t channel_step    # and from one channel's to the next's
    int64_t ahead           # to the sums of the next channels, if those lie in the output
    bint expects            # rows of the next band are brought into cache
    bint skips              # rows of the padding are left out, in a band of any size
    bint placed             # rows are read in the input itself, which has zeros around it:
    int64_t top             # the band's first row and column in it
    int64_t left
    int64_t rows_of_input
    int64_t row_length
    uintptr_t zeros         # a row of the padding


cdef struct Lines:
    # What a shared band reads
    uintptr_t line[MOST_LINES]  # image rows, of each plane; 0: nothing to add
    int64_t column[CHAIN]       # offset of each column of the kernel: its number, in forms of so many columns
    int64_t last                # from the first vector of a strip to its last: closer where one strip is the whole row


cdef struct Edges:
    # Which lanes hold input, where a strip of vectors reads it in place. Stride 1: of the first vector and the last
    # one, for each column of the kernel. Stride 2: of all four vectors at most and the next, for each pair of columns.
    lane_mask lanes[2 * CHAIN]


cdef inline void set_ends(Band* band) noexcept nogil:
    cdef int64_t r, end = band.flush
    for r in range(band.height):
        band.ends[r] = r == end
        if r == end:
            end += band.flush


cdef inline void set_columns(const Band* band, Lines* lines) noexcept nogil:
    cdef int64_t j
    for j in range(band.width):
        lines.column[j] = band.rows[j] - band.rows[0]


cdef inline void set_lines(const Band* band, const real* x, Lines* lines) noexcept nogil:
    """Where the rows of each plane begin; `x` is where the band begins."""
    cdef int64_t plane, r, row, at = 0
    cdef const real* start
    for plane in range(band.planes):
        start = x + band.rows[plane * band.height * band.width]
        for r in range(band.lines):
            row = band.top + r
            lines.line[at] = <uintptr_t> start
            if row < 0 or row >= band.rows_of_input:
                if band.skips:
                    lines.line[at] = 0
                elif band.placed:
                    lines.line[at] = band.zeros
            start += band.row
            at += 1


cdef inline void set_edges(
    int64_t S, const Band* band, const Lines* lines, int64_t w, int64_t vectors, int64_t last, int64_t lanes,
    Edges* edges, vector* as_vectors,
) noexcept nogil:
    """For the vectors from column w of the band on, of which the last one begins `last` elements behind it."""
    cdef int64_t i, j, begin
    if not band.placed:
        for j in range(2 * band.width):
            lanes_within(&edges.lanes[j], 0, lanes, lanes, as_vectors)
        return
    if S == 2:
        for j in range(0, band.width, 2):
            for i in range(2 * vectors + 1):
                begin = band.left + 2 * w + lines.column[j] + i * lanes
                lanes_within(&edges.lanes[j // 2 * PAIR_EDGES + i], begin, band.row_length, lanes, as_vectors)
        return
    for j in range(band.width):
        begin = band.left + w + lines.column[j]
        lanes_within(&edges.lanes[2 * j], begin, band.row_length, lanes, as_vectors)
        lanes_within(&edges.lanes[2 * j + 1], begin + last, band.row_length, lanes, as_vectors)


cdef inline int64_t vector_at(int v, int V, bint whole, const Lines* lines, int64_t lanes) noexcept nogil:
    """Elements of a strip before a vector; `whole`: none shares any with the one before it."""
    return v * lanes if whole or v == 0 or v < V - 1 else lines.last


cdef inline void load_column(
    int V, int F, bint inside, vector* operand, const real* row, const Lines* lines, const lane_mask* edges, int64_t j
) noexcept nogil:
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef const real* source = row + (j if F else lines.column[j])
    cdef int v
    for v in range(V):
        if inside or v > 0 and v < V - 1:
            operand[v] = (<const vector*> (source + v * lanes))[0]
        else:
            load_masked(operand[v], source + vector_at(v, V, inside, lines, lanes), edges[2 * j + (v > 0)])
        keep_vector(operand[v])


cdef inline void load_half(
    int V, bint inside, vector* operand, const real* row, const lane_mask* edges, int64_t j
) noexcept nogil:
    """The even columns from column j of the kernel on, or the odd ones from the one before on."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t even = j - j % 2
    cdef const real* source = row + even
    cdef vector low, high
    cdef int v
    for v in range(V):
        if inside:
            low = (<const vector*> (source + 2 * v * lanes))[0]
            high = (<const vector*> (source + (2 * v + 1) * lanes))[0]
        else:
            load_masked(low, source + 2 * v * lanes, edges[even // 2 * PAIR_EDGES + 2 * v])
            load_masked(high, source + (2 * v + 1) * lanes, edges[even // 2 * PAIR_EDGES + 2 * v + 1])
        if j == even:
            take_mixed(operand[v], low, high, 0)
        else:
            take_mixed(operand[v], low, high, 1)


cdef inline void load_halves(
    int v, int V, bint inside, vector* even, vector* odd, const real* row, const lane_mask* edges
) noexcept nogil:
    """Vector v of the even columns and that of the odd ones; behind the last one, a single even column.

    Of the padding, which is no wider than a vector, the one to the left lies in the first vector; the one to the right
    may begin in the second half of the last vector of columns but one.
    """
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef const real* source = row + 2 * v * lanes
    cdef vector low, high
    if v == V:
        if inside:
            load_part(even[0], source, 1)
        else:
            load_masked(even[0], source, edges[2 * V])
        return
    if inside or v > 0 and v < V - 1:
        low = (<const vector*> source)[0]
    else:
        load_masked(low, source, edges[2 * v])
    if inside or v < V - 2:
        high = (<const vector*> (source + lanes))[0]
    else:
        load_masked(high, source + lanes, edges[2 * v + 1])
    keep_vector(low)
    keep_vector(high)
    take_mixed(even[0], low, high, 0)
    take_mixed(odd[0], low, high, 1)


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
    int r, int j, int low, int high, int V, int S, vector (*total)[BAND], const vector* operand, const vector* held
) noexcept nogil:
    """Column j of row r of a kernel of three by three, whose weights are vectors in registers."""
    cdef int i, v
    for i in range(low, high):
        for v in range(V):
            total[i][v] += held[3 * (r - i * S) + j] * operand[v]


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
    add_held(r, 0, low, high, V, S, total, operand[0], held)
    add_held(r, 1, low, high, V, S, total, operand[1], held)
    add_held(r, 2, low, high, V, S, total, operand[2], held)


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


cdef struct Strips:
    # How a band is cut into strips: whole ones of 4, 2 or 1 vectors, and then some of one vector
    int64_t vectors         # of a whole one
    int64_t whole
    int64_t count           # of all
    int64_t width           # elements of all together
    int64_t limit           # no whole one begins behind it: the last one rather shares elements with the one before it
    int64_t last            # and none of one vector behind this one
    int64_t pace            # elements of input between neighbouring ones
    int64_t inside_first    # of the whole ones, those that read input alone, and the next one
    int64_t inside_last
    Edges edges[6]          # of the first strip, those between, and the last four
    Lines lines


cdef inline int64_t edges_of(const Strips* strips, int64_t strip) noexcept nogil:
    """Index of the edges of a strip."""
    return 0 if strip == 0 else bounded(strip - strips.count + 6, 1, 5)


cdef inline int64_t start_of(const Strips* strips, int64_t strip, int64_t lanes) noexcept nogil:
    """Elements before a strip."""
    if strip < strips.whole:
        return bounded(strip * strips.vectors * lanes, 0, strips.limit)
    return bounded((strips.whole * (strips.vectors - 1) + strip) * lanes, 0, strips.last)


cdef inline void store_rows(
    int first, int R, int V, bint whole, bint more, vector (*total)[BAND], const Band* band, const Lines* lines,
    real* sums, int64_t width,
) noexcept nogil:
    """One channel's sums, added to what is there if there is `more`. Of vectors that share no elements, the last one
    may reach beyond the `width` of the row."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t step = band.row_step
    cdef int i, v
    for i in range(R):
        if more:
            for v in range(V):
                total[first + i][v] += (<vector*> (sums + vector_at(v, V, whole, lines, lanes)))[0]
        for v in range(V):
            if v == V - 1 and (V == 1 or whole) and width < V * lanes:
                store_part(sums + v * lanes, total[first + i][v], width - v * lanes)
            else:
                (<vector*> (sums + vector_at(v, V, whole, lines, lanes)))[0] = total[first + i][v]
        sums += step


cdef inline void add_strips(
    int R, int O, int V, int S, int F, bint inside, Form form, const Band* band, const Strips* strips,
    int64_t first, int64_t last, int64_t inside_strips, const real* weight, const real* x, vector* sums,
) noexcept nogil:
    """Strips of V vectors, each down all the bands; where so many inside ones are left out, the others' numbers close
    up. Loops, for only inside of one gcc keeps the sums in registers."""
    cdef vector total[BAND_SUMS][BAND]
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t lowest = bounded(band.rows_of_sums - R, 0, band.rows_of_sums)
    cdef int64_t n, strip, w, width, top
    cdef bint more, below, whole = inside or S == 2
    cdef const Lines* lines = &strips.lines
    cdef vector* band_sums
    cdef const lane_mask* edges
    cdef lane_mask few[2 * CHAIN]
    cdef int i, v, o
    for n in range(first, last):
        strip = n if n < strips.inside_first else n + inside_strips
        w = start_of(strips, strip, lanes)
        edges = strips.edges[edges_of(strips, strip)].lanes
        if F == 3 and not inside and (S == 1 or V == 1 or HOLDS_WEIGHTS and O == 1):  # few enough for registers
            for i in range(2 * F if S == 1 else PAIR_EDGES + 2):
                few[i] = edges[i]
            edges = few
        top = 0
        below = True
        while below:
            band_sums = <vector*> (<real*> sums + w + top * band.row_step)
            more = not band.first
            width = V * lanes if inside else strips.width - w
            if O > 1 and band.ahead:
                for o in range(O):
                    expect_rows(
                        <uintptr_t> (<real*> band_sums + band.ahead + o * band.channel_step),
                        R, band.row_step * sizeof(real), V * sizeof(vector), True,
                    )
            for i in range(R * O):
                for v in range(V):
                    broadcast(total[i][v], 0)
            if form == PLAIN:
                add_taps(R, V, total, band, weight, x + top * band.row + w * strips.pace)
            elif form == ALTERNATE:
                add_alternate_taps(R, V, total, band, weight, x + top * band.row + w * strips.pace)
            else:
                more = add_planes(
                    R, O, V, S, F, inside, total, band, lines, top, w * strips.pace, edges, weight,
                    band_sums,
                )
            if S == 2:
                for i in range(R * O):
                    for v in range(V):
                        unmix(total[i][v])
            store_rows(0, R, V, whole, more, total, band, lines, <real*> band_sums, width)
            if O > 1:
                store_rows(
                    R, R, V, whole, more, total, band, lines, <real*> band_sums + band.channel_step, width
                )
            if O > 2:
                store_rows(
                    2 * R, R, V, whole, more, total, band, lines, <real*> band_sums + 2 * band.channel_step,
                    width,
                )
                store_rows(
                    3 * R, R, V, whole, more, total, band, lines, <real*> band_sums + 3 * band.channel_step,
                    width,
                )
            below = top < lowest
            top = bounded(top + R, 0, lowest)


cdef inline void add_to_band(
    int R, int O, int V, int S, int F, Form form, const Band* band, const Strips* strips,
    const real* weight, const real* x, vector* sums,
) noexcept nogil:
    """The strips inside, the other whole ones, and those of one vector."""
    cdef int64_t inside = strips.inside_last - strips.inside_first
    cdef int64_t whole = strips.whole - inside if strips.vectors > 1 else 0
    cdef int64_t others = strips.count - inside
    cdef int rows = R // 2 if form == HALVED_THREE_BY_THREE and V > 2 else R
    if form != PLAIN and form != ALTERNATE:
        add_strips(
            rows, O, V, S, F, True, form, band, strips, strips.inside_first, strips.inside_last, 0, weight, x, sums
        )
    if V > 1 and strips.vectors == V:
        add_strips(rows, O, V, S, F, False, form, band, strips, 0, whole, inside, weight, x, sums)
    elif V > 2 and form != PLAIN and strips.vectors == 2:
        add_strips(R, O, 2, S, F, False, form, band, strips, 0, whole, 0, weight, x, sums)
    add_strips(R, O, 1, S, F, False, form, band, strips, whole, others, inside, weight, x, sums)


cdef void plain(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS, 1, BAND, 1, 0, PLAIN, band, strips, weight, x, sums)


cdef void alternate(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS, 1, BAND // 2, 2, 0, ALTERNATE, band, strips, weight, x, sums)


cdef void three_by_three(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(TALL_ROWS, 1, SHORT_BAND, 1, 3, THREE_BY_THREE, band, strips, weight, x, sums)


cdef void five_columns(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS, 1, BAND, 1, 5, FIVE_COLUMNS, band, strips, weight, x, sums)


cdef void seven_columns(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(TALL_ROWS, 1, TALL_BAND, 1, 7, SEVEN_COLUMNS, band, strips, weight, x, sums)


cdef void any_size(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS, 1, BAND, 1, 0, ANY_SIZE, band, strips, weight, x, sums)


cdef void halved(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS, 1, HALVED_BAND, 2, 3, HALVED_THREE_BY_THREE, band, strips, weight, x, sums)


cdef void three_by_three_of_several(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS // 2, BAND_CHANNELS, 2, 1, 3, THREE_BY_THREE, band, strips, weight, x, sums)


cdef void any_size_of_several(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS // 2, BAND_CHANNELS, 2, 1, 0, ANY_SIZE, band, strips, weight, x, sums)


cdef void halved_of_several(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS // 2, BAND_CHANNELS, 2, 2, 3, HALVED_THREE_BY_THREE, band, strips, weight, x, sums)


cdef inline bint halves(const Band* band) noexcept nogil:
    """Whether it is of stride 2 along both axes, and shared."""
    return band.form == HALVED_THREE_BY_THREE


cdef inline bint shares(const Band* band) noexcept nogil:
    return band.form != PLAIN and band.form != ALTERNATE


cdef inline int64_t most_vectors(const Band* band, int64_t channels) noexcept nogil:
    """Of a strip, so that its sums and what they take stay in registers."""
    if channels > 1:
        return 2
    if band.form == THREE_BY_THREE:
        return SHORT_BAND
    if band.form == SEVEN_COLUMNS:
        return TALL_BAND
    if halves(band):
        return HALVED_BAND
    return BAND // 2 if band.form == ALTERNATE else BAND


cdef inline void find_inside(const Band* band, int64_t S, int64_t lanes, Strips* strips) noexcept nogil:
    """Which of the whole strips lie inside."""
    cdef int64_t pace = S * strips.vectors * lanes
    cdef int64_t last = strips.lines.column[band.width - 1]
    if not band.placed:
        strips.inside_last = strips.whole
    elif S * strips.limit + band.left >= 0:
        strips.inside_first = bounded((pace - 1 - band.left) // pace, 0, strips.whole)
        strips.inside_last = bounded((band.row_length - band.left - last) // pace, strips.inside_first, strips.whole)


cdef void cut_strips(
    const Band* band, int64_t channels, int64_t width, int64_t lanes, bint once, Strips* strips, vector* as_vectors
) noexcept nogil:
    """Cut rows of so many elements; `once`: by whole strips alone, which may share some, for no other chain is added to
    the sums."""
    cdef int64_t S = 2 if halves(band) else 1
    cdef int64_t vectors = (width + lanes - 1) // lanes
    cdef int64_t most = most_vectors(band, channels)
    cdef int64_t i
    cdef bint short_rows
    strips.vectors = most
    strips.whole = vectors // most
    strips.count = strips.whole + vectors - strips.whole * most
    strips.width = vectors * lanes
    if once:
        # A strip's last vector may share some with the one before it, or reach beyond the row
        short_rows = shares(band)
        strips.vectors = most if width >= most * lanes or short_rows and vectors == most else 1
        if short_rows and 1 < vectors < most:
            strips.vectors = 2
        strips.whole = strips.count = (vectors + strips.vectors - 1) // strips.vectors
        if vectors == (strips.whole - 1) * strips.vectors + 1:  # one vector is left over
            strips.whole -= 1
        strips.width = width
    strips.limit = bounded(strips.width - strips.vectors * lanes, 0, strips.width)
    strips.last = bounded(strips.width - lanes, 0, strips.width)
    strips.lines.last = bounded(strips.width - lanes, 0, (strips.vectors - 1) * lanes)
    strips.pace = 2 if S == 2 or band.form == ALTERNATE else 1
    strips.inside_first = strips.inside_last = 0
    if not shares(band):
        return
    set_columns(band, &strips.lines)
    if strips.vectors == most and strips.width >= most * lanes:
        find_inside(band, S, lanes, strips)
    for i in range(strips.count):
        if (i < strips.inside_first or i >= strips.inside_last) and (i < 2 or i >= strips.count - 4):
            set_edges(
                S, band, &strips.lines, start_of(strips, i, lanes), strips.vectors if i < strips.whole else 1,
                strips.lines.last if i < strips.whole else 0, lanes, &strips.edges[edges_of(strips, i)], as_vectors,
            )


cdef inline void multiply_band(
    const Band* band, const Strips* strips, int64_t channels, const real* weight, const real* x, vector* sums
) noexcept nogil:
    """Add a chain to a band."""
    if channels > 1:
        if band.form == THREE_BY_THREE:
            three_by_three_of_several(band, strips, weight, x, sums)
        elif band.form == HALVED_THREE_BY_THREE:
            halved_of_several(band, strips, weight, x, sums)
        else:
            any_size_of_several(band, strips, weight, x, sums)
    elif band.form == THREE_BY_THREE:
        three_by_three(band, strips, weight, x, sums)
    elif band.form == HALVED_THREE_BY_THREE:
        halved(band, strips, weight, x, sums)
    elif band.form == FIVE_COLUMNS:
        five_columns(band, strips, weight, x, sums)
    elif band.form == SEVEN_COLUMNS:
        seven_columns(band, strips, weight, x, sums)
    elif band.form == ANY_SIZE:
        any_size(band, strips, weight, x, sums)
    elif band.form == ALTERNATE:
        alternate(band, strips, weight, x, sums)
    else:
        plain(band, strips, weight, x, sums)
