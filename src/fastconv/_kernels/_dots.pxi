"""Sums over image rows of products of two vectors, for several rows of gradients and several taps at once.

    dots[a, b] = sum over h, w of g[g_at[a] + h * g_row + w] * x[x_at[b] + h * x_row + w]

Vectors run along the row: each lane sums a chain of its own, and `lane_sums` adds the lanes up.
"""


cdef struct Walk:
    # Over the rows of a block, first in whole vectors, then over what is left of each row
    int64_t g_row
    int64_t x_row
    int64_t rows
    int64_t whole           # columns of a row that whole vectors hold,
    int64_t rest            # and columns behind them
    int64_t steps           # whole vectors of all rows: where they begin
    int64_t g[MOST_STEPS]
    int64_t x[MOST_STEPS]


cdef inline void walk_rows(
    int64_t lanes, int64_t rows, int64_t width, int64_t g_row, int64_t x_row, Walk* walk
) noexcept nogil:
    cdef int64_t h, w
    walk.g_row = g_row
    walk.x_row = x_row
    walk.rows = rows
    walk.rest = width % lanes
    walk.whole = width - walk.rest
    walk.steps = 0
    for h in range(rows):
        w = 0
        while w < walk.whole:
            walk.g[walk.steps] = h * g_row + w
            walk.x[walk.steps] = h * x_row + w
            walk.steps += 1
            w += lanes


cdef inline void dots_of(
    int m, int t, const real* g, const int64_t* g_at, const real* x, const int64_t* x_at, const Walk* walk,
    int64_t rows, vector* sums, bint first,
) noexcept nogil:
    """The first `rows` rows, added to sums[m, t] or stored there; not one element behind a row is read."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t steps = walk.whole // lanes * rows
    cdef vector total[MOST_DOTS]
    cdef vector factor[DOTS]
    cdef vector operand
    cdef int a, b
    cdef int64_t k = 0
    while True:  # once; see `tile_of`
        for a in range(m * t):
            broadcast(total[a], 0)
        while k < steps:
            for a in range(m):
                factor[a] = (<const vector*> (g + g_at[a] + walk.g[k]))[0]
            for b in range(t):
                operand = (<const vector*> (x + x_at[b] + walk.x[k]))[0]
                for a in range(m):
                    total[a * t + b] += factor[a] * operand
            k += 1
        if walk.rest:  # zeros on both sides, so that no NaN comes in
            k = 0
            while k < rows:
                for a in range(m):
                    load_part(factor[a], g + g_at[a] + walk.whole + k * walk.g_row, walk.rest)
                for b in range(t):
                    load_part(operand, x + x_at[b] + walk.whole + k * walk.x_row, walk.rest)
                    for a in range(m):
                        total[a * t + b] += factor[a] * operand
                k += 1
        if not first:
            for a in range(m * t):
                total[a] += sums[a]
        for a in range(m * t):
            sums[a] = total[a]
        if k >= rows:
            return


cdef inline void dots_of_rows(
    int m, int64_t t, const real* g, const int64_t* g_at, const real* x, const int64_t* x_at, const Walk* walk,
    int64_t rows, vector* sums, bint first,
) noexcept nogil:
    if t == 1:
        dots_of(m, 1, g, g_at, x, x_at, walk, rows, sums, first)
    elif t == 2:
        dots_of(m, 2, g, g_at, x, x_at, walk, rows, sums, first)
    elif t == 3:
        dots_of(m, 3, g, g_at, x, x_at, walk, rows, sums, first)
    elif t == 4:
        dots_of(m, 4, g, g_at, x, x_at, walk, rows, sums, first)
    elif m * 5 <= MOST_DOTS:
        if t == 5:
            dots_of(m, 5, g, g_at, x, x_at, walk, rows, sums, first)
        elif m * 6 <= MOST_DOTS:
            if t == 6:
                dots_of(m, 6, g, g_at, x, x_at, walk, rows, sums, first)
            elif m * 8 <= MOST_DOTS:
                if t == 7:
                    dots_of(m, 7, g, g_at, x, x_at, walk, rows, sums, first)
                else:
                    dots_of(m, 8, g, g_at, x, x_at, walk, rows, sums, first)


cdef void dots(
    int64_t m, int64_t t, const real* g, const int64_t* g_at, const real* x, const int64_t* x_at, const Walk* walk,
    int64_t rows, vector* sums, bint first,
) noexcept nogil:
    """The instances."""
    if m == 1:
        dots_of_rows(1, t, g, g_at, x, x_at, walk, rows, sums, first)
    elif m == 2:
        dots_of_rows(2, t, g, g_at, x, x_at, walk, rows, sums, first)
    elif m == 3:
        dots_of_rows(3, t, g, g_at, x, x_at, walk, rows, sums, first)
    elif DOTS > 3:
        dots_of_rows(DOTS, t, g, g_at, x, x_at, walk, rows, sums, first)


cdef inline void lane_sums(real* sums, int64_t count, vector* as_vectors) noexcept nogil:
    """Replace `count` vectors by the sums of their lanes, side by side; there is room for one vector more."""
    cdef int64_t parts = sizeof(vector) // sizeof(real)
    cdef int64_t i
    cdef vector* sum = <vector*> sums
    cdef vector even, odd
    while parts > 1:
        if count % 2:
            broadcast(sum[count], 0)
            count += 1
        count = count // 2
        for i in range(count):
            take_even(even, sum[2 * i], sum[2 * i + 1])
            take_odd(odd, sum[2 * i], sum[2 * i + 1])
            sum[i] = even + odd
        parts = parts // 2
