"""Input → a block of it in cache: through strides and index maps, padding resolved, every column step made unit.

    staged[channel, run, d, h, w]    w contiguous; a run's columns, `stride` apart in the input, lie side by side

Rows are written in whole vectors, in ascending order, and each plane of a run has room for one more vector at its end.

so that the pixel (h, w) of the block reads tap k at staged[rows[k] + h * row + w], whatever stride, dilation, layout,
and padding are.
"""


cdef struct Block:
    # Output positions first .. first + count of one image and group, or several groups, and the channel tiles that are
    # computed of them
    int64_t n
    int64_t group
    int64_t groups          # of these, where they are bands that take their rows from the input
    int64_t tile
    int64_t tiles
    int64_t first[3]
    int64_t count[3]


cdef struct Coming:
    # Memory that is read after the block, or part of a block, at hand: pieces of so many bytes
    uintptr_t piece
    int64_t bytes
    int64_t pitch
    int64_t pieces
    int64_t at


cdef inline const char* next_lines(Coming* coming, int64_t lines) noexcept nogil:
    """The next so many lines of it; the last ones of a piece may lie behind."""
    cdef const char* start = <const char*> coming.piece + coming.at
    coming.at += lines * LINE
    if coming.at >= coming.bytes:
        coming.at = 0
        coming.piece += coming.pitch
        coming.pieces -= 1
    return start


cdef inline int64_t source_of(const Axis* axis, int64_t padded) noexcept nogil:
    """Input position of a padded position; -1 is the constant."""
    cdef int64_t position = padded - axis.before
    if position < 0:
        return (<const int64_t*> axis.head)[padded]
    if position >= axis.size:
        return (<const int64_t*> axis.tail)[position - axis.size]
    return position


cdef inline int64_t run_count(const Axis* axis, int64_t run) noexcept nogil:
    return (<const int64_t*> axis.run_count)[run]


cdef inline int64_t bounded(int64_t value, int64_t low, int64_t high) noexcept nogil:
    return low if value < low else high if value > high else value


cdef inline int64_t quotient(int64_t number, int64_t base) noexcept nogil:
    """Half as long, a division takes processors a third of the time, which small tiles and blocks feel."""
    return number // base if (number | base) >> 32 else <uint32_t> number // <uint32_t> base


cdef struct Run:
    # Padded positions origin + a * step, 0 <= a < count:
    # a < low lie before the input, low <= a < high in it, the rest behind it
    int64_t origin
    int64_t low
    int64_t high
    int64_t count


