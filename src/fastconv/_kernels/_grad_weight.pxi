"""The gradient of the weights: for each of them, the sum over output positions of gradient times input.

    grad_weight[o, c, tap] = sum over n, d, h, w of y[n, o, d, h, w] * x[n, c, (d, h, w) * stride + tap * dilation - before]

An item of work owns some output channels × input channels, and one of `splits` runs of blocks of positions. It stages
one block after the other as the forward pass does and multiplies it by the gradient where that lies, or by a copy of
it. Sums are kept apart for each of FLUSH blocks, then added to the result, so that none of the chains is long; nothing
depends on which thread computes what.
"""


cdef struct Dots:
    # A block of positions, as the items of one (output channels × input channels) see it
    int64_t o               # output channels
    int64_t c               # input channels
    int64_t g_o             # from one output channel to the next
    Walk walk
    const int64_t* x_at     # operand of each (channel, tap) for the first position
    bint first              # nothing has been summed
    bint flush              # the sums go to the result
    bint add                # which holds earlier ones


cdef void grad_weight(const Job* job, int64_t item, real* workspace, vector* sums) noexcept nogil:
    cdef Block block
    cdef Dots dots
    cdef const Axis* axis
    cdef const real* x
    cdef const real* g
    cdef real* result
    cdef int64_t positions, first, last, b, rest, i, o, c, split, group, x_row, g_row
    split = item % job.splits
    item = item // job.splits
    c = item % job.channel_blocks * job.chunk_channels
    item = item // job.channel_blocks
    o = item % job.o_blocks * job.o_block
    group = item // job.o_blocks
    dots.o = bounded(job.o - o, 0, job.o_block)
    dots.c = bounded(job.c - c, 0, job.chunk_channels)
    result = <real*> job.weight + (
        ((split * job.groups + group) * job.o + o) * job.c + c
    ) * job.taps
    positions = job.n * job.axis[0].blocks * job.axis[1].blocks * job.axis[2].blocks
    first = positions * split // job.splits
    last = positions * (split + 1) // job.splits
    block.group = group
    for b in range(first, last):
        rest = b
        for i in range(2, -1, -1):
            axis = &job.axis[i]
            block.first[i] = rest % axis.blocks * axis.block
            block.count[i] = bounded(axis.out - block.first[i], 0, axis.block)
            rest = rest // axis.blocks
        block.n = rest
        x = <const real*> job.x + block.n * job.x_n + (group * job.c + c) * job.x_c
        if job.in_place and lies_inside(job, &block):
            dots.x_at = <const int64_t*> job.placed_rows
            x_row = job.axis[1].stride * job.axis[1].x
            for i in range(3):
                x += (block.first[i] * job.axis[i].stride - job.axis[i].before) * job.axis[i].x
        else:
            dots.x_at = <const int64_t*> job.staged_rows
            x_row = job.row
            stage(job, &block, x, dots.c, <vector*> workspace)
            x = workspace

        g = <const real*> job.y + block.n * job.y_n + (group * job.o + o) * job.y_o
        for i in range(3):
            g += block.first[i] * job.axis[i].y
        dots.g_o = job.y_o
        g_row = job.axis[1].y
        if job.axis[2].y != 1:
            g_row = block.count[2]
            dots.g_o = block.count[1] * g_row
            stage_gradient(job, &block, dots.o, g, workspace + job.panel_at)
            g = workspace + job.panel_at
        walk_rows(sizeof(vector) // sizeof(real), block.count[1], block.count[2], g_row, x_row, &dots.walk)

        i = b - first
        dots.first = i % job.flush == 0
        dots.flush = b + 1 == last or (i + 1) % job.flush == 0
        dots.add = i >= job.flush
        if job.over_rows:
            dots_over_rows(job, &dots, g, x, result, sums)
        else:
            dots_over_channels(job, &dots, g, x, result, sums)


cdef void stage_gradient(const Job* job, const Block* block, int64_t channels, const real* g, real* staged) noexcept nogil:
    """Rows with their columns side by side, where they do not lie so."""
    cdef int64_t rows = block.count[1]
    cdef int64_t width = block.count[2]
    cdef int64_t o, h, w
    for h in range(rows):
        for w in range(width):
            for o in range(channels):
                staged[(o * rows + h) * width + w] = g[o * job.y_o + h * job.axis[1].y + w * job.axis[2].y]


cdef void dots_over_channels(
    const Job* job, const Dots* task, const real* g, const real* x, real* result, vector* sums
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
                rows, taps, g + o * task.g_o, g_at, x, task.x_at + k, &task.walk, task.walk.rows, sums, True,
            )
            keep(task, rows, taps, <real*> sums, kept, result + o * job.c * job.taps + k, job.c * job.taps, sums)
            kept += rows * taps
            k += taps
        o += rows


cdef void dots_over_rows(
    const Job* job, const Dots* task, const real* g, const real* x, real* result, vector* sums
) noexcept nogil:
    """Several rows of the kernel times several of its columns, of one pair of channels: each row of the input is loaded
    for several rows of the gradient."""
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
                inner = bounded(task.walk.rows - (rows - 1), 0, task.walk.rows)  # input rows that all `rows` have a part in
                for a in range(rows):
                    g_at[a] = (rows - 1 - a) * task.walk.g_row
                j = 0
                while j < width:
                    taps = bounded(width - j, 0, job.dot_taps)
                    x_at = task.x_at + (plane * height + i) * width + j
                    dots(
                        rows, taps, gradient, g_at, x, x_at + (rows - 1) * width, &task.walk, inner, sums, True,
                    )
                    for a in range(rows):
                        outer_rows(task, gradient, x, x_at + a * width, rows - 1 - a, inner, taps, sums + a * taps)
                    keep(
                        task, rows, taps, <real*> sums, kept,
                        result + (o * job.c * job.axis[0].kernel + plane) * height * width + i * width + j, width, sums,
                    )
                    kept += rows * taps
                    j += taps
                i += rows


cdef inline void outer_rows(
    const Dots* task, const real* g, const real* x, const int64_t* x_at, int64_t above, int64_t inner, int64_t taps,
    vector* sums,
) noexcept nogil:
    """One row of the kernel: the rows of the gradient before `above` and behind the `inner` ones that follow."""
    cdef const Walk* walk = &task.walk
    cdef int64_t zero = 0
    cdef int64_t below = above + inner
    if inner == 0:
        above = below = walk.rows
    if above:
        dots(1, taps, g, &zero, x, x_at, walk, above, sums, False)
    if below < walk.rows:
        dots(
            1, taps, g + below * walk.g_row, &zero, x + below * walk.x_row, x_at, walk, walk.rows - below, sums, False
        )


cdef inline void keep(
    const Dots* task, int64_t rows, int64_t taps, real* sums, real* kept, real* result, int64_t step, vector* as_vectors
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
