"""Winograd's transforms along one axis, of vectors in registers: F(2, 2), F(4, 2), F(2, 3), F(3, 3), F(4, 3), F(2, 5).

`tile` outputs of a kernel of `taps` taps come from points = tile + taps - 1 products: with Toom and Cook, polynomials
are multiplied at the points 0, 1, infinity (three of them), 0, 1, -1, infinity (four), 0, ±PAIR, LONE, infinity
(five), or 0, ±INNER, ±OUTER, infinity (six). At stride 2, F(n, 3) is F(n, 2) of every second element and the taps 0
and 2, and n products of tap 1 with the elements between: five, or nine.
Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, have the transforms for small integers; the
points here are multiples of 1/8; of the like of the six none measures clearly better (docs/accuracy.md).
"""

cdef extern from *:
    """
    #define PAIR 0.75
    #define LONE 1.5
    #define INNER 0.625
    #define OUTER 1.5
    """
    double PAIR
    double LONE
    double INNER
    double OUTER

cdef enum:
    MOST_POINTS = 9
    MOST_TAPS = 5
    MOST_TILE = 4
    SHORT = 48  # products summed in a row: transforms back enlarge the error of such a sum


cdef inline int64_t tile_step(const Axis* axis) noexcept nogil:
    """From one tile's first output to the next one's: across phases, they are neighbours."""
    return 1 if axis.across else axis.tile


cdef inline int64_t tiles_of(const Axis* axis, int64_t outputs) noexcept nogil:
    return (outputs + tile_step(axis) - 1) // tile_step(axis)


cdef inline int64_t outputs_of(const Axis* axis, int64_t first, int64_t count, int64_t i) noexcept nogil:
    """How many tiles of a block, from `first` on, have an output i."""
    if axis.across:
        return bounded(axis.whole - first - i * axis.dilation, 0, count)
    return tiles_of(axis, count - i)


cdef inline void transform_input(int points, int tile, vector* x) noexcept nogil:
    """In place."""
    cdef vector t, u
    if points == 3 or (points == 5 and tile == 2):
        x[0] = x[1] - x[0]
        x[2] = x[2] - x[1]
    elif points == 4:
        t = x[1]
        u = x[2]
        x[0] = u - x[0]
        x[1] = u + t
        x[2] = u - t
        x[3] = x[3] - t
    elif points == 5 or points == 9:
        t = x[2]
        multiply_add(t, -LONE, x[1])
        u = x[3]
        multiply_add(u, -LONE, x[2])
        multiply_add(x[4], -LONE, x[3])
        multiply_add(x[4], -PAIR * PAIR, t)
        multiply_scalar(x[0], PAIR * PAIR * LONE)
        multiply_add(x[0], -PAIR * PAIR, x[1])
        x[0] += u
        multiply_add(x[3], -PAIR * PAIR, x[1])
        x[1] = u
        multiply_add(x[1], PAIR, t)
        x[2] = u
        multiply_add(x[2], -PAIR, t)
    elif points == 6:
        multiply_add(x[5], INNER * INNER * OUTER * OUTER, x[1])
        multiply_add(x[5], -(INNER * INNER + OUTER * OUTER), x[3])
        multiply_scalar(x[0], INNER * INNER * OUTER * OUTER)
        multiply_add(x[0], -(INNER * INNER + OUTER * OUTER), x[2])
        x[0] += x[4]
        t = x[4]
        multiply_add(t, -INNER * INNER, x[2])
        u = x[3]
        multiply_add(u, -INNER * INNER, x[1])
        multiply_add(x[4], -OUTER * OUTER, x[2])
        multiply_add(x[3], -OUTER * OUTER, x[1])
        x[1] = x[4]
        multiply_add(x[1], INNER, x[3])
        x[2] = x[4]
        multiply_add(x[2], -INNER, x[3])
        x[3] = t
        multiply_add(x[3], OUTER, u)
        x[4] = t
        multiply_add(x[4], -OUTER, u)


