"""The gradient of the weights: for each of them, the sum over output positions of gradient times input.

    grad_weight[o, c, tap] = sum over n, p = (d, h, w) of y[n, o, p] * x[n, c, p * stride + tap * dilation - before]

An item of work owns some output channels × input channels, and one of `splits` runs of the round's blocks of positions.
It stages one block after the other as the forward pass does and multiplies it by the gradient where that lies, or by a
copy of it. Sums are kept apart for some blocks, then added to the result, so that none of the chains is long; nothing
depends on which thread computes what.
"""


cdef struct Sums:
    # A block of positions, as the items of one (output channels × input channels) see it
    int64_t o               # output channels
    int64_t c               # input channels
    int64_t g_o             # from one output channel to the next
    int64_t g_row           # from one row of the gradient to the next
    int64_t x_c
    bint turned             # the input's channels lie side by side already
    int64_t x_row
    int64_t x_plane         # staged elements of a channel; 0: read in place
    const int64_t* x_at     # operand of each (channel, tap) for the first position
    bint first              # nothing has been summed
    bint flush              # the sums go to the result
    bint add                # which holds earlier ones


cdef inline void find_run(
    const Job* job, int64_t split, int64_t positions, int64_t* first, int64_t* last
) noexcept nogil:
    """The blocks of one split, in this round."""
    cdef int64_t runs = job.rounds * job.splits
    cdef int64_t run = job.round * job.splits + split
    first[0] = positions // runs * run + bounded(run, 0, positions % runs)
    last[0] = first[0] + positions // runs + (run < positions % runs)


cdef void grad_weight(const Job* job, int64_t item, real* workspace, vector* sums) noexcept nogil:
    cdef Block block
    cdef Sums task
    cdef const Axis* axis
    cdef const real* x
    cdef const real* g
    cdef real* result
    cdef int64_t first, last, b, rest, i, o, c, split, group
    if job.channelwise:
        grad_weight_channelwise(job, item, workspace, sums)
        return
    split = item % job.splits
    item = item // job.splits
    c = item % job.channel_blocks * job.chunk_channels
    item = item // job.channel_blocks
    o = item % job.o_blocks * job.o_block
    group = item // job.o_blocks
    task.o = bounded(job.o - o, 0, job.o_block)
    task.c = bounded(job.c - c, 0, job.chunk_channels)
    result = <real*> job.weight + (split * job.groups + group) * job.o * job.c * job.taps
    result += o * job.result_o + c * job.result_c
    find_run(job, split, job.n * job.axis[0].blocks * job.axis[1].blocks * job.axis[2].blocks, &first, &last)
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
        task.turned = False
        if job.in_place and lies_inside(job, &block, job.tile_lanes):
            task.x_at = <const int64_t*> job.placed_rows
            task.x_c = job.x_c
            task.x_row = job.axis[1].stride * job.axis[1].x
            task.x_plane = 0
            for i in range(3):
                x += (block.first[i] * job.axis[i].stride - job.axis[i].before) * job.axis[i].x
        else:
            task.x_at = <const int64_t*> job.staged_rows
            task.x_c = task.x_plane = job.plane
            task.x_row = job.row
            if job.row_tiles and job.x_c == 1:
                stage_columns[real, vector](job, &block, x, task.c, workspace + job.columns_at, sums)
                task.turned = True
            else:
                stage(job, &block, x, task.c, <vector*> workspace)
            x = workspace

        g = <const real*> job.y + block.n * job.y_n + (group * job.o + o) * job.y_o
        for i in range(3):
            g += block.first[i] * job.axis[i].y
        task.g_o = job.y_o
        task.g_row = job.axis[1].y
        if job.axis[2].y != 1 and not job.row_tiles:
            g = stage_gradient(job, &block, &task, g, workspace + job.gradient_at)

        i = b - first
        task.first = i % job.flush == 0
        task.flush = b + 1 == last or (i + 1) % job.flush == 0
        task.add = i >= job.flush
        if job.row_tiles:
            outer_products(job, &block, &task, g, x, result, workspace + job.columns_at, sums)
        else:
            dots_of_block(job, &block, &task, g, x, result, sums)


cdef const real* stage_gradient(
    const Job* job, const Block* block, Sums* task, const real* g, real* staged
) noexcept nogil:
    """Rows with their columns side by side, where they do not lie so; with those of the next block that are read."""
    cdef int64_t rows = bounded(job.axis[1].out - block.first[1], 0, block.count[1] + job.rows_ahead)
    cdef int64_t width = block.count[2]
    cdef int64_t o, h, w
    task.g_row = width
    task.g_o = rows * width
    for h in range(rows):
        for w in range(width):
            for o in range(task.o):
                staged[(o * rows + h) * width + w] = g[o * job.y_o + h * job.axis[1].y + w * job.axis[2].y]
    return staged
