"""What a band reads: rows of the input, or zeros; which lanes of a vector are input; the columns of a kernel's row."""


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