cdef inline void locate_run(const Axis* axis, int64_t first, int64_t count, int64_t run, Run* located) noexcept nogil:
    """The run as a block of `count` outputs from `first` on reads it."""
    located.origin = first * axis.stride + (<const int64_t*> axis.run_origin)[run]
    located.count = run_count(axis, run) - (axis.block - count) * (axis.stride // axis.step)
    located.low = bounded(steps(axis.before - located.origin, axis.step), 0, located.count)
    located.high = bounded(steps(axis.before + axis.size - located.origin, axis.step), located.low, located.count)


cdef void stage(
    const Job* job, const Block* block, const real* source, int64_t channels, vector* staged
) noexcept nogil:
    """One plane after the other: all runs of its columns are read while it is in cache."""
    cdef const Axis* d = &job.axis[0]
    cdef const Axis* w = &job.axis[2]
    cdef const real* plane
    cdef int64_t run_d, run_w, i, c, depth, slot = 0
    cdef Run planes, columns
    for run_d in range(d.runs):
        locate_run(d, block.first[0], block.count[0], run_d, &planes)
        for i in range(planes.count):
            depth = source_of(d, planes.origin + i * d.stride)
            for c in range(channels):
                plane = <const real*> NULL if depth < 0 else source + c * job.x_c + depth * d.x
                for run_w in range(w.runs):
                    locate_run(w, block.first[2], block.count[2], run_w, &columns)
                    stage_plane[real, vector](
                        job, block, &columns, run_w == 0, plane,
                        <vector*> (
                            <real*> staged + c * job.plane + (<const int64_t*> job.run_start)[run_w]
                            + (slot + i) * job.axis[1].staged * job.row
                        ),
                    )
        slot += run_count(d, run_d)


cdef void stage_plane(
    const Job* job, const Block* block, const Run* columns, bint expects, const real* plane, vector* target
) noexcept nogil:
    """One run of columns of one channel at one depth (NULL: all constant): its rows in ascending order.

    What holds for all rows is found before: each store of a vector may change what a pointer leads to.
    """
    cdef const Axis* h = &job.axis[1]
    cdef const Axis* w = &job.axis[2]
    cdef Run across = columns[0]
    cdef int64_t length = across.high - across.low
    cdef int64_t inside = (across.origin + across.low * w.step - w.before) * w.x
    cdef int64_t step = w.step * w.x
    cdef int64_t h_x = h.x, h_stride = h.stride, row = job.row
    # The same row of the next channel: rows are too short for processors to foresee them
    cdef int64_t ahead = inside + job.x_c if expects and w.x == 1 and job.c > 1 else 0
    cdef int64_t bytes = length * step * sizeof(real) if ahead else 0
    cdef bint constant = w.constant
    cdef real value = <real> job.padding_value
    cdef int64_t run, j, line, first
    cdef real* to = <real*> target
    cdef const real* source
    cdef Run rows
    for run in range(h.runs):
        locate_run(h, block.first[1], block.count[1], run, &rows)
        first = rows.origin - h.before
        for j in range(rows.count):
            line = first + j * h_stride
            if j < rows.low or j >= rows.high:
                line = source_of(h, rows.origin + j * h_stride)
            if plane == NULL or line < 0:
                fill_row(<vector*> to, value, across.count)
            else:
                source = plane + line * h_x
                expect_rows(<uintptr_t> (source + ahead), 1, 0, bytes, False)
                if constant:  # in whole vectors, of which the next copy overwrites what is too much
                    fill_row(<vector*> to, value, across.low)
                load_row(<vector*> (to + across.low), source + inside, step, length)
                if constant:
                    fill_row(<vector*> (to + across.high), value, across.count - across.high)
                else:
                    fill_border[real](job, &across, 0, across.low, source, to)
                    fill_border[real](job, &across, across.high, across.count, source, to)
            to += row
        to += (run_count(h, run) - rows.count) * row


cdef void fill_border(
    const Job* job, const Run* columns, int64_t first, int64_t last, const real* row, real* target
) noexcept nogil:
    """Columns outside of the input, by their map."""
    cdef const Axis* w = &job.axis[2]
    cdef int64_t a, position
    for a in range(first, last):
        position = source_of(w, columns.origin + a * w.step)
        target[a] = <real> job.padding_value if position < 0 else row[position * w.x]


cdef inline void expect_block(
    const Job* job, const Block* block, const real* source, int64_t channels, Coming* coming
) noexcept nogil:
    """What `stage` is going to read, if those are rows of one plane for each channel."""
    cdef const Axis* h = &job.axis[1]
    cdef int64_t first = block.first[1] * h.stride - h.before
    cdef int64_t last = bounded(first + (block.count[1] - 1) * h.stride + h.last_tap, 0, h.size - 1)
    first = bounded(first, 0, h.size - 1)
    coming.pieces = channels if job.axis[0].staged == 1 and job.axis[2].x == 1 and h.x > 0 else 0
    coming.piece = <uintptr_t> (source + first * h.x)
    coming.bytes = ((last - first) * h.x + job.axis[2].size) * sizeof(real)
    coming.pitch = job.x_c * sizeof(real)
    coming.at = 0


cdef inline int64_t steps(int64_t distance, int64_t stride) noexcept nogil:
    """Steps of `stride` that reach `distance`, rounded up; none where it is negative."""
    return distance if stride == 1 else 0 if distance < 0 else quotient(distance + stride - 1, stride)


cdef inline bint lies_outside(const Axis* axis, int64_t first, int64_t last, int64_t tap) noexcept nogil:
    """Whether a tap reads padding, all before or all behind the input, for the outputs first .. last."""
    cdef int64_t offset = tap * axis.dilation - axis.before
    return last * axis.stride + offset < 0 or first * axis.stride + offset >= axis.size


cdef inline bint lies_inside(const Job* job, const Block* block, int64_t behind) noexcept nogil:
    """Whether the block reads no padding, and so many elements behind its last one are within the input's memory."""
    cdef const Axis* axis
    cdef int64_t i, start, stop, last = block.n * job.x_n + ((block.group + 1) * job.c - 1) * job.x_c + behind
    for i in range(3):
        axis = &job.axis[i]
        start = block.first[i] * axis.stride - axis.before
        stop = start + (block.count[i] - 1) * axis.stride + axis.last_tap
        if start < 0 or stop >= axis.size:
            return False
        last += stop * axis.x
    if job.band:
        last += (job.band_rows - 1) * job.axis[1].stride * job.axis[1].x
    return last <= job.x_last
