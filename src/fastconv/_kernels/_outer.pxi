"""The gradient of the weights as sums of outer products: input channels × output channels, one for each position.

The register tile of the forward pass adds them up: its vectors run along output channels, its rows along input channels
and the neighbouring columns of the kernel, and the products of a chain are positions. For that both operands are turned
round, so that the channels of a position lie side by side. (Where input and gradient have changed places, so have input
and output channels in all of this.)

    x_columns[position, c], g_columns[tile of output channels, position, o]

kept[tile of output channels, row, o] are the sums so far; `row_of` tells which row belongs to which (c, tap).
"""


cdef void outer_products(
    const Job* job, const Block* block, const Sums* task, const real* g, const real* x, real* result,
    real* columns, vector* sums,
) noexcept nogil:
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t width = 2 * lanes
    cdef int64_t rows = block.count[1]
    cdef int64_t positions = rows * block.count[2]
    cdef int64_t tiles = (task.o + width - 1) // width
    cdef int64_t t, h, w, first, k
    cdef real* g_columns = columns + job.g_columns_at
    cdef int64_t factor_steps[CHAIN]
    cdef int64_t operand_rows[CHAIN]
    cdef Work work
    if task.x_plane and not task.turned:
        transpose[real, vector](x, task.x_c, task.c, task.x_plane, columns, job.pitch, sums)
    elif not task.turned:  # read in place: rows of it
        for h in range(rows):
            transpose[real, vector](
                x + h * task.x_row, task.x_c, task.c, block.count[2], columns + h * job.row * job.pitch, job.pitch, sums
            )
    for t in range(tiles):
        for h in range(rows):
            turn[real, vector](
                g + t * width * task.g_o + h * task.g_row, task.g_o, job.axis[2].y,
                bounded(task.o - t * width, 0, width), block.count[2],
                g_columns + (t * positions + h * block.count[2]) * width, width, sums,
            )
    if job.axis[1].points > 1 or job.axis[2].points > 1:
        winograd_products(job, block, task, columns, result, sums)
        return
    work.first = task.first
    work.step = work.target_step = width
    work.factor_step = job.pitch
    work.rows = operand_rows
    work.in_rows = False
    work.chain = CHAIN
    work.steps = factor_steps if job.by_columns or (rows > 1 and job.row > block.count[2]) else NULL
    first = 0
    while first < positions:
        work.length = bounded(positions - first, 0, job.chunk_taps)
        if work.steps != NULL:  # not side by side
            for k in range(first, first + work.length):
                h = k % rows if job.by_columns else k // block.count[2]
                w = k // rows if job.by_columns else k - h * block.count[2]
                factor_steps[k - first] = (h * job.row + w) * job.pitch
                operand_rows[k - first] = (h * block.count[2] + w) * width
        for t in range(tiles):
            add_tiles(
                job, block, &work, first, columns, g_columns + t * positions * width,
                <real*> sums + t * job.rows_kept * width, sums,
            )
        work.first = False
        first += work.length
    if task.flush:
        for t in range(tiles):
            store_sums(
                job, task, <const real*> sums + t * job.rows_kept * width, bounded(task.o - t * width, 0, width),
                result + t * width * job.result_o, sums,
            )


