"""Block → panels of a tile's pixels: panel[k, pixel].

Pixels are flattened across the rows of the block, so that small maps fill the lanes.
"""


cdef void pack(
    const Job* job, const real* block, const int64_t* rows, int64_t row, int64_t width,
    int64_t chain, int64_t pixel, int64_t pixels, vector* panel,
) noexcept nogil:
    """Each piece of an image row is copied in whole vectors; what they leave behind it, the next piece overwrites."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t vectors = (job.pixel_tile + lanes - 1) // lanes
    cdef int64_t pieces = 0, lane = 0, k, p, v, h, w
    cdef int64_t to[MOST_LANES]
    cdef int64_t offset[MOST_LANES]
    cdef const real* source
    cdef real* target
    while lane < pixels:
        h = (pixel + lane) // width
        w = pixel + lane - h * width
        to[pieces] = lane
        offset[pieces] = h * row + w
        lane += width - w
        pieces += 1
    for k in range(chain):
        source = block + rows[k]
        target = <real*> panel + k * job.pixel_tile
        if vectors == 2:
            for p in range(pieces):
                (<vector*> (target + to[p]))[0] = (<const vector*> (source + offset[p]))[0]
                (<vector*> (target + to[p]))[1] = (<const vector*> (source + offset[p]))[1]
        else:
            for p in range(pieces):
                for v in range(vectors):
                    (<vector*> (target + to[p]))[v] = (<const vector*> (source + offset[p]))[v]
        prefetch(source + offset[0] + job.pixel_tile)  # the next panel's
