"""The register tile: rows × vectors of sums, to which a chain of products is added.

    tile[i, :] += sum over k of factors[steps[k] + i] * operands[rows[k] + (0 .. lanes)]

Either side may be the weights; the pixels are packed, or where they lie.
The rows of sums lie `step` elements apart.
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
    int m, int vectors, const real* factors, const int64_t* steps, const real* operands, const int64_t* rows,
    int64_t length, vector* sums, int64_t step, bint first,
) noexcept nogil:
    """Chain after chain: one in a call, but gcc keeps the whole tile in registers only inside of a loop."""
    cdef vector total[ROWS][STRIP1]
    cdef vector operand[STRIP1]
    cdef const vector* source
    cdef const real* factor
    cdef int i, v
    cdef int64_t k = 0, stop
    while True:
        stop = bounded(length, 0, k + CHAIN)
        for i in range(m):
            for v in range(vectors):
                broadcast(total[i][v], 0)
        while k < stop:
            source = <const vector*> (operands + rows[k])
            factor = factors + steps[k]
            for v in range(vectors):
                operand[v] = source[v]
            for i in range(m):
                for v in range(vectors):
                    multiply_add(total[i][v], factor[i], operand[v])
            k += 1
        if not first:
            for i in range(m):
                for v in range(vectors):
                    total[i][v] += (<vector*> (<real*> sums + i * step))[v]
        for i in range(m):
            for v in range(vectors):
                (<vector*> (<real*> sums + i * step))[v] = total[i][v]
        first = False
        if k >= length:
            return


cdef void tile(
    int64_t m, int64_t vectors, const real* factors, const int64_t* steps, const real* operands, const int64_t* rows,
    int64_t chain, vector* sums, int64_t step, bint first,
) noexcept nogil:
    """The instances: two vectors for every number of rows; more where few rows make the sums wait for each other."""
    if vectors == 2:
        if m == ROWS:
            tile_of(ROWS, 2, factors, steps, operands, rows, chain, sums, step, first)
        elif m == 1:
            tile_of(1, 2, factors, steps, operands, rows, chain, sums, step, first)
        elif m == 2:
            tile_of(2, 2, factors, steps, operands, rows, chain, sums, step, first)
        elif m == 3:
            tile_of(3, 2, factors, steps, operands, rows, chain, sums, step, first)
        elif m == 4:
            tile_of(4, 2, factors, steps, operands, rows, chain, sums, step, first)
        elif m == 5:
            tile_of(5, 2, factors, steps, operands, rows, chain, sums, step, first)
        elif ROWS > 6:
            if m == 6:
                tile_of(6, 2, factors, steps, operands, rows, chain, sums, step, first)
            elif m == 7:
                tile_of(7, 2, factors, steps, operands, rows, chain, sums, step, first)
            elif m == 8:
                tile_of(8, 2, factors, steps, operands, rows, chain, sums, step, first)
            elif m == 9:
                tile_of(9, 2, factors, steps, operands, rows, chain, sums, step, first)
            elif m == 10:
                tile_of(10, 2, factors, steps, operands, rows, chain, sums, step, first)
            elif m == 11:
                tile_of(11, 2, factors, steps, operands, rows, chain, sums, step, first)
            elif m == 12:
                tile_of(12, 2, factors, steps, operands, rows, chain, sums, step, first)
            elif m == 13:
                tile_of(13, 2, factors, steps, operands, rows, chain, sums, step, first)
    elif m == 1:
        tile_of(1, STRIP1, factors, steps, operands, rows, chain, sums, step, first)
    elif m == 2:
        tile_of(2, STRIP2, factors, steps, operands, rows, chain, sums, step, first)
    elif m == 3:
        tile_of(3, STRIP3, factors, steps, operands, rows, chain, sums, step, first)
    elif m == 4:
        tile_of(4, STRIP4, factors, steps, operands, rows, chain, sums, step, first)
