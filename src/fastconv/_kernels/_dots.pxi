"""Sums over image rows of products of two vectors, for several rows of gradients and several taps at once.

    dots[a, b] = sum over h, w of g[g_at[a] + h * g_row + w] * x[x_at[b] + h * x_row + w]

Vectors run along the row: each lane sums a chain of its own, and `lane_sums` adds the lanes up.
"""


cdef struct Walk:
    # Over the rows of a block
    int64_t g_row
    int64_t x_row
    int64_t rows
    int64_t vectors         # whole ones of a row,
    int64_t rest            # and columns behind them


cdef inline void dots_of(
    int m, int t, const real* g, const int64_t* g_at, const real* x, const int64_t* x_at, const Walk* walk,
    int64_t rows, vector* sums, bint first,
) noexcept nogil:
    """The first `rows` rows, added to sums[m, t] or stored there; not one element behind a row is read."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef vector total[MOST_DOTS]
    cdef vector factor[DOTS]
    cdef vector operand
    cdef int a, b
    cdef int64_t h = 0, left, g_w, x_w
    while True:  # once; see `tile_of`
        for a in range(m * t):
            broadcast(total[a], 0)
        # One loop over rows and vectors: around a loop in a loop gcc would move all the sums to the stack and back.
        left = walk.vectors
        h = 0 if left else rows
        g_w = x_w = 0
        while h < rows:
            for a in range(m):
                factor[a] = (<const vector*> (g + g_at[a] + g_w))[0]
            for b in range(t):
                operand = (<const vector*> (x + x_at[b] + x_w))[0]
                for a in range(m):
                    total[a * t + b] += factor[a] * operand
            g_w += lanes
            x_w += lanes
            left -= 1
            if left == 0:
                left = walk.vectors
                h += 1
                g_w = h * walk.g_row
                x_w = h * walk.x_row
        if walk.rest:  # zeros on both sides, so that no NaN comes in
            g_w = x_w = walk.vectors * lanes
            h = 0
            while h < rows:
                for a in range(m):
                    load_part(factor[a], g + g_at[a] + g_w, walk.rest)
                for b in range(t):
                    load_part(operand, x + x_at[b] + x_w, walk.rest)
                    for a in range(m):
                        total[a * t + b] += factor[a] * operand
                g_w += walk.g_row
                x_w += walk.x_row
                h += 1
        if not first:
            for a in range(m * t):
                total[a] += sums[a]
        for a in range(m * t):
            sums[a] = total[a]
        if h >= rows:
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


cdef void dots_of_block(
    const Job* job, const Block* block, const Sums* task, const real* g, const real* x, real* result, vector* sums
) noexcept nogil:
    cdef Walk walk
    walk.g_row = task.g_row
    walk.x_row = task.x_row
    walk.rows = block.count[1]
    walk.vectors = block.count[2] // (sizeof(vector) // sizeof(real))
    walk.rest = block.count[2] % (sizeof(vector) // sizeof(real))
    if job.over_rows:
        dots_over_rows(job, block, task, &walk, g, x, result, sums)
    else:
        dots_over_channels(job, task, &walk, g, x, result, sums)


cdef void dots_over_channels(
    const Job* job, const Sums* task, const Walk* walk, const real* g, const real* x, real* result, vector* sums
) noexcept nogil:
    """Several output channels times several (input channel, tap)."""
    cdef int64_t products = task.c * job.taps
    cdef int64_t o = 0, k, rows, taps
    cdef int64_t g_at[DOTS]
    cdef real* kept = <real*> (sums + MOST_DOTS + 1)
    for k in range(DOTS):
        g_at[k] = k * task.g_o
    while o < task.o:
        rows = bounded(task.o - o, 0, job.dot_rows)
        k = 0
        while k < products:
            taps = bounded(products - k, 0, job.dot_taps)
            dots(
                rows, taps, g + o * task.g_o, g_at, x, task.x_at + k, walk, walk.rows, sums, True,
            )
            keep(task, rows, taps, <real*> sums, kept, result + o * job.result_o + k, job.result_o, sums)
            kept += rows * taps
            k += taps
        o += rows


cdef void dots_over_rows(
    const Job* job, const Block* block, const Sums* task, const Walk* walk,
    const real* g, const real* x, real* result, vector* sums,
) noexcept nogil:
    """Several rows of the kernel times several of its columns, of one pair of channels: each row of the input is loaded
    for several rows of the gradient, which may lie in the next block."""
    cdef int64_t height = job.axis[1].kernel
    cdef int64_t width = job.axis[2].kernel
    cdef int64_t planes = job.axis[0].kernel * task.c
    cdef int64_t o, plane, i, j, a, rows, taps, inner
    cdef int64_t g_at[DOTS]
    cdef const real* gradient
    cdef const int64_t* x_at
    cdef real* kept = <real*> (sums + MOST_DOTS + 1)
    for o in range(task.o):
        gradient = g + o * task.g_o
        for plane in range(planes):
            i = 0
            while i < height:
                rows = bounded(height - i, 0, job.dot_rows)
                # input rows that all of `rows` have a part in
                inner = bounded(job.axis[1].out - block.first[1] - (rows - 1), 0, walk.rows)
                for a in range(rows):
                    g_at[a] = (rows - 1 - a) * walk.g_row
                j = 0
                while j < width:
                    taps = bounded(width - j, 0, job.dot_taps)
                    x_at = task.x_at + (plane * height + i) * width + j
                    dots(
                        rows, taps, gradient, g_at, x, x_at + (rows - 1) * width, walk, inner, sums, True,
                    )
                    for a in range(rows):
                        outer_rows(
                            job, block, walk, gradient, x, x_at + a * width, rows - 1 - a, inner, taps, sums + a * taps
                        )
                    keep(
                        task, rows, taps, <real*> sums, kept,
                        result + (o * job.c * job.axis[0].kernel + plane) * height * width + i * width + j, width, sums,
                    )
                    kept += rows * taps
                    j += taps
                i += rows


cdef inline void outer_rows(
    const Job* job, const Block* block, const Walk* walk, const real* g, const real* x, const int64_t* x_at,
    int64_t first, int64_t inner, int64_t taps, vector* sums,
) noexcept nogil:
    """One row of the kernel: rows of the gradient before and behind the `inner` ones from `first` on, as far as the map
    goes. What other blocks begin and end with is theirs."""
    cdef int64_t zero = 0
    cdef int64_t stop = bounded(job.axis[1].out - block.first[1], 0, walk.rows + first)
    cdef int64_t start = first + inner
    if block.first[1] == 0 and first:
        if inner == 0:
            start = 0
        else:
            dots(1, taps, g, &zero, x, x_at, walk, first, sums, False)
    if start < stop:
        dots(1, taps, g + start * walk.g_row, &zero, x + start * walk.x_row, x_at, walk, stop - start, sums, False)


cdef inline void keep(
    const Sums* task, int64_t rows, int64_t taps, real* sums, real* kept, real* result, int64_t step, vector* as_vectors
) noexcept nogil:
    """The lanes' sums of one tile, to those of earlier blocks, and from there to the result."""
    cdef int64_t a, b
    lane_sums(sums, rows * taps, as_vectors)
    for a in range(rows * taps):
        if not task.first:
            sums[a] += kept[a]
        kept[a] = sums[a]
    if task.flush:
        for a in range(rows):
            for b in range(taps):
                result[a * step + b] = sums[a * taps + b] + (result[a * step + b] if task.add else 0)
