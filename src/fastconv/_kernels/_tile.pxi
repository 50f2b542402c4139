"""The register tile: rows × vectors of sums, to which a chain of products is added.

    target[i, :] = sums[i, :] + sum over k of factors[steps[k] + i] * operands[rows[k] + (0 .. lanes)]

Either side may be the weights; the pixels are packed, or where they lie. Where both sides are packed there are no
tables: steps[k] = k * rows of the tile, rows[k] = k * lanes.
The rows of the sums lie `step` elements apart, those of the target `target_step`; both may be the same place.

Meanwhile the cache takes in what comes next, a line for each product: from `ahead` on.
"""


cdef struct Chain:
    # A run of products: of pixel (h, w) the operand of product k lies at base[rows[k] + h * row + w],
    # its weights at weight[weights[k]]
    int64_t row
    int64_t product         # first product, in the weight's order
    int64_t channels
    int64_t length
    const int64_t* rows
    const int64_t* weights
    bint first
    bint last


cdef inline void tile_of(
    int m, int vectors, bint packed, const real* factors, const int64_t* steps, const real* operands,
    const int64_t* rows, int64_t length, const vector* sums, int64_t step, bint first, vector* target,
    int64_t target_step, const char* ahead,
) noexcept nogil:
    """Chain after chain: one in a call, but gcc keeps the whole tile in registers only inside of a loop."""
    cdef vector total[ROWS][STRIP1]
    cdef vector operand[STRIP1]
    cdef const vector* source = <const vector*> operands
    cdef const real* factor = factors
    cdef int i, v
    cdef int64_t k = 0, stop
    while True:
        stop = bounded(length, 0, k + CHAIN)
        for i in range(m):
            for v in range(vectors):
                broadcast(total[i][v], 0)
        while k < stop:
            prefetch_far(ahead)
            ahead += LINE
            if not packed:
                source = <const vector*> (operands + rows[k])
                factor = factors + steps[k]
            for v in range(vectors):
                operand[v] = source[v]
            for i in range(m):
                for v in range(vectors):
                    multiply_add(total[i][v], factor[i], operand[v])
            if packed:
                source += vectors
                factor += m
            k += 1
        if not first:
            for i in range(m):
                for v in range(vectors):
                    total[i][v] += (<const vector*> (<const real*> sums + i * step))[v]
        for i in range(m):
            for v in range(vectors):
                (<vector*> (<real*> target + i * target_step))[v] = total[i][v]
        first = False
        sums = target
        step = target_step
        if k >= length:
            return


cdef inline void tile_of_pairs(
    int64_t m, bint packed, const real* factors, const int64_t* steps, const real* operands, const int64_t* rows,
    int64_t length, const vector* sums, int64_t step, bint first, vector* target, int64_t target_step,
    const char* ahead,
) noexcept nogil:
    """The instances of two vectors: every number of rows."""
    if m == ROWS:
        tile_of(ROWS, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
    elif m == 1:
        tile_of(1, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
    elif m == 2:
        tile_of(2, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
    elif m == 3:
        tile_of(3, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
    elif m == 4:
        tile_of(4, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
    elif m == 5:
        tile_of(5, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
    elif ROWS > 6:
        if m == 6:
            tile_of(6, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
        elif m == 7:
            tile_of(7, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
        elif m == 8:
            tile_of(8, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
        elif m == 9:
            tile_of(9, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
        elif m == 10:
            tile_of(10, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
        elif m == 11:
            tile_of(11, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
        elif m == 12:
            tile_of(12, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
        elif m == 13:
            tile_of(13, 2, packed, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)


cdef void tile(
    int64_t m, int64_t vectors, const real* factors, const int64_t* steps, const real* operands, const int64_t* rows,
    int64_t length, const vector* sums, int64_t step, bint first, vector* target, int64_t target_step,
    const char* ahead,
) noexcept nogil:
    """More vectors where few rows make the sums wait for each other."""
    if vectors == 2 and steps == NULL:
        tile_of_pairs(m, True, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
    elif vectors == 2:
        tile_of_pairs(m, False, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
    elif m == 1:
        tile_of(1, STRIP1, False, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
    elif m == 2:
        tile_of(2, STRIP2, False, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
    elif m == 3:
        tile_of(3, STRIP3, False, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
    elif m == 4:
        tile_of(4, STRIP4, False, factors, steps, operands, rows, length, sums, step, first, target, target_step, ahead)
