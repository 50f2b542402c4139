"""Block → panels, one for the pixels of each tile: panel[k, pixel].

Pixels are flattened across the rows of the block, so that small maps fill the lanes. Several panels are packed at once:
rows of the input are far apart, and reading more of each one makes up for going there.
"""


cdef struct Panel:
    # The pixels of one tile, packed or where they lie, and the chain of products that is added to it
    Tile tile
    Chain chain
    uintptr_t pixels
    const int64_t* steps    # where the operands of its products lie: NULL where both sides are packed
    const int64_t* operand_rows
    bint in_output          # they are one piece of the output, where whole tiles may be stored,
    int64_t output          # and this is its offset
    int64_t rows[CHAIN]     # the chain's, where it leaves products out
    int64_t weights[CHAIN]


cdef void pack(
    const Job* job, const real* block, Panel* panels, int64_t count, real* packed, vector* as_vectors
) noexcept nogil:
    """Panels that take the same products.

    Each piece of an image row is copied in whole vectors; what they leave behind it, the next piece overwrites. Where
    nothing may be read behind the block, parts of vectors come first.
    """
    cdef const Chain* chain = &panels[0].chain
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t width = panels[0].tile.width
    cdef int64_t pieces = 0, parts = 0, lane, piece, k, p, h, w
    cdef int64_t to[PANELS * MOST_LANES]
    cdef int64_t offset[PANELS * MOST_LANES]
    cdef int64_t part_to[PANELS * MOST_LANES]
    cdef int64_t part_offset[PANELS * MOST_LANES]
    cdef int64_t part_length[PANELS * MOST_LANES]
    cdef vector part
    cdef const real* source
    cdef real* target
    for p in range(count):
        panels[p].pixels = <uintptr_t> (packed + p * job.panel_step)
        lane = 0
        while lane < panels[p].tile.pixels:
            h = quotient(panels[p].tile.pixel + lane, width)
            w = panels[p].tile.pixel + lane - h * width
            piece = bounded(width - w, 0, panels[p].tile.pixels - lane)
            while piece > 0:
                if chain.exact and piece < lanes:
                    part_to[parts] = p * job.panel_step + lane
                    part_offset[parts] = h * chain.row + w
                    part_length[parts] = piece
                    parts += 1
                else:
                    to[pieces] = p * job.panel_step + lane
                    offset[pieces] = h * chain.row + w
                    pieces += 1
                w += bounded(piece, 0, lanes)
                lane += bounded(piece, 0, lanes)
                piece -= lanes
    for k in range(chain.length if parts > 0 else 0):
        for p in range(parts):
            load_part(part, block + chain.rows[k] + part_offset[p], part_length[p])
            (<vector*> (packed + k * job.panel_pitch + part_to[p]))[0] = part
    for k in range(chain.length):
        source = block + chain.rows[k]
        target = packed + k * job.panel_pitch
        for p in range(pieces):
            (<vector*> (target + to[p]))[0] = (<const vector*> (source + offset[p]))[0]
