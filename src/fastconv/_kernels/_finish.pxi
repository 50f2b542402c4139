"""The last pass over a tile, while it is in cache: + bias, + add, activation, and out through any strides.

The tile holds sums[row, lane]; pixels run along one of them, output channels along the other, or both are image axes.
"""


cdef struct Tile:
    # Pixel p of the tile is the output at (h + (p + pixel) // row, w + (p + pixel) % row) of the block,
    # if that is below w + width
    int64_t channel         # first one, of all groups
    int64_t channels
    int64_t image_rows      # rows of sums for each channel, where they run along pixels
    int64_t pixel
    int64_t pixels
    int64_t row
    int64_t width
    int64_t h
    int64_t w
    int64_t vectors         # in a row of sums
    int64_t step            # elements from one row of sums to the next
    int64_t channel_step    # distance of two channels' sums
    int64_t pixel_step
    bint in_output          # the sums lie where the output is to lie,
    int64_t wanted          # and these many of a row belong to it


cdef inline int64_t next_piece(const Tile* tile, int64_t* lane, int64_t* h, int64_t* w) noexcept nogil:
    """Length of the next piece of an image row from `lane` on; 0 at the tile's end.  Moves `lane` to its start."""
    cdef int64_t width
    while lane[0] < tile.pixels:
        h[0] = quotient(tile.pixel + lane[0], tile.row)
        w[0] = tile.pixel + lane[0] - h[0] * tile.row
        width = tile.width - w[0]
        if width > 0:
            h[0] += tile.h
            w[0] += tile.w
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


cdef inline void store_piece(
    const real* sums, const Tile* tile, real* y,
    int64_t channel_stride, int64_t w_stride, int64_t count, vector* as_vectors,
) noexcept nogil:
    cdef int64_t i, p
    if tile.pixel_step == 1 and w_stride == 1:
        for i in range(tile.channels):
            store_row(<vector*> (y + i * channel_stride), sums + i * tile.channel_step, count)
    elif tile.pixel_step == 1 and w_stride == 2:
        for i in range(tile.channels):
            store_row_apart(<vector*> (y + i * channel_stride), sums + i * tile.channel_step, count)
    elif tile.channel_step == 1 and channel_stride == 1:
        for p in range(count):
            store_row(<vector*> (y + p * w_stride), sums + p * tile.pixel_step, tile.channels)
    elif tile.channel_step == 1 and w_stride == 1:
        transpose[real, vector](sums, tile.pixel_step, count, tile.channels, y, channel_stride, as_vectors)
    elif tile.pixel_step == 1 and channel_stride == 1:
        transpose[real, vector](sums, tile.channel_step, tile.channels, count, y, w_stride, as_vectors)
    elif tile.channel_step == 1:
        for i in range(tile.channels):
            for p in range(count):
                y[i * channel_stride + p * w_stride] = sums[i + p * tile.pixel_step]
    else:
        for p in range(count):
            for i in range(tile.channels):
                y[i * channel_stride + p * w_stride] = sums[i * tile.channel_step + p]


cdef void finish_row(const Job* job, real* row, int64_t width, const real* bias, vector* as_vectors) noexcept nogil:
    """Tied bias (NULL: none) and activation of `width` outputs of one channel, where they lie."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t i = 0
    cdef vector v
    while i < width:
        load_part(v, row + i, bounded(width - i, 0, lanes))
        if bias:
            add_scalar(v, bias[0])
        activate(&v, 1, job.activation)
        store_part(row + i, v, bounded(width - i, 0, lanes))
        i += lanes


cdef void add_bias(const Job* job, const Tile* tile, real* sums, vector* as_vectors) noexcept nogil:
    """A tied bias: one value for each channel."""
    cdef const real* bias = <const real*> job.bias + tile.channel * job.bias_o
    cdef int64_t i, r, v, rows = tile.image_rows
    cdef real values[MOST_LANES]
    if job.lanes_are_pixels:
        for i in range(tile.channels):
            for r in range(i * rows, (i + 1) * rows):
                for v in range(tile.vectors):
                    add_scalar((<vector*> (sums + r * tile.step))[v], bias[i * job.bias_o])
    else:
        for i in range(job.tile_lanes):
            values[i] = bias[i * job.bias_o] if i < tile.channels else 0
        for i in range(tile.pixels):
            for v in range(tile.vectors):
                (<vector*> (sums + i * tile.step))[v] += (<vector*> values)[v]


cdef void finish(const Job* job, const Block* block, const Tile* tile, real* sums, vector* as_vectors) noexcept nogil:
    cdef const Axis* axis = &job.axis[0]
    cdef int64_t lane = 0, channel, i, h, w, count
    cdef bint tied = axis[0].bias == 0 and axis[1].bias == 0 and axis[2].bias == 0
    cdef const real* bias = <const real*> job.bias
    if tile.in_output and job.lanes_are_pixels:
        for channel in range(tile.channels):
            for i in range(tile.image_rows):
                finish_row(
                    job, sums + channel * tile.channel_step + i * tile.step, tile.wanted,
                    bias + (tile.channel + channel) * job.bias_o if bias else NULL, as_vectors,
                )
        return
    if job.bias and tied:
        add_bias(job, tile, sums, as_vectors)
    if (job.bias and not tied) or job.add:
        count = next_piece(tile, &lane, &h, &w)
        while count:
            if job.bias and not tied:
                add_strided(
                    sums + lane * tile.pixel_step, tile,
                    <const real*> job.bias + tile.channel * job.bias_o
                    + block.first[0] * axis[0].bias + h * axis[1].bias + w * axis[2].bias,
                    job.bias_o, axis[2].bias, count,
                )
            if job.add:
                add_strided(
                    sums + lane * tile.pixel_step, tile,
                    <const real*> job.add + block.n * job.add_n + tile.channel * job.add_o
                    + block.first[0] * axis[0].add + h * axis[1].add + w * axis[2].add,
                    job.add_o, axis[2].add, count,
                )
            lane += count
            count = next_piece(tile, &lane, &h, &w)
        lane = 0
    if job.activation:
        for i in range(job.tile_rows if job.lanes_are_pixels else tile.pixels):
            activate(<vector*> (sums + i * tile.step), tile.vectors, job.activation)
    if tile.in_output:
        return
    count = next_piece(tile, &lane, &h, &w)
    while count:
        store_piece(
            sums + lane * tile.pixel_step, tile,
            <real*> job.y + block.n * job.y_n + tile.channel * job.y_o
            + block.first[0] * axis[0].y + h * axis[1].y + w * axis[2].y,
            job.y_o, axis[2].y, count, as_vectors,
        )
        lane += count
        count = next_piece(tile, &lane, &h, &w)
