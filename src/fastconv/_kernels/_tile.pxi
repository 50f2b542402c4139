"""The register tile: rows × vectors of sums, to which a chain of products is added.

    target[i, :] = sums[i, :] + sum over k of factors[steps[k] + i] * operands[rows[k] + (0 .. lanes)]

Either side may be the weights; the pixels are packed, or where they lie. Where both sides are packed there are no
tables: steps[k] = k * factor_step, rows[k] = k * lanes. Nor are there for the channels of pixels that lie side by side:
row i takes factors[i * factor_step + k].
The products may be several chains: each one's sums are added to those of the ones before. Rows of the sums lie `step`
elements apart, those of the target `target_step`; both may be the same place, and are where there are several chains.

Meanwhile the cache takes in what comes next, AHEAD bytes for each product: from `ahead` on.

Where another thread shares the core, each instruction beside the multiply-adds delays them: PRODUCTS are added in one
turn of the loop, those of panels from places that are literals.
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
    bint exact              # behind the block, nothing may be read
    uintptr_t weight        # what the block's first channel tile has for it,
    int64_t weight_step     # and elements from there to the next tile's
    bint skips              # products with padding may be left out


cdef struct Work:
    # What a tile is made of, beside the operands
    const int64_t* steps    # NULL where there are no tables
    int64_t factor_step
    bint in_rows            # each row's factors lie side by side, and factor_step apart from the next row's
    const int64_t* rows
    int64_t length          # products,
    int64_t chain           # so many summed in one chain
    bint first              # there are no sums yet
    uintptr_t sums
    int64_t step
    int64_t target_step
    uintptr_t ahead


cdef enum Factors:
    # Where the factors of a product lie
    BY_TABLES       # at its step
    BY_FACTOR_STEP  # so many elements after those of the one before
    SIDE_BY_SIDE    # directly behind those
    IN_ROWS         # one element behind those, and so many elements from each row's to the next one's


cdef inline int64_t factors_of(int count, int m, Factors place, const Work* work) noexcept nogil:
    """Elements from the factors of a product to those `count` products later; a literal where that is quicker."""
    if place == IN_ROWS:
        return count
    return count * (m if place == SIDE_BY_SIDE else work.factor_step)


cdef inline void add_to_tile(
    int count, int m, int vectors, Factors place, const Work* work, int64_t k, const real* factors,
    const real* operands, const char* ahead, vector (*total)[STRIP1]
) noexcept nogil:
    """Add `count` products, from the k-th on."""
    cdef vector operand[STRIP1]
    cdef const vector* source
    cdef const real* factor
    cdef int64_t step = work.factor_step
    cdef const real* third[ROWS]  # row of factors
    cdef int i, j, v
    if place == IN_ROWS:
        for i in range((m + 2) // 3):
            third[i] = factors + 3 * i * step
            keep_pointer(third[i])
    for j in range(count):
        if place == BY_TABLES:
            source = <const vector*> (operands + work.rows[k + j])
            factor = factors + work.steps[k + j]
        else:
            source = <const vector*> operands + j * vectors
            factor = factors + factors_of(j, m, place, work)
        if count == 1 or j % (LINE // AHEAD) == 0:
            prefetch_far(ahead + j * AHEAD)
        for v in range(vectors):
            operand[v] = source[v]
        for i in range(m):
            for v in range(vectors):
                if place == IN_ROWS:
                    multiply_add(total[i][v], third[i // 3][i % 3 * step + j], operand[v])
                else:
                    multiply_add(total[i][v], factor[i], operand[v])


cdef inline void tile_of(
    int m, int vectors, Factors place, const Work* work, const real* factors, const real* operands, vector* target
) noexcept nogil:
    """Chain after chain; gcc keeps the whole tile in registers only inside of a loop, even if there is but one."""
    cdef vector total[ROWS][STRIP1]
    cdef const real* sums = <const real*> work.sums
    cdef const char* ahead = <const char*> work.ahead
    cdef bint first = work.first
    cdef int width = vectors * sizeof(vector) // sizeof(real)
    cdef int products = PRODUCTS_BY_TABLES if place == BY_TABLES else PRODUCTS
    cdef int i, v
    cdef int64_t k = 0, stop, turns, target_step
    cdef const char* last
    cdef real* row
    while True:
        stop = bounded(work.length, 0, k + work.chain)
        for i in range(m):
            for v in range(vectors):
                broadcast(total[i][v], 0)
        if products > 1:
            turns = (stop - k) // products
            last = ahead + turns * products * AHEAD
            while ahead != last:
                add_to_tile(products, m, vectors, place, work, k, factors, operands, ahead, total)
                ahead += products * AHEAD
                if place == BY_TABLES:
                    k += products
                else:
                    operands += products * width
                    factors += factors_of(products, m, place, work)
            if place != BY_TABLES:
                k += turns * products
        while k < stop:
            add_to_tile(1, m, vectors, place, work, k, factors, operands, ahead, total)
            k += 1
            ahead += AHEAD
            if place != BY_TABLES:
                operands += width
                factors += factors_of(1, m, place, work)
        if not first:
            for i in range(m):
                for v in range(vectors):
                    total[i][v] += (<const vector*> (sums + i * work.step))[v]
        forget_loads()  # or the rows' places would be kept where sums should be
        row = <real*> target
        target_step = work.target_step
        for i in range(m):
            for v in range(vectors):
                (<vector*> row)[v] = total[i][v]
            row += target_step
        first = False
        if k >= work.length:
            return


cdef inline void tile_of_pairs(
    int64_t m, Factors place, const Work* work, const real* factors, const real* operands, vector* target
) noexcept nogil:
    """The instances of two vectors: every number of rows."""
    if m == ROWS:
        tile_of(ROWS, 2, place, work, factors, operands, target)
    elif m == 1:
        tile_of(1, 2, place, work, factors, operands, target)
    elif m == 2:
        tile_of(2, 2, place, work, factors, operands, target)
    elif m == 3:
        tile_of(3, 2, place, work, factors, operands, target)
    elif m == 4:
        tile_of(4, 2, place, work, factors, operands, target)
    elif m == 5:
        tile_of(5, 2, place, work, factors, operands, target)
    elif ROWS > 6:
        if m == 6:
            tile_of(6, 2, place, work, factors, operands, target)
        elif m == 7:
            tile_of(7, 2, place, work, factors, operands, target)
        elif m == 8:
            tile_of(8, 2, place, work, factors, operands, target)
        elif m == 9:
            tile_of(9, 2, place, work, factors, operands, target)
        elif m == 10:
            tile_of(10, 2, place, work, factors, operands, target)
        elif m == 11:
            tile_of(11, 2, place, work, factors, operands, target)
        elif m == 12:
            tile_of(12, 2, place, work, factors, operands, target)
        elif m == 13:
            tile_of(13, 2, place, work, factors, operands, target)


cdef void tile(
    int64_t m, int64_t vectors, const Work* work, const real* factors, const real* operands, vector* target
) noexcept nogil:
    """More vectors where few rows make the sums wait for each other."""
    if vectors == 2 and work.steps != NULL:
        tile_of_pairs(m, BY_TABLES, work, factors, operands, target)
    elif vectors == 2 and work.in_rows:
        tile_of_pairs(m, IN_ROWS, work, factors, operands, target)
    elif vectors == 2 and PRODUCTS > 1 and work.factor_step == m:
        tile_of_pairs(m, SIDE_BY_SIDE, work, factors, operands, target)
    elif vectors == 2:
        tile_of_pairs(m, BY_FACTOR_STEP, work, factors, operands, target)
    elif m == 1:
        tile_of(1, STRIP1, BY_TABLES, work, factors, operands, target)
    elif m == 2:
        tile_of(2, STRIP2, BY_TABLES, work, factors, operands, target)
    elif m == 3:
        tile_of(3, STRIP3, BY_TABLES, work, factors, operands, target)
    elif m == 4:
        tile_of(4, STRIP4, BY_TABLES, work, factors, operands, target)
