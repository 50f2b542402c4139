"""One block of Winograd convolution: stage → transform → tile (for each point) → transform back → finish.

Along d the products are summed directly; along h and w each axis has its own transform, or none. The arrays in cache:

    staged[channel, d, h, w]                    as for the forward pass, whole tiles of output
    rows[h, point w, tile w]                    of one channel and depth, transformed along w
    values[point, panel, product, pixel tile]   and along h; product = (channel, d), tiles flattened over the block
    products[channel tile, panel, point, row, lane]
    outputs[h in tile, ...]                     of one panel and channel tile; finish sees it as an image of every
                                                `tile`-th row

Of a dilated axis, a block has one phase, every n-th output; or, where the phases have few outputs (`across`), one tile
of many phases: then the tiles' first outputs are neighbours, and so are the second ones, `dilation` further on.

A block and channel tile with outputs that are not finite is computed once more without transforms, so that NaN and
infinity reach what they must and nothing else.
"""


cdef void winograd(const Job* whole, int64_t item, real* workspace, vector* sums) noexcept nogil:
    """Dilated axes are several convolutions, as the item says."""
    cdef Job job = whole[0]
    cdef int64_t i
    for i in range(1, 3):
        if whole.axis[i].phases > 1:
            take_phase(&job, &job.axis[i], item % whole.axis[i].phases, sizeof(real))
            item = item // whole.axis[i].phases
    winograd_block(&job, item, workspace, sums)


