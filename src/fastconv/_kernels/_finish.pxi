"""The last pass over a tile, while it is in cache: + bias, + add, activation, and out through any strides.

The tile holds sums[row, lane]; pixels run along one of the two, output channels along the other.
"""


cdef struct Tile:
    # Channels and pixels of one tile, as positions in the output; pixel p lies at (p // row, p % row) of the block
    int64_t channel         # first one, of all groups
    int64_t channels
    int64_t pixel           # first one
    int64_t pixels
    int64_t row             # pixels from one image row to the next; those beyond the block's width are no output
    int64_t channel_step    # distance in the tile
    int64_t pixel_step


cdef inline int64_t next_piece(const Tile* tile, const Block* block, int64_t* lane, int64_t* h, int64_t* w) noexcept nogil:
    """Length of the next piece of an image row at or after `lane`; 0 at the tile's end.  Moves `lane` to its first pixel."""
    cdef int64_t width
    while lane[0] < tile.pixels:
        h[0] = (tile.pixel + lane[0]) // tile.row
        w[0] = tile.pixel + lane[0] - h[0] * tile.row
        width = block.count[2] - w[0]
        if width > 0:
            return width if width < tile.pixels - lane[0] else tile.pixels - lane[0]
        lane[0] += tile.row - w[0]
    return 0


cdef void add_strided(
    real* sums, const Tile* tile, const real* values, int64_t channel_stride, int64_t w_stride, int64_t count
) noexcept nogil:
    cdef int64_t i, p
    for i in range(tile.channels):
        for p in range(count):
            sums[i * tile.channel_step + p * tile.pixel_step] += values[i * channel_stride + p * w_stride]


cdef void store_piece(
    const real* sums, const Tile* tile, real* y, int64_t channel_stride, int64_t w_stride, int64_t count
) noexcept nogil:
    cdef int64_t i, p
    if tile.pixel_step == 1 and w_stride == 1:
        for i in range(tile.channels):
            memcpy(y + i * channel_stride, sums + i * tile.channel_step, <size_t> count * sizeof(real))
    elif tile.channel_step == 1 and channel_stride == 1:
        for p in range(count):
            memcpy(y + p * w_stride, sums + p * tile.pixel_step, <size_t> tile.channels * sizeof(real))
    else:
        for i in range(tile.channels):
            for p in range(count):
                y[i * channel_stride + p * w_stride] = sums[i * tile.channel_step + p * tile.pixel_step]


cdef void add_bias(const Job* job, const Tile* tile, real* sums, vector* rows) noexcept nogil:
    """A tied bias: one value for each channel."""
    cdef const real* bias = <const real*> job.bias + tile.channel * job.bias_o
    cdef int64_t vectors = job.tile_lanes * sizeof(real) // sizeof(vector)
    cdef int64_t i, v
    cdef real values[MOST_LANES]
    if job.lanes_are_pixels:
        for i in range(tile.channels):
            for v in range(vectors):
                add_scalar(rows[i * vectors + v], bias[i * job.bias_o])
    else:
        for i in range(job.tile_lanes):
            values[i] = bias[i * job.bias_o] if i < tile.channels else 0
        for i in range(tile.pixels):
            for v in range(vectors):
                rows[i * vectors + v] += (<vector*> values)[v]


cdef void finish(const Job* job, const Block* block, const Tile* tile, real* sums, vector* rows) noexcept nogil:
    """`sums` and `rows` are the same tile, as scalars and as vectors."""
    cdef const Axis* axis = &job.axis[0]
    cdef int64_t d = block.first[0]
    cdef int64_t lane = 0, h, w, count
    cdef bint tied = axis[0].bias == 0 and axis[1].bias == 0 and axis[2].bias == 0
    if job.bias and tied:
        add_bias(job, tile, sums, rows)
    if (job.bias and not tied) or job.add:
        count = next_piece(tile, block, &lane, &h, &w)
        while count:
            h += block.first[1]
            w += block.first[2]
            if job.bias and not tied:
                add_strided(
                    sums + lane * tile.pixel_step, tile,
                    <const real*> job.bias + tile.channel * job.bias_o + d * axis[0].bias + h * axis[1].bias + w * axis[2].bias,
                    job.bias_o, axis[2].bias, count,
                )
            if job.add:
                add_strided(
                    sums + lane * tile.pixel_step, tile,
                    <const real*> job.add + block.n * job.add_n + tile.channel * job.add_o
                    + d * axis[0].add + h * axis[1].add + w * axis[2].add,
                    job.add_o, axis[2].add, count,
                )
            lane += count
            count = next_piece(tile, block, &lane, &h, &w)
        lane = 0
    activate(rows, job.tile_rows * job.tile_lanes * sizeof(real) // sizeof(vector), job.activation)
    count = next_piece(tile, block, &lane, &h, &w)
    while count:
        h += block.first[1]
        w += block.first[2]
        store_piece(
            sums + lane * tile.pixel_step, tile,
            <real*> job.y + block.n * job.y_n + tile.channel * job.y_o + d * axis[0].y + h * axis[1].y + w * axis[2].y,
            job.y_o, axis[2].y, count,
        )
        lane += count
        count = next_piece(tile, block, &lane, &h, &w)
