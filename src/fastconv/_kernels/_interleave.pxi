"""grad_input of a depthwise convolution at stride 2 along the row: both phases of a row at once, stored side by side.

    y[p] = sum of weight[k] * x[(p + before - k * dilation) / stride] over the taps k for which that is an element

Even and odd columns are summed in vectors of their own, from rows that are read where they lie, and meet in registers
when they are stored. Taps come last to first, as in a forward convolution with the kernel turned round.
"""


cdef enum:
    NEAR_LINES = 8  # rows that are walked together: lines of the output are whole before they leave the cache
    PHASE_VECTORS = 4  # of each phase, at once


cdef struct Sources:
    # What one row of the output is summed from
    int64_t count
    uintptr_t x[CHAIN]              # rows of the input,
    uintptr_t weight[CHAIN]         # and the rows of the kernel that meet them


cdef struct Shifts:
    # For each phase of the columns and each of its taps
    int64_t count[2]
    int64_t tap[2][CHAIN]
    int64_t shift[2][CHAIN]         # of the input's columns, against half of the output's
    bint inside                     # whether all of some columns are input; else
    lane_mask mask[2][CHAIN][PHASE_VECTORS]  # lanes that are input, of each vector of some columns


cdef inline int64_t source_row(const Axis* axis, int64_t position, int64_t tap) noexcept nogil:
    """Element of the input that a tap brings to a position of the output, or -1."""
    cdef int64_t distance = position + axis.before - tap * axis.dilation
    cdef int64_t element = distance
    if axis.stride == 2:  # the usual one, without a division
        element = distance >> 1
    elif axis.stride > 2:
        element = distance // axis.stride
    return element if distance >= 0 and element * axis.stride == distance and element < axis.size else -1


cdef void find_sources(
    const Job* job, int64_t d, int64_t h, const real* x, const real* weight, Sources* sources
) noexcept nogil:
    cdef const Axis* axis = &job.axis[0]
    cdef int64_t i, j, depth, row
    sources.count = 0
    for i in range(axis[0].kernel - 1, -1, -1):
        depth = source_row(&axis[0], d, i)
        if depth >= 0:
            for j in range(axis[1].kernel - 1, -1, -1):
                row = source_row(&axis[1], h, j)
                if row >= 0:
                    sources.x[sources.count] = <uintptr_t> (x + depth * axis[0].x + row * axis[1].x)
                    sources.weight[sources.count] = <uintptr_t> (weight + (i * axis[1].kernel + j) * axis[2].kernel)
                    sources.count += 1


cdef void find_shifts(const Axis* w, Shifts* shifts) noexcept nogil:
    cdef int64_t phase, k, distance
    for phase in range(2):
        shifts.count[phase] = 0
        for k in range(w.kernel - 1, -1, -1):
            distance = phase + w.before - k * w.dilation
            if distance & 1 == 0:
                shifts.tap[phase][shifts.count[phase]] = k
                shifts.shift[phase][shifts.count[phase]] = distance >> 1
                shifts.count[phase] += 1


cdef void set_column_masks(
    Shifts* shifts, int64_t first, int64_t vectors, int64_t lanes, int64_t size, vector* as_vectors
) noexcept nogil:
    """For the columns of the output from 2 * first on."""
    cdef int64_t phase, j, v, left
    shifts.inside = True
    for phase in range(2):
        for j in range(shifts.count[phase]):
            left = first + shifts.shift[phase][j]
            shifts.inside &= left >= 0 and left + vectors * lanes <= size
    if shifts.inside:
        return
    for phase in range(2):
        for j in range(shifts.count[phase]):
            for v in range(vectors):
                lanes_within(
                    &shifts.mask[phase][j][v], first + shifts.shift[phase][j] + v * lanes, size, lanes, as_vectors
                )


cdef inline void add_phase(
    int vectors, bint inside, int phase, vector* total, const Sources* sources, const Shifts* shifts, int64_t first,
    real* as_real,
) noexcept nogil:
    """What lies outside of the input is zero."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef const real* row
    cdef const real* weight
    cdef vector operand
    cdef int64_t i, j
    cdef int v
    for i in range(sources.count):
        row = <const real*> sources.x[i] + first
        weight = <const real*> sources.weight[i]
        for j in range(shifts.count[phase]):
            for v in range(vectors):
                if inside:
                    operand = (<const vector*> (row + shifts.shift[phase][j] + v * lanes))[0]
                else:
                    load_masked(operand, row + shifts.shift[phase][j] + v * lanes, shifts.mask[phase][j][v])
                multiply_add(total[v], weight[shifts.tap[phase][j]], operand)


cdef inline void interleaved_columns(
    int vectors, bint inside, const Sources* sources, const Shifts* shifts, int64_t first, real* y, int64_t count,
    vector* as_vectors,
) noexcept nogil:
    """`count` columns of the output, from column 2 * first on."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef vector even[PHASE_VECTORS]
    cdef vector odd[PHASE_VECTORS]
    cdef vector pair[2]
    cdef int v
    cdef int64_t left
    for v in range(vectors):
        broadcast(even[v], 0)
        broadcast(odd[v], 0)
    add_phase(vectors, inside, 0, even, sources, shifts, first, y)
    add_phase(vectors, inside, 1, odd, sources, shifts, first, y)
    for v in range(vectors):
        interleave(pair[0], pair[1], even[v], odd[v])
        left = count - 2 * v * lanes
        if left >= 2 * lanes:
            (<vector*> (y + 2 * v * lanes))[0] = pair[0]
            (<vector*> (y + (2 * v + 1) * lanes))[0] = pair[1]
        else:
            store_part(y + 2 * v * lanes, pair[0], bounded(left, 0, lanes))
            store_part(y + (2 * v + 1) * lanes, pair[1], bounded(left - lanes, 0, lanes))