cdef inline void transform_output(int points, int tile, vector* x) noexcept nogil:
    """In place: the first `tile` vectors."""
    cdef vector s, t, d, e
    cdef int j
    if points == 3:
        x[0] += x[1]
        x[1] += x[2]
    elif points == 5 and tile == 2:
        x[0] += x[1] + x[3]
        x[1] += x[2] + x[4]
    elif points == 4:
        s = x[1] + x[2]
        d = x[1] - x[2]
        x[0] += s
        x[1] = d + x[3]
    elif points == 5 or points == 9:
        s = x[1] + x[2]
        d = x[1] - x[2]
        t = x[3]
        e = x[4]
        x[0] += s + t
        x[1] = d
        multiply_scalar(x[1], PAIR)
        multiply_add(x[1], LONE, t)
        multiply_scalar(s, PAIR * PAIR)
        multiply_add(s, LONE * LONE, t)
        x[2] = s
        if tile == 3:
            x[2] += e
        else:
            x[3] = e
            multiply_add(x[3], PAIR * PAIR * PAIR, d)
            multiply_add(x[3], LONE * LONE * LONE, t)
        if points == 9:
            for j in range(tile):
                x[j] += x[5 + j]
    elif points == 6:
        s = x[1] + x[2]
        d = x[1] - x[2]
        t = x[3] + x[4]
        e = x[3] - x[4]
        x[0] += s + t
        x[1] = d
        multiply_scalar(x[1], INNER)
        multiply_add(x[1], OUTER, e)
        if tile == 2:
            x[1] += x[5]
        else:
            multiply_scalar(s, INNER * INNER)
            multiply_add(s, OUTER * OUTER, t)
            x[2] = s
            x[3] = x[5]
            multiply_add(x[3], INNER * INNER * INNER, d)
            multiply_add(x[3], OUTER * OUTER * OUTER, e)


cdef inline void load_columns(int points, int tile, const real* row, const real* between, vector* x) noexcept nogil:
    """x[j] = every `tile`-th element of the row from the j-th on; `between` are the ones that a stride of 2 leaves."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int j
    if tile == 1:
        for j in range(points):
            x[j] = (<const vector*> (row + j))[0]
    elif tile == 2:
        take_second(row, x, x + 1)
        for j in range(2, tile + 1 if points == 5 else points):
            take_following(x[j - 2], row + 2 * lanes + j - 2, &x[j])
        if points == 5:
            take_second(between, x + 3, x + 4)
    else:
        take_fourth(row, x)
        for j in range(4, 6 if points == 6 else 5):
            take_following(x[j - 4], row + 4 * lanes + j - 4, &x[j])
        if points == 9:
            take_fourth(between, x + 5)


cdef inline void take_second(const real* row, vector* even, vector* odd) noexcept nogil:
    """Every second element of the row from the first on, and from the second on."""
    cdef vector low = (<const vector*> row)[0]
    cdef vector high = (<const vector*> row)[1]
    keep_vector(low)
    keep_vector(high)
    take_even(even[0], low, high)
    take_odd(odd[0], low, high)


cdef inline void take_fourth(const real* row, vector* x) noexcept nogil:
    """x[j] = every fourth element of the row from the j-th on, j < 4."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef vector even[2]
    cdef vector odd[2]
    take_second(row, even, odd)
    take_second(row + 2 * lanes, even + 1, odd + 1)
    take_even(x[0], even[0], even[1])
    take_even(x[1], odd[0], odd[1])
    take_odd(x[2], even[0], even[1])
    take_odd(x[3], odd[0], odd[1])


cdef inline void take_following(const vector taken, const real* rest, vector* x) noexcept nogil:
    """What was taken, from its second element on, and the one that comes then."""
    cdef vector last
    load_part(last, rest, 1)
    take_next(x[0], taken, last)


