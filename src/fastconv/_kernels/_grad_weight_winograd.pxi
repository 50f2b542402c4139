"""The gradient of the weights as outer products of transformed tiles: F(3, 4) of 3 taps from 4 positions, 6 products.

It is the transform of the forward pass seen from another side: input tiles are transformed as there, those of the
gradient as kernels of 4 taps, and the sums over tiles back to 3 taps, once for many blocks.

    x_values[d, point, tile, c]     g_values[tile of output channels, point, tile, o]
    kept[tile of output channels, d, point, c, o]

Planes of a point lie `value_pitch`, `value_panel` and `row_pitch` elements apart, which are no powers of two.
"""


cdef void winograd_products(
    const Job* job, const Block* block, const Sums* task, real* columns, real* result, vector* sums
) noexcept nogil:
    cdef int64_t width = 2 * (sizeof(vector) // sizeof(real))
    cdef int64_t points = job.axis[1].points * job.axis[2].points
    cdef int64_t tiles = tiles_of(&job.axis[1], block.count[1]) * tiles_of(&job.axis[2], block.count[2])
    cdef int64_t planes = job.axis[0].kernel * points
    cdef int64_t wide = (task.o + width - 1) // width
    cdef const real* x_values = columns + job.values_at
    cdef const real* g_values = columns + job.products_at
    cdef real* kept = <real*> sums
    cdef int64_t t, i, k, first
    cdef Work work
    cdef const real* operands
    cdef vector* total
    if job.axis[1].points == 1:
        transform_operands(1, 6, job, block, task, columns, sums)
    elif job.axis[2].points == 1:
        transform_operands(6, 1, job, block, task, columns, sums)
    else:
        transform_operands(6, 6, job, block, task, columns, sums)
    work.steps = work.rows = NULL
    work.factor_step = job.pitch
    work.in_rows = False
    work.chain = CHAIN
    work.step = work.target_step = width
    for t in range(wide):
        for i in range(planes):
            first = 0
            while first < task.c:
                operands = g_values + (t * points + i % points) * job.value_panel
                total = <vector*> (kept + (t * planes + i) * job.row_pitch + first * width)
                work.ahead = <uintptr_t> operands
                k = 0
                while k < tiles:
                    work.length = bounded(tiles - k, 0, SHORT)
                    work.first = task.first and k == 0
                    work.sums = <uintptr_t> total
                    tile[real, vector](
                        bounded(task.c - first, 0, job.tile_rows), 2, &work,
                        x_values + i * job.value_pitch + first + k * job.pitch, operands + k * width, total,
                    )
                    k += work.length
                first += job.tile_rows
    if task.flush:
        for t in range(wide):
            transform_sums(job, task.c, kept + t * planes * job.row_pitch, columns + job.outputs_at, sums)
            store_turned(
                job, task, columns + job.outputs_at, bounded(task.o - t * width, 0, width),
                result + t * width * job.result_o, sums,
            )


cdef inline void transform_operands(
    int h_points, int w_points, const Job* job, const Block* block, const Sums* task, real* columns, vector* as_vectors
) noexcept nogil:
    """The instances; an axis is left as it is, or has 6 points for 4 positions."""
    cdef int64_t width = 2 * (sizeof(vector) // sizeof(real))
    cdef int64_t wide = (task.o + width - 1) // width
    transform_tiles(h_points, w_points, job, block, task, columns, columns + job.values_at, as_vectors)
    transform_gradients(
        h_points, w_points, job, block, wide, columns + job.g_columns_at, columns + job.products_at, as_vectors
    )


cdef inline void transform_gradient(int points, vector* g) noexcept nogil:
    """In place: four elements at each point, over the product of its distances from the others."""
    cdef vector even, odd, e, o
    if points == 1:
        return
    even = g[0]
    multiply_add(even, INNER * INNER, g[2])
    multiply_scalar(even, 0.5 / (INNER * INNER * (INNER * INNER - OUTER * OUTER)))
    odd = g[1]
    multiply_add(odd, INNER * INNER, g[3])
    multiply_scalar(odd, 0.5 / (INNER * (INNER * INNER - OUTER * OUTER)))
    e = g[0]
    multiply_add(e, OUTER * OUTER, g[2])
    multiply_scalar(e, 0.5 / (OUTER * OUTER * (OUTER * OUTER - INNER * INNER)))
    o = g[1]
    multiply_add(o, OUTER * OUTER, g[3])
    multiply_scalar(o, 0.5 / (OUTER * (OUTER * OUTER - INNER * INNER)))
    multiply_scalar(g[0], 1 / (INNER * INNER * OUTER * OUTER))
    g[5] = g[3]
    g[1] = even + odd
    g[2] = even - odd
    g[3] = e + o
    g[4] = e - o


cdef inline void transform_taps(int points, vector* x) noexcept nogil:
    """In place: the three taps."""
    cdef vector s, t, d, e
    if points == 1:
        return
    s = x[1] + x[2]
    d = x[1] - x[2]
    t = x[3] + x[4]
    e = x[3] - x[4]
    x[0] += s + t
    x[1] = d
    multiply_scalar(x[1], INNER)
    multiply_add(x[1], OUTER, e)
    x[2] = x[5]
    multiply_add(x[2], INNER * INNER, s)
    multiply_add(x[2], OUTER * OUTER, t)


cdef inline void transform_tiles(
    int h_points, int w_points, const Job* job, const Block* block, const Sums* task,
    const real* columns, real* values, vector* as_vectors,
) noexcept nogil:
    """columns[staged position, c] → values[d, point, tile, c]; zeros behind what is staged."""
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t along = tiles_of(w, block.count[2])
    cdef int64_t tiles = along * tiles_of(h, block.count[1])
    cdef int64_t height = block.count[1] + h.kernel - 1
    cdef int64_t width = block.count[2] + w.kernel - 1
    cdef int64_t z, k, top, left, c
    cdef const real* plane
    cdef const real* source
    cdef real* target
    cdef vector x[MOST_POINTS]
    cdef vector half[MOST_POINTS][MOST_POINTS]
    cdef bint inside
    cdef int a, b
    for z in range(job.axis[0].kernel):
        plane = columns + task.x_at[z * h.kernel * w.kernel] * job.pitch
        for k in range(tiles):
            top = k // along * h.tile
            left = k % along * w.tile
            inside = top + h_points <= height and left + w_points <= width
            c = 0
            while c < task.c:
                source = plane + (top * job.row + left) * job.pitch + c
                for b in range(w_points):
                    for a in range(h_points):
                        if inside or (top + a < height and left + b < width):
                            x[a] = (<const vector*> (source + (a * job.row + b) * job.pitch))[0]
                        else:
                            broadcast(x[a], 0)
                    transform_input(h_points, 4, x)
                    for a in range(h_points):
                        half[a][b] = x[a]
                target = values + k * job.pitch + c
                for a in range(h_points):
                    transform_input(w_points, 4, half[a])
                    for b in range(w_points):
                        (<vector*> (target + (a * w_points + b) * job.value_pitch))[0] = half[a][b]
                c += lanes
        values += h_points * w_points * job.value_pitch


cdef inline void transform_gradients(
    int h_points, int w_points, const Job* job, const Block* block, int64_t wide,
    const real* columns, real* values, vector* as_vectors,
) noexcept nogil:
    """columns[tile of channels, position, o] → values[tile of channels, point, tile, o]; zeros behind the block."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t width = 2 * lanes
    cdef int64_t along = tiles_of(&job.axis[2], block.count[2])
    cdef int64_t tiles = along * tiles_of(&job.axis[1], block.count[1])
    cdef int h_tile = 4 if h_points == 6 else 1
    cdef int w_tile = 4 if w_points == 6 else 1
    cdef int64_t t, k, top, left, o
    cdef const real* source
    cdef real* target
    cdef vector g[MOST_POINTS]
    cdef vector half[MOST_POINTS][MOST_POINTS]
    cdef bint inside
    cdef int a, b
    for t in range(wide):
        for k in range(tiles):
            top = k // along * h_tile
            left = k % along * w_tile
            inside = top + h_tile <= block.count[1] and left + w_tile <= block.count[2]
            for o in range(2):
                source = columns + (top * block.count[2] + left) * width + o * lanes
                for b in range(w_tile):
                    for a in range(h_tile):
                        if inside or (top + a < block.count[1] and left + b < block.count[2]):
                            g[a] = (<const vector*> (source + (a * block.count[2] + b) * width))[0]
                        else:
                            broadcast(g[a], 0)
                    transform_gradient(h_points, g)
                    for a in range(h_points):
                        half[a][b] = g[a]
                target = values + k * width + o * lanes
                for a in range(h_points):
                    transform_gradient(w_points, half[a])
                    for b in range(w_points):
                        (<vector*> (target + (a * w_points + b) * job.value_panel))[0] = half[a][b]
        columns += block.count[1] * block.count[2] * width
        values += h_points * w_points * job.value_panel


cdef void transform_sums(
    const Job* job, int64_t channels, const real* kept, real* taps, vector* as_vectors
) noexcept nogil:
    """kept[d, point, c, o] → taps[c, d, h, w, o]."""
    if job.axis[1].points == 1:
        transform_sums_by(1, 6, job, channels, kept, taps, as_vectors)
    elif job.axis[2].points == 1:
        transform_sums_by(6, 1, job, channels, kept, taps, as_vectors)
    else:
        transform_sums_by(6, 6, job, channels, kept, taps, as_vectors)


cdef inline void transform_sums_by(
    int h_points, int w_points, const Job* job, int64_t channels, const real* kept, real* taps, vector* as_vectors
) noexcept nogil:
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t width = 2 * lanes
    cdef int h_taps = 3 if h_points == 6 else 1
    cdef int w_taps = 3 if w_points == 6 else 1
    cdef int64_t c, z, o
    cdef const real* source
    cdef real* target
    cdef vector x[MOST_POINTS]
    cdef vector half[MOST_POINTS][MOST_POINTS]
    cdef int a, b
    for c in range(channels):
        for z in range(job.axis[0].kernel):
            for o in range(2):
                source = kept + z * h_points * w_points * job.row_pitch + c * width + o * lanes
                for b in range(w_points):
                    for a in range(h_points):
                        x[a] = (<const vector*> (source + (a * w_points + b) * job.row_pitch))[0]
                    transform_taps(h_points, x)
                    for a in range(h_taps):
                        half[a][b] = x[a]
                target = taps + (c * job.axis[0].kernel + z) * h_taps * w_taps * width + o * lanes
                for a in range(h_taps):
                    transform_taps(w_points, half[a])
                    for b in range(w_taps):
                        (<vector*> (target + (a * w_taps + b) * width))[0] = half[a][b]