cdef inline void some_columns(
    int64_t vectors, bint inside, const Sources* sources, const Shifts* shifts, int64_t first, real* y, int64_t count,
    vector* as_vectors,
) noexcept nogil:
    """The instances."""
    if vectors == 1:
        interleaved_columns(1, inside, sources, shifts, first, y, count, as_vectors)
    elif vectors == 2:
        interleaved_columns(2, inside, sources, shifts, first, y, count, as_vectors)
    elif vectors == 3:
        interleaved_columns(3, inside, sources, shifts, first, y, count, as_vectors)
    else:
        interleaved_columns(PHASE_VECTORS, inside, sources, shifts, first, y, count, as_vectors)


cdef void finish_interleaved(
    const Job* job, const real* bias, const real* add, real* y, int64_t count, vector* as_vectors
) noexcept nogil:
    """Bias, residual and activation of some columns of a row, while they are in cache."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t w = 0, part
    cdef vector v, other
    while w < count:
        part = bounded(count - w, 0, lanes)
        load_part(v, y + w, part)
        if job.bias and job.axis[2].bias:
            load_part(other, bias + w, part)
            v += other
        elif job.bias:
            add_scalar(v, bias[0])
        if job.add:
            load_part(other, add + w, part)
            v += other
        activate(&v, 1, job.activation)
        store_part(y + w, v, part)
        w += lanes


cdef void interleaved(const Job* job, int64_t item, real* as_real, vector* as_vectors) noexcept nogil:
    """One block of rows of one channel."""
    cdef const Axis* axis = &job.axis[0]
    cdef int64_t top = item % axis[1].blocks * axis[1].block
    cdef int64_t bottom = bounded(top + axis[1].block, 0, axis[1].out)
    cdef int64_t h = top
    cdef Shifts shifts
    item = item // axis[1].blocks
    find_shifts(&axis[2], &shifts)
    while h < bottom:
        interleaved_rows(job, item, h, bounded(bottom - h, 0, NEAR_LINES), &shifts, as_real, as_vectors)
        h += NEAR_LINES


cdef inline void interleaved_rows(
    const Job* job, int64_t plane, int64_t top, int64_t rows, Shifts* shifts, real* as_real, vector* as_vectors
) noexcept nogil:
    """A few rows, a few columns of all of them before the next ones."""
    cdef const Axis* axis = &job.axis[0]
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t half = (axis[2].out + 1) // 2
    cdef int64_t d = plane % axis[0].out
    cdef int64_t group = plane // axis[0].out % job.groups
    cdef int64_t n = plane // axis[0].out // job.groups
    cdef int64_t h, w, vectors, count, first = 0
    cdef Sources sources[NEAR_LINES]
    cdef real* y
    for h in range(rows):
        find_sources(
            job, d, top + h, <const real*> job.x + n * job.x_n + group * job.x_c,
            <const real*> job.weight + group * job.taps, &sources[h],
        )
    while first < half:
        vectors = (bounded(half - first, 0, PHASE_VECTORS * lanes) + lanes - 1) // lanes
        w = 2 * first
        count = bounded(axis[2].out - w, 0, 2 * vectors * lanes)
        set_column_masks(shifts, first, vectors, lanes, axis[2].size, as_vectors)
        for h in range(rows):
            y = <real*> job.y + n * job.y_n + group * job.y_o + d * axis[0].y + (top + h) * axis[1].y + w
            if shifts.inside:
                some_columns(vectors, True, &sources[h], shifts, first, y, count, as_vectors)
            else:
                some_columns(vectors, False, &sources[h], shifts, first, y, count, as_vectors)
            if job.bias or job.add or job.activation:
                finish_interleaved(
                    job,
                    <const real*> job.bias + group * job.bias_o
                    + d * axis[0].bias + (top + h) * axis[1].bias + w * axis[2].bias,
                    <const real*> job.add + n * job.add_n + group * job.add_o
                    + d * axis[0].add + (top + h) * axis[1].add + w,
                    y, count, as_vectors,
                )
        first += vectors * lanes