cdef inline void add_tiles(
    const Job* job, const Block* block, const Work* chain, int64_t first, const real* factors, const real* operands,
    real* kept, vector* as_vectors,
) noexcept nogil:
    """One chain, of the positions from `first` on; what reads only zeros of the padding is left out."""
    cdef const Axis* d = &job.axis[0]
    cdef const Axis* h = &job.axis[1]
    cdef int64_t width = 2 * (sizeof(vector) // sizeof(real))
    cdef int64_t top = block.first[1]
    cdef int64_t i, m, row
    cdef Work work = chain[0]
    if chain.steps == NULL:
        factors += first * job.pitch
        operands += first * width
    work.ahead = <uintptr_t> (operands if chain.steps == NULL else operands + chain.rows[0])
    for i in range(job.row_tiles):
        m = (<const int64_t*> job.tile_sizes)[i]
        row = (<const int64_t*> job.tile_kernel_rows)[i]
        if job.skips and (
            lies_outside(d, block.first[0], block.first[0], row // h.kernel)
            or lies_outside(h, top, top + block.count[1] - 1, row % h.kernel)
        ):
            work.length = 0
        elif job.by_columns:
            leave_out_padding(job, block, (<const int64_t*> job.tile_kernel_columns)[i], first, chain, &work)
        else:
            work.length = chain.length
        if work.length > 0:
            work.sums = <uintptr_t> kept
            tile[real, vector](
                m, 2, &work, factors + (<const int64_t*> job.tile_factors)[i], operands, <vector*> kept
            )
        elif work.first:
            memset(kept, 0, m * width * sizeof(real))
        kept += m * width


cdef inline void leave_out_padding(
    const Job* job, const Block* block, int64_t column, int64_t first, const Work* chain, Work* work
) noexcept nogil:
    """Of a chain down the block's columns, those where this one of the kernel reads input."""
    cdef const Axis* w = &job.axis[2]
    cdef int64_t before = w.before - column * w.dilation  # from the row's first output to the input; below 0: none
    cdef int64_t low = steps(before, w.stride) - block.first[2]
    cdef int64_t high = steps(before + w.size, w.stride) - block.first[2]
    low = bounded(bounded(low, 0, block.count[2]) * block.count[1] - first, 0, chain.length)
    high = bounded(bounded(high, 0, block.count[2]) * block.count[1] - first, low, chain.length)
    work.steps = chain.steps + low
    work.rows = chain.rows + low
    work.length = high - low


cdef inline void store_sums(
    const Job* job, const Sums* task, const real* kept, int64_t channels, real* result, vector* as_vectors
) noexcept nogil:
    """As the result lies; along output channels if there is one tap."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t k, o, count
    cdef vector value, earlier
    if job.result_o != 1:
        store_turned(job, task, kept, channels, result, as_vectors)
        return
    for k in range(task.c):
        o = 0
        while o < channels:
            count = bounded(channels - o, 0, lanes)
            value = (<const vector*> (kept + (<const int64_t*> job.row_of)[k] * 2 * lanes + o))[0]
            if task.add:
                load_part(earlier, result + k * job.result_c + o, count)
                value += earlier
            store_part(result + k * job.result_c + o, value, count)
            o += lanes


cdef void store_turned(
    const Job* job, const Sums* task, const real* kept, int64_t channels, real* result, vector* as_vectors
) noexcept nogil:
    """kept[row_of[k], o] → result[o, k], k = (c, tap)."""
    cdef int lanes = sizeof(vector) // sizeof(real)
    cdef const int64_t* row_of = <const int64_t*> job.row_of
    cdef int64_t products = task.c * job.taps
    cdef int64_t k, o, count
    cdef real* target
    cdef int r
    cdef vector square[SQUARE]
    cdef vector earlier
    o = 0
    while o < channels:
        k = 0
        while k < products:
            count = bounded(products - k, 0, lanes)
            for r in range(lanes):
                if r < count:
                    square[r] = (<const vector*> (kept + row_of[k + r] * 2 * lanes + o))[0]
                else:
                    broadcast(square[r], 0)
            transpose_square(lanes, square)
            for r in range(lanes):
                if o + r < channels:
                    target = result + (o + r) * job.result_o + k
                    if task.add:
                        load_part(earlier, target, count)
                        square[r] += earlier
                    store_part(target, square[r], count)
            k += lanes
        o += lanes


cdef void stage_columns(
    const Job* job, const Block* block, const real* source, int64_t channels, real* columns, vector* as_vectors
) noexcept nogil:
    """What `stage` stages, turned round, of an input whose channels lie side by side already."""
    cdef const Axis* d = &job.axis[0]
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef int64_t run_d, run_h, run_w, i, j, a, depth, line, column, plane = 0, row
    cdef Run planes, rows, positions
    cdef real* target
    for run_d in range(d.runs):
        locate_run(d, block.first[0], block.count[0], run_d, &planes)
        for i in range(planes.count):
            depth = source_of(d, planes.origin + i * d.stride)
            row = plane * h.staged
            for run_h in range(h.runs):
                locate_run(h, block.first[1], block.count[1], run_h, &rows)
                for j in range(rows.count):
                    line = source_of(h, rows.origin + j * h.stride)
                    for run_w in range(w.runs):
                        locate_run(w, block.first[2], block.count[2], run_w, &positions)
                        target = columns + (
                            (<const int64_t*> job.run_start)[run_w] + (row + j) * job.row
                        ) * job.pitch
                        for a in range(positions.count):
                            column = source_of(w, positions.origin + a * w.step)
                            if depth < 0 or line < 0 or column < 0:
                                fill_exactly(<vector*> target, <real> job.padding_value, channels)
                            else:
                                store_exactly(
                                    <vector*> target, source + depth * d.x + line * h.x + column * w.x, channels
                                )
                            target += job.pitch
                row += run_count(h, run_h)
            plane += 1
        plane += run_count(d, run_d) - planes.count


cdef inline void fill_exactly(vector* target, real value, int64_t count) noexcept nogil:
    cdef int64_t i
    for i in range(count):
        (<real*> target)[i] = value
