"""Input → a block of it in cache: through strides and index maps, padding resolved, every column step made unit.

    staged[channel, run, d, h, w]    w contiguous; a run's columns, `stride` apart in the input, lie side by side

Rows are written in whole vectors, in ascending order, and each plane of a run has room for one more vector at its end.

so that the pixel (h, w) of the block reads tap k at staged[rows[k] + h * row + w], whatever stride, dilation, layout, and padding are.
"""


cdef struct Block:
    # Output positions first .. first + count of one image and group, and the channel tiles that are computed of it
    int64_t n
    int64_t group
    int64_t tile
    int64_t tiles
    int64_t first[3]
    int64_t count[3]


cdef inline int64_t source_of(const Axis* axis, int64_t padded) noexcept nogil:
    """Input position of a padded position; -1 is the constant."""
    cdef int64_t position = padded - axis.before
    if position < 0:
        return (<const int64_t*> axis.head)[padded]
    if position >= axis.size:
        return (<const int64_t*> axis.tail)[position - axis.size]
    return position


cdef inline int64_t run_origin(const Axis* axis, int64_t run) noexcept nogil:
    return (<const int64_t*> axis.run_origin)[run]


cdef inline int64_t run_count(const Axis* axis, int64_t run) noexcept nogil:
    return (<const int64_t*> axis.run_count)[run]


cdef inline int64_t bounded(int64_t value, int64_t low, int64_t high) noexcept nogil:
    return low if value < low else high if value > high else value


cdef void stage(const Job* job, const Block* block, const real* source, int64_t channels, vector* staged) noexcept nogil:
    cdef const Axis* w = &job.axis[2]
    cdef int64_t run, count, origin, low, high
    for run in range(w.runs):
        count = run_count(w, run) - (w.block - block.count[2])
        origin = block.first[2] * w.stride + run_origin(w, run)
        # padded positions origin + a * stride: a < low lie before the input, low <= a < high in it, the rest behind it
        low = bounded(steps(w.before - origin, w.stride), 0, count)
        high = bounded(steps(w.before + w.size - origin, w.stride), low, count)
        stage_columns[real, vector](job, block, source, channels, <vector*> (<real*> staged + (<const int64_t*> job.run_start)[run]), origin, low, high, count)


cdef inline void stage_columns(
    const Job* job, const Block* block, const real* source, int64_t channels, vector* staged,
    int64_t origin, int64_t low, int64_t high, int64_t count,
) noexcept nogil:
    """One run of columns, for every row and channel."""
    cdef const Axis* d = &job.axis[0]
    cdef const Axis* h = &job.axis[1]
    cdef int64_t run_d, run_h, i, j, c, depth, line, slot_d = 0, slot_h
    cdef real* target
    for run_d in range(d.runs):
        for i in range(run_count(d, run_d) - (d.block - block.count[0])):
            depth = source_of(d, block.first[0] * d.stride + run_origin(d, run_d) + i * d.stride)
            slot_h = 0
            for run_h in range(h.runs):
                for j in range(run_count(h, run_h) - (h.block - block.count[1])):
                    line = source_of(h, block.first[1] * h.stride + run_origin(h, run_h) + j * h.stride)
                    target = <real*> staged + ((slot_d + i) * h.staged + slot_h + j) * job.row
                    if depth >= 0 and line >= 0:
                        stage_row[real, vector](
                            job, source + depth * d.x + line * h.x, channels, <vector*> target, origin, low, high, count
                        )
                    else:
                        for c in range(channels):
                            fill_row(<vector*> (target + c * job.plane), <real> job.padding_value, count)
                slot_h += run_count(h, run_h)
        slot_d += run_count(d, run_d)


cdef inline void stage_row(
    const Job* job, const real* source, int64_t channels, vector* target,
    int64_t origin, int64_t low, int64_t high, int64_t count,
) noexcept nogil:
    """A row of every channel: (channels, w) at strides (x_c, x) → (channels, staged w) at strides (plane, 1)."""
    cdef const Axis* w = &job.axis[2]
    cdef int64_t c, a
    cdef const real* row
    cdef real* to
    for c in range(channels):
        row = source + c * job.x_c
        to = <real*> target + c * job.plane
        if high > low:
            load_row(<vector*> (to + low), row + (origin + low * w.stride - w.before) * w.x, w.stride * w.x, high - low)
        if w.constant:
            for a in range(low):
                to[a] = <real> job.padding_value
            for a in range(high, count):
                to[a] = <real> job.padding_value
        else:
            for a in range(low):
                to[a] = border(job, w, row, origin + a * w.stride)
            for a in range(high, count):
                to[a] = border(job, w, row, origin + a * w.stride)


cdef inline int64_t steps(int64_t distance, int64_t stride) noexcept nogil:
    """Steps of `stride` that reach `distance`, rounded up."""
    return distance if stride == 1 else (distance + stride - 1) // stride


cdef inline real border(const Job* job, const Axis* axis, const real* row, int64_t padded) noexcept nogil:
    cdef int64_t position = source_of(axis, padded)
    return <real> job.padding_value if position < 0 else row[position * axis.x]


cdef inline bint lies_inside(const Job* job, const Block* block) noexcept nogil:
    """Whether the block reads no padding, and whole vectors from its last pixels would stay within the input's memory."""
    cdef const Axis* axis
    cdef int64_t i, start, stop, last = block.n * job.x_n + ((block.group + 1) * job.c - 1) * job.x_c + job.tile_lanes
    for i in range(3):
        axis = &job.axis[i]
        start = block.first[i] * axis.stride - axis.before
        stop = start + (block.count[i] - 1) * axis.stride + axis.last_tap
        if start < 0 or stop >= axis.size:
            return False
        last += stop * axis.x
    if job.band:
        last += (job.tile_rows - 1) * job.axis[1].x
    return last <= job.x_last