cdef inline void take_phase(Job* job, Axis* axis, int64_t phase, int64_t itemsize) noexcept nogil:
    cdef int64_t first = phase * (axis.tile * axis.dilation if axis.across else 1)
    axis.whole -= first
    axis.out = bounded(steps(axis.whole, axis.stride), 0, axis.out)
    axis.before -= first
    axis.head += first * sizeof(int64_t)
    job.y += first * (axis.y // axis.stride) * itemsize
    if job.add:
        job.add += first * (axis.add // axis.stride) * itemsize
    if job.bias:
        job.bias += first * (axis.bias // axis.stride) * itemsize


cdef void winograd_block(const Job* job, int64_t item, real* workspace, vector* sums) noexcept nogil:
    cdef Block block
    cdef char* flags = <char*> (workspace + job.flags_at)
    cdef int64_t channels, t, z, depths
    locate(job, item, &block)
    if block.count[1] < 1 or block.count[2] < 1:
        return  # of a phase with fewer outputs than others
    transform_input_of(job, &block, workspace, <vector*> workspace)
    memset(flags, 0, block.tiles)
    depths = block.count[0]
    block.count[0] = 1
    for z in range(depths):
        multiply_and_finish(job, &block, z, workspace, flags, <vector*> workspace)
        block.first[0] += 1
    block.first[0] -= depths
    channels = block.tiles
    block.tiles = 1
    for t in range(channels):
        if flags[t]:
            for z in range(depths):
                sum_directly(job, &block, workspace, sums)
                block.first[0] += 1
            block.first[0] -= depths
        block.tile += 1


cdef void sum_directly(const Job* job, const Block* block, real* workspace, vector* sums) noexcept nogil:
    """All outputs of the block's tiles; across phases, all first ones, all second ones, and so on."""
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef Block part = block[0]
    cdef int64_t i, j
    for i in range(h.tile if h.across else 1):
        part.first[1] = block.first[1] + i * h.dilation
        part.count[1] = outputs_of(h, block.first[1], block.count[1], i) if h.across else block.count[1]
        for j in range(w.tile if w.across else 1):
            part.first[2] = block.first[2] + j * w.dilation
            part.count[2] = outputs_of(w, block.first[2], block.count[2], j) if w.across else block.count[2]
            if part.count[1] > 0 and part.count[2] > 0:
                convolve_block(job, &part, workspace, sums)


cdef void transform_input_of(const Job* job, const Block* block, real* workspace, vector* as_vectors) noexcept nogil:
    """All channels of a block, staged some at a time or read where they lie."""
    cdef const Axis* axis
    cdef const real* x = <const real*> job.x + block.n * job.x_n + block.group * job.c * job.x_c
    cdef int64_t channel = 0, channels, c, z, i
    if job.values_in_place and reads_whole_tiles(job, block, 10 * sizeof(vector) // sizeof(real)):
        for i in range(3):
            axis = &job.axis[i]
            x += (block.first[i] * axis.stride - axis.before) * axis.x
        for c in range(job.c):
            transform_plane(job, block, x + c * job.x_c, job.axis[1].stride * job.axis[1].x, c, workspace, as_vectors)
        return
    while channel < job.c:
        channels = bounded(job.c - channel, 0, job.value_channels)
        stage(job, block, x + channel * job.x_c, channels, <vector*> workspace)
        for c in range(channels):
            for z in range(job.axis[0].staged):
                fill_behind(job, block, workspace + c * job.plane + z * job.axis[1].staged * job.row, as_vectors)
                transform_plane(
                    job, block, workspace + c * job.plane + z * job.axis[1].staged * job.row, job.row,
                    (channel + c) * job.axis[0].staged + z, workspace, as_vectors,
                )
        channel += channels


cdef inline bint reads_whole_tiles(const Job* job, const Block* block, int64_t behind) noexcept nogil:
    """Whether nothing need be staged."""
    return (
        block.count[1] % job.axis[1].tile == 0 and block.count[2] % job.axis[2].tile == 0
        and lies_inside(job, block, behind)
    )


cdef inline void fill_behind(const Job* job, const Block* block, real* plane, vector* as_vectors) noexcept nogil:
    """Zeros behind what is staged, in each run of rows and columns, where tiles reach further than the outputs."""
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef int64_t rows_more = tile_step(h) * tiles_of(h, block.count[1]) - block.count[1]
    cdef int64_t more = tile_step(w) * tiles_of(w, block.count[2]) - block.count[2]
    cdef int64_t run_h, run_w, i, j, height, width
    cdef real* row
    if rows_more == more == 0:
        return
    for run_h in range(h.runs):
        height = run_count(h, run_h) - (h.block - block.count[1])
        for i in range(height + rows_more):
            for run_w in range(w.runs):
                row = plane + i * job.row + (<const int64_t*> job.run_start)[run_w]
                width = run_count(w, run_w) - (w.block - block.count[2])
                for j in range(width if i < height else 0, width + more):
                    row[j] = 0
        plane += run_count(h, run_h) * job.row


cdef inline void transform_plane(
    const Job* job, const Block* block, const real* plane, int64_t step, int64_t product,
    real* workspace, vector* as_vectors,
) noexcept nogil:
    """One channel and depth, rows `step` apart, to its place among the `values`."""
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef int64_t down = tiles_of(h, block.count[1])
    cdef int64_t along = tiles_of(w, block.count[2])
    cdef int64_t width = w.points * job.row_pitch
    cdef int64_t apart = (<const int64_t*> job.run_start)[bounded(w.runs - 1, 0, 1)]
    cdef real* rows = workspace + job.rows_at
    cdef real* values = workspace + job.values_at + product * job.panel_pitch
    cdef int64_t run, i, slot = 0
    if w.points == 1:
        transform_rows(job, plane, step, down, along, values, as_vectors)
        return
    if w.across and w.runs == 1:
        apart = w.block
    for run in range(h.runs):
        for i in range(slot, slot + run_count(h, run) - h.block + down * tile_step(h)):
            transform_row(w, plane + i * step, apart, rows + i * width, along, job.row_pitch, as_vectors)
        slot += run_count(h, run)
    transform_rows(job, rows, width, down, along, values, as_vectors)


cdef void transform_row(
    const Axis* w, const real* row, int64_t apart, real* target, int64_t tiles, int64_t pitch, vector* as_vectors
) noexcept nogil:
    if w.points == 3:
        transform_row_by(3, 2, w.across, row, apart, target, tiles, pitch, as_vectors)
    elif w.points == 4:
        transform_row_by(4, 2, w.across, row, apart, target, tiles, pitch, as_vectors)
    elif w.points == 5 and w.tile == 2:
        transform_row_by(5, 2, False, row, apart, target, tiles, pitch, as_vectors)
    elif w.points == 5:
        transform_row_by(5, 4, w.across, row, apart, target, tiles, pitch, as_vectors)
    elif w.points == 9:
        transform_row_by(9, 4, False, row, apart, target, tiles, pitch, as_vectors)
    elif w.tile == 2:
        transform_row_by(6, 2, w.across, row, apart, target, tiles, pitch, as_vectors)
    else:
        transform_row_by(6, 4, w.across, row, apart, target, tiles, pitch, as_vectors)


cdef inline void transform_row_by(
    int points, int tile, bint across, const real* row, int64_t apart, real* target, int64_t tiles, int64_t pitch,
    vector* as_vectors,
) noexcept nogil:
    """One row along w: target[point, tile], in whole vectors."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef vector x[MOST_POINTS]
    cdef int64_t t = 0
    cdef int j
    while t < tiles:
        if across:
            for j in range(points):
                x[j] = (<const vector*> (row + j * apart + t))[0]
        else:
            load_columns(points, tile, row + t * tile, row + t * tile + apart, x)
        transform_input(points, tile, x)
        for j in range(points):
            (<vector*> (target + j * pitch + t))[0] = x[j]
        t += lanes


cdef void transform_rows(
    const Job* job, const real* rows, int64_t step, int64_t down, int64_t along, real* values, vector* as_vectors
) noexcept nogil:
    """Rows, `step` apart, along h, with tiles flattened: values[point, panel, this product, pixel]."""
    cdef const Axis* h = &job.axis[1]
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t points = job.axis[2].points
    cdef int64_t between = run_count(h, 0) * step  # the rows that a stride of 2 leaves
    cdef int64_t apart = h.block * step if h.across else step
    cdef int64_t i, t, count, pixel = 0
    cdef real* panel = values
    for i in range(down):
        t = 0
        while t < along:
            # whole vectors: what they leave behind their piece, the next one overwrites, or the next product
            count = bounded(along - t, 0, bounded(job.pixel_tile - pixel, 0, lanes))
            transform_piece(
                h, points, rows + t, rows + t + between, apart, job.row_pitch, panel + pixel, job.value_pitch,
                as_vectors,
            )
            t += count
            pixel += count
            if pixel == job.pixel_tile:
                pixel = 0
                panel += job.value_panel
        rows += tile_step(h) * step


cdef inline void transform_piece(
    const Axis* h, int64_t along, const real* rows, const real* between, int64_t step, int64_t row_pitch,
    real* values, int64_t pitch, vector* as_vectors,
) noexcept nogil:
    cdef int64_t j
    if h.points == 1:
        for j in range(along):
            (<vector*> (values + j * pitch))[0] = (<const vector*> (rows + j * row_pitch))[0]
    elif h.points == 3:
        transform_piece_by(3, 2, along, rows, between, step, row_pitch, values, pitch, as_vectors)
    elif h.points == 4:
        transform_piece_by(4, 2, along, rows, between, step, row_pitch, values, pitch, as_vectors)
    elif h.points == 5 and h.tile == 2:
        transform_piece_by(5, 2, along, rows, between, step, row_pitch, values, pitch, as_vectors)
    elif h.points == 5:
        transform_piece_by(5, 4, along, rows, between, step, row_pitch, values, pitch, as_vectors)
    elif h.points == 9:
        transform_piece_by(9, 4, along, rows, between, step, row_pitch, values, pitch, as_vectors)
    else:
        transform_piece_by(6, 4, along, rows, between, step, row_pitch, values, pitch, as_vectors)


cdef inline void transform_piece_by(
    int points, int tile, int64_t along, const real* rows, const real* between, int64_t step, int64_t row_pitch,
    real* values, int64_t pitch, vector* as_vectors,
) noexcept nogil:
    cdef vector x[MOST_POINTS]
    cdef int64_t j
    cdef int k
    cdef int halved = 3 if points == 5 and tile == 2 else 5 if points == 9 else points  # of every second row
    for j in range(along):
        for k in range(halved):
            x[k] = (<const vector*> (rows + k * step + j * row_pitch))[0]
        for k in range(halved, points):
            x[k] = (<const vector*> (between + (k - halved) * step + j * row_pitch))[0]
        transform_input(points, tile, x)
        for k in range(points):
            (<vector*> (values + (k * along + j) * pitch))[0] = x[k]


cdef void multiply_and_finish(
    const Job* job, const Block* block, int64_t z, real* workspace, char* flags, vector* as_vectors
) noexcept nogil:
    """All channel tiles of one depth, z of the block, a part of them at a time."""
    cdef int64_t first = 0, count, t, p
    cdef const real* values = workspace + job.values_at + z * job.panel_pitch
    cdef real* products = workspace + job.products_at
    cdef int64_t size = job.axis[1].points * job.axis[2].points * job.tile_rows * job.tile_lanes
    cdef int64_t tiles = tiles_of(&job.axis[2], block.count[2]) * tiles_of(&job.axis[1], block.count[1])
    cdef int64_t panels = (tiles + job.pixel_tile - 1) // job.pixel_tile
    while first < block.tiles:
        count = bounded(block.tiles - first, 0, job.part_tiles)
        multiply_points(job, block, block.tile + first, count, panels, values, <vector*> products)
        for t in range(count):
            for p in range(panels):
                flags[first + t] |= transform_back(
                    job, block, block.tile + first + t, p, products + (t * panels + p) * size,
                    workspace + job.outputs_at, as_vectors,
                )
        first += count


cdef void multiply_points(
    const Job* job, const Block* block, int64_t first, int64_t count, int64_t panels,
    const real* values, vector* products,
) noexcept nogil:
    """For each point: (channel tiles, products) × (products, panels); what the vectors run along stays in cache."""
    cdef int64_t points = job.axis[1].points * job.axis[2].points
    cdef int64_t vectors = job.tile_lanes * sizeof(real) // sizeof(vector)
    cdef int64_t size = job.products * job.channel_tile
    cdef const real* weights
    cdef const char* ahead
    cdef int64_t point, outer, inner, outers, inners, t, p, after, part
    outers, inners = (panels, count) if job.lanes_are_pixels else (count, panels)
    for point in range(points):
        weights = <const real*> job.transformed + first * job.products * job.channel_tile + (
            block.group * points + point
        ) * job.weights_plane
        for outer in range(outers):
            for inner in range(inners):
                t = inner if job.lanes_are_pixels else outer
                p = outer if job.lanes_are_pixels else inner
                # the weights of the next tile: those of one panel after the other, or a part with each panel
                after = size if t + 1 < count else job.weights_plane - t * size
                part = 0 if job.lanes_are_pixels else p * job.products * AHEAD
                ahead = <const char*> (weights + t * size)
                if part < size * <int64_t> sizeof(real):
                    ahead += after * <int64_t> sizeof(real) + part
                multiply_tile(
                    job, weights + t * size, values + p * job.value_panel, ahead,
                    products + ((t * panels + p) * points + point) * job.tile_rows * vectors,
                )
        values += job.value_pitch


cdef inline void multiply_tile(
    const Job* job, const real* weights, const real* panel, const char* ahead, vector* sums
) noexcept nogil:
    """Chain after chain, all in one call if there are no tables."""
    cdef int64_t vectors = job.tile_lanes * sizeof(real) // sizeof(vector)
    cdef int64_t step = job.chunk_products // job.axis[0].kernel * job.axis[0].staged * job.panel_pitch
    cdef const int64_t* rows = <const int64_t*> job.value_rows
    cdef const int64_t* places = <const int64_t*> job.value_weights
    cdef int64_t k = 0, together = job.chunk_products
    cdef Work work
    if job.axis[0].staged == 1:
        rows = places = NULL
        together = job.products
    work.steps = places if job.lanes_are_pixels else rows
    work.rows = rows if job.lanes_are_pixels else places
    work.factor_step = job.channel_tile if job.lanes_are_pixels else job.panel_pitch
    work.in_rows = False
    work.chain = job.chunk_products
    work.sums = <uintptr_t> sums
    work.step = work.target_step = job.tile_lanes
    while k < job.products:
        work.length = bounded(job.products - k, 0, together)
        work.first = k == 0
        work.ahead = <uintptr_t> ahead + k * AHEAD
        if job.lanes_are_pixels:
            tile(job.tile_rows, vectors, &work, weights, panel, sums)
        else:
            tile(job.tile_rows, vectors, &work, panel, weights, sums)
        weights += work.length * job.channel_tile
        panel += step
        k += work.length


cdef bint transform_back(
    const Job* job, const Block* block, int64_t channel_tile, int64_t panel,
    const real* products, real* outputs, vector* as_vectors,
) noexcept nogil:
    """One panel and channel tile, finished; whether an output is not finite."""
    cdef Job rows_apart = job[0]
    cdef Tile piece
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t vectors = job.tile_lanes // lanes
    cdef int64_t along = tiles_of(w, block.count[2])
    cdef int64_t tiles = bounded(along * tiles_of(h, block.count[1]) - panel * job.pixel_tile, 0, job.pixel_tile)
    cdef int64_t channels = bounded(job.o - channel_tile * job.channel_tile, 0, job.channel_tile)
    cdef int64_t together = tile_step(w)  # outputs of a tile that lie side by side
    cdef int64_t size = together * job.tile_rows * job.tile_lanes
    cdef int64_t i, j, lane, rows
    cdef vector junk[2]
    cdef real total = 0
    if job.lanes_are_pixels:
        piece.vectors = together * vectors
        piece.step = together * job.tile_lanes
        piece.pixel_step = 1
        piece.channel_step = piece.step
        i = channels
        j = tiles
    else:
        piece.vectors = vectors
        piece.step = job.tile_lanes
        piece.pixel_step = piece.step
        piece.channel_step = 1
        i = tiles
        j = channels
    for lane in range(vectors):
        broadcast(junk[lane], 0)
    transform_back_rows(job, products, i, vectors, outputs, junk)
    for lane in range(j):
        total += (<real*> junk)[lane]

    piece.image_rows = 1
    piece.in_output = False
    piece.channel = block.group * job.o + channel_tile * job.channel_tile
    piece.channels = channels
    piece.pixel = panel * job.pixel_tile * together
    piece.row = along * together
    piece.h = block.first[1] // tile_step(h)
    rows_apart.axis[1].y *= tile_step(h)
    rows_apart.axis[1].add *= tile_step(h)
    rows_apart.axis[1].bias *= tile_step(h)
    for i in range(h.tile):
        # of the rows i, h.tile + i, ... of the block
        rows = outputs_of(h, block.first[1], block.count[1], i)
        piece.pixels = bounded(rows * piece.row - piece.pixel, 0, tiles * together)
        piece.w = block.first[2]
        for j in range(w.tile // together):
            piece.width = outputs_of(w, block.first[2], block.count[2], j) if w.across else block.count[2]
            finish(&rows_apart, block, &piece, outputs, <vector*> outputs)
            piece.w += w.dilation
            outputs += size
        go_down(&rows_apart.y, h.y, h, sizeof(real))
        go_down(&rows_apart.add, h.add, h, sizeof(real))
        go_down(&rows_apart.bias, h.bias, h, sizeof(real))
    return total != 0


cdef inline void go_down(uintptr_t* array, int64_t step, const Axis* h, int64_t itemsize) noexcept nogil:
    """To the tiles' next row of an array that there is."""
    if array[0]:
        array[0] += (h.dilation if h.across else 1) * step * itemsize


cdef void transform_back_rows(
    const Job* job, const real* products, int64_t rows, int64_t vectors, real* outputs, vector* junk
) noexcept nogil:
    """products[point, row, lane] → outputs[h in tile, ...]; `junk` is no longer zero where a lane is not finite."""
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t pitch = job.tile_rows * job.tile_lanes
    cdef int64_t size = w.tile * pitch
    cdef int64_t row, v, at
    cdef vector half[MOST_TILE * MOST_POINTS]
    for row in range(rows):
        for v in range(vectors):
            at = row * job.tile_lanes + v * lanes
            back_along_h(h, w.points, products + at, pitch, half)
            if w.across:
                back_along_w(w, h.tile, half, outputs + at, pitch, size, False, junk + v)
            elif job.lanes_are_pixels:
                back_along_w(w, h.tile, half, outputs + at * w.tile, lanes, size, True, junk + v)
            else:
                at = row * job.tile_lanes * w.tile + v * lanes
                back_along_w(w, h.tile, half, outputs + at, job.tile_lanes, size, False, junk + v)


cdef inline void back_along_h(
    const Axis* h, int64_t along, const real* products, int64_t pitch, vector* half
) noexcept nogil:
    if h.points == 1:
        back_along_h_by(1, 1, along, products, pitch, half)
    elif h.points == 3:
        back_along_h_by(3, 2, along, products, pitch, half)
    elif h.points == 4:
        back_along_h_by(4, 2, along, products, pitch, half)
    elif h.points == 5 and h.tile == 2:
        back_along_h_by(5, 2, along, products, pitch, half)
    elif h.points == 5 and h.tile == 3:
        back_along_h_by(5, 3, along, products, pitch, half)
    elif h.points == 5:
        back_along_h_by(5, 4, along, products, pitch, half)
    elif h.points == 9:
        back_along_h_by(9, 4, along, products, pitch, half)
    elif h.tile == 2:
        back_along_h_by(6, 2, along, products, pitch, half)
    else:
        back_along_h_by(6, 4, along, products, pitch, half)


cdef inline void back_along_h_by(
    int points, int tile, int64_t along, const real* products, int64_t pitch, vector* half
) noexcept nogil:
    """half[h in tile, point w]"""
    cdef vector x[MOST_POINTS]
    cdef int64_t j
    cdef int k
    for j in range(along):
        for k in range(points):
            x[k] = (<const vector*> (products + (k * along + j) * pitch))[0]
        transform_output(points, tile, x)
        for k in range(tile):
            half[k * MOST_POINTS + j] = x[k]


cdef inline void back_along_w(
    const Axis* w, int64_t height, const vector* half, real* target, int64_t step, int64_t size,
    bint interleaved, vector* junk,
) noexcept nogil:
    if w.points == 1:
        back_along_w_by(1, 1, height, half, target, step, size, interleaved, junk)
    elif w.points == 3:
        back_along_w_by(3, 2, height, half, target, step, size, interleaved, junk)
    elif w.points == 4:
        back_along_w_by(4, 2, height, half, target, step, size, interleaved, junk)
    elif w.points == 5 and w.tile == 2:
        back_along_w_by(5, 2, height, half, target, step, size, interleaved, junk)
    elif w.points == 5 and w.tile == 3:
        back_along_w_by(5, 3, height, half, target, step, size, interleaved, junk)
    elif w.points == 5:
        back_along_w_by(5, 4, height, half, target, step, size, interleaved, junk)
    elif w.points == 9:
        back_along_w_by(9, 4, height, half, target, step, size, interleaved, junk)
    elif w.tile == 2:
        back_along_w_by(6, 2, height, half, target, step, size, interleaved, junk)
    else:
        back_along_w_by(6, 4, height, half, target, step, size, interleaved, junk)


cdef inline void back_along_w_by(
    int points, int tile, int64_t height, const vector* half, real* target, int64_t step, int64_t size,
    bint interleaved, vector* junk,
) noexcept nogil:
    """The outputs of a tile side by side, lane by lane, or as vectors `step` apart."""
    cdef vector x[MOST_POINTS]
    cdef int64_t i
    cdef int j
    for i in range(height):
        for j in range(points):
            x[j] = half[i * MOST_POINTS + j]
        transform_output(points, tile, x)
        for j in range(tile):
            junk[0] += x[j] - x[j]
        if interleaved:
            store_columns(tile, x, target, x)
        else:
            for j in range(tile):
                (<vector*> (target + j * step))[0] = x[j]
        target += size
