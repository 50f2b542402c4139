"""The register tile: rows × vectors of sums, to which a chain of products is added.

    target[i, :] = sums[i, :] + sum over k of factors[steps[k] + i] * operands[rows[k] + (0 .. lanes)]

Either side may be the weights; the pixels are packed, or where they lie. Where both sides are packed there are no
tables: steps[k] = k * factor_step, rows[k] = k * lanes.
The rows of the sums lie `step` elements apart, those of the target `target_step`; both may be the same place, and
are where the products are more than one chain.

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


cdef struct Work:
    # What a tile is made of, beside the operands
    const int64_t* steps    # NULL where both sides are packed
    int64_t factor_step
    const int64_t* rows
    int64_t length          # products
    bint first              # there are no sums yet
    uintptr_t sums
    int64_t step
    int64_t target_step
    uintptr_t ahead


cdef inline void tile_of(
    int m, int vectors, bint packed, const Work* work, const real* factors, const real* operands, vector* target
) noexcept nogil:
    """Chain after chain: one in a call, but gcc keeps the whole tile in registers only inside of a loop."""
    cdef vector total[ROWS][STRIP1]
    cdef vector operand[STRIP1]
    cdef const vector* source = <const vector*> operands
    cdef const real* factor = factors
    cdef const real* sums = <const real*> work.sums
    cdef const char* ahead = <const char*> work.ahead
    cdef bint first = work.first
    cdef int i, v
    cdef int64_t k = 0, stop
    while True:
        stop = bounded(work.length, 0, k + CHAIN)
        for i in range(m):
            for v in range(vectors):
                broadcast(total[i][v], 0)
        while k < stop:
            prefetch_far(ahead)
            ahead += LINE
            if not packed:
                source = <const vector*> (operands + work.rows[k])
                factor = factors + work.steps[k]
            for v in range(vectors):
                operand[v] = source[v]
            for i in range(m):
                for v in range(vectors):
                    multiply_add(total[i][v], factor[i], operand[v])
            if packed:
                source += vectors
                factor += work.factor_step
            k += 1
        if not first:
            for i in range(m):
                for v in range(vectors):
                    total[i][v] += (<const vector*> (sums + i * work.step))[v]
        for i in range(m):
            for v in range(vectors):
                (<vector*> (<real*> target + i * work.target_step))[v] = total[i][v]
        first = False
        if k >= work.length:
            return


cdef inline void tile_of_pairs(
    int64_t m, bint packed, const Work* work, const real* factors, const real* operands, vector* target
) noexcept nogil:
    """The instances of two vectors: every number of rows."""
    if m == ROWS:
        tile_of(ROWS, 2, packed, work, factors, operands, target)
    elif m == 1:
        tile_of(1, 2, packed, work, factors, operands, target)
    elif m == 2:
        tile_of(2, 2, packed, work, factors, operands, target)
    elif m == 3:
        tile_of(3, 2, packed, work, factors, operands, target)
    elif m == 4:
        tile_of(4, 2, packed, work, factors, operands, target)
    elif m == 5:
        tile_of(5, 2, packed, work, factors, operands, target)
    elif ROWS > 6:
        if m == 6:
            tile_of(6, 2, packed, work, factors, operands, target)
        elif m == 7:
            tile_of(7, 2, packed, work, factors, operands, target)
        elif m == 8:
            tile_of(8, 2, packed, work, factors, operands, target)
        elif m == 9:
            tile_of(9, 2, packed, work, factors, operands, target)
        elif m == 10:
            tile_of(10, 2, packed, work, factors, operands, target)
        elif m == 11:
            tile_of(11, 2, packed, work, factors, operands, target)
        elif m == 12:
            tile_of(12, 2, packed, work, factors, operands, target)
        elif m == 13:
            tile_of(13, 2, packed, work, factors, operands, target)


cdef void tile(
    int64_t m, int64_t vectors, const Work* work, const real* factors, const real* operands, vector* target
) noexcept nogil:
    """More vectors where few rows make the sums wait for each other."""
    if vectors == 2 and work.steps == NULL:
        tile_of_pairs(m, True, work, factors, operands, target)
    elif vectors == 2:
        tile_of_pairs(m, False, work, factors, operands, target)
    elif m == 1:
        tile_of(1, STRIP1, False, work, factors, operands, target)
    elif m == 2:
        tile_of(2, STRIP2, False, work, factors, operands, target)
    elif m == 3:
        tile_of(3, STRIP3, False, work, factors, operands, target)
    elif m == 4:
        tile_of(4, STRIP4, False, work, factors, operands, target)