cdef inline void store_columns(int tile, const vector* y, real* row, vector* as_vectors) noexcept nogil:
    """The way back: y[j] to every `tile`-th element of the row from the j-th on."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef vector low[2]
    cdef vector high[2]
    cdef int j
    if tile == 1:
        (<vector*> row)[0] = y[0]
    elif tile == 2:
        interleave((<vector*> row)[0], (<vector*> (row + lanes))[0], y[0], y[1])
    else:
        for j in range(2):
            interleave(low[j], high[j], y[j], y[j + 2])
        interleave((<vector*> row)[0], (<vector*> (row + lanes))[0], low[0], low[1])
        interleave((<vector*> (row + 2 * lanes))[0], (<vector*> (row + 3 * lanes))[0], high[0], high[1])


cdef inline void weighted_sums_of(
    int taps, int64_t points, const real* factors, const vector* values, int64_t step, vector* totals, int64_t pitch,
) noexcept nogil:
    cdef vector value[MOST_TAPS]
    cdef vector sum
    cdef int64_t a
    cdef int j
    for j in range(taps):
        value[j] = values[j * step]
    for a in range(points):
        sum = value[0]
        multiply_scalar(sum, factors[a * taps])
        for j in range(1, taps):
            multiply_add(sum, factors[a * taps + j], value[j])
        totals[a * pitch] = sum


cdef inline void weighted_sums(
    int64_t taps, int64_t points, const real* factors, const vector* values, int64_t step,
    vector* totals, int64_t pitch,
) noexcept nogil:
    """totals[a * pitch] = sum over j of factors[a, j] * values[j * step]: the instances."""
    if taps == 3 and points == 6:
        weighted_sums_of(3, 6, factors, values, step, totals, pitch)
    elif taps == 3 and points == 4:
        weighted_sums_of(3, 4, factors, values, step, totals, pitch)
    elif taps == 1:
        weighted_sums_of(1, points, factors, values, step, totals, pitch)
    elif taps == 2:
        weighted_sums_of(2, points, factors, values, step, totals, pitch)
    elif taps == 3:
        weighted_sums_of(3, points, factors, values, step, totals, pitch)
    else:
        weighted_sums_of(5, points, factors, values, step, totals, pitch)


cdef void transform_weights(const Transform* transform, const real* packed, vector* transformed) noexcept nogil:
    """G g G', for a vector of channels of a tile at once."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t width = transform.width
    cdef int64_t points = transform.points[0] * transform.points[1]
    cdef int64_t taps = transform.taps[0] * transform.taps[1]
    cdef int64_t of_group = transform.tiles * transform.products
    cdef int64_t k, i
    cdef real* target
    for k in range(transform.first, transform.last):
        target = <real*> transformed + k // of_group * points * transform.plane + k % of_group * width
        i = 0
        while i < width:
            transform_kernels(
                transform, packed + k * taps * width + i, bounded(width - i, 0, lanes), <vector*> (target + i)
            )
            i += lanes


cdef inline void transform_kernels(
    const Transform* transform, const real* packed, int64_t count, vector* transformed
) noexcept nogil:
    """The kernels of some output channels, to the planes of the points."""
    cdef int64_t height = transform.taps[0]
    cdef int64_t length = transform.taps[1]
    cdef vector kernel[MOST_TAPS][MOST_TAPS]
    cdef vector half[MOST_POINTS][MOST_TAPS]
    cdef vector row[MOST_POINTS]
    cdef real* target = <real*> transformed
    cdef int64_t points = transform.points[1]
    cdef int64_t plane = transform.plane
    cdef bint whole = count == sizeof(vector) // sizeof(real)
    cdef int64_t a, b
    for a in range(height):
        for b in range(length):
            load_part(kernel[a][b], packed + (a * length + b) * transform.width, count)
    for b in range(length):
        weighted_sums(
            height, transform.points[0], <const real*> transform.matrix[0], &kernel[0][b], MOST_TAPS, &half[0][b],
            MOST_TAPS,
        )
    for a in range(transform.points[0]):
        weighted_sums(length, transform.points[1], <const real*> transform.matrix[1], half[a], 1, row, 1)
        for b in range(points):
            prefetch_written(<const char*> target + 4 * LINE)  # of more planes than a processor watches
            if whole:
                (<vector*> target)[0] = row[b]
            else:
                store_part(target, row[b], count)
            target += plane
