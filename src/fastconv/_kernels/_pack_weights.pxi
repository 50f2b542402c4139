"""Weights → (groups, tiles, products, channels of a tile), as the register tiles read them.

Some products at a time of all tiles: so memory is read in its order, and what was packed is looked at while it is in
cache. In gradients products lie far apart, with the channels between them.
"""

cdef enum:
    NEAR_PRODUCTS = 1024  # that are packed together where they lie side by side,
    FAR_PRODUCTS = 16  # or do not


cdef bint pack_weights(const Packing* packing, const real* weight, real* packed, vector* as_vectors) noexcept nogil:
    """Whether all are finite, too. `packed` holds zeros where the last tile has no channel."""
    cdef int64_t length = packing.size[3]
    cdef int64_t runs = packing.size[0] * packing.size[1] * packing.size[2]
    cdef int64_t some = NEAR_PRODUCTS if packing.stride[3] * packing.stride[3] == 1 else FAR_PRODUCTS
    cdef int64_t together = bounded(FAR_PRODUCTS // bounded(length, 1, FAR_PRODUCTS), 1, runs)
    cdef int64_t tiles = (packing.channels + packing.width - 1) // packing.width
    cdef int64_t g, run, first, last, count
    cdef const real* start = packed
    cdef bint small = runs * length <= NEAR_PRODUCTS
    cdef bint finite = True
    for g in range(packing.groups):
        run = 0
        while run < runs:
            last = bounded(run + together, run, runs)
            first = 0
            while first < length:
                count = bounded(length - first, 0, some)
                pack_products(packing, run, last, first, count, weight, packed, as_vectors, NULL if small else &finite)
                first += count
            run = last
        weight += packing.group_stride
        packed += tiles * runs * length * packing.width
    return all_finite(start, packed - start, as_vectors) if small else finite


cdef inline void pack_products(
    const Packing* packing, int64_t run, int64_t last, int64_t first, int64_t count,
    const real* weight, real* packed, vector* as_vectors, bint* finite,
) noexcept nogil:
    """The products `first` .. `first + count` of some runs, of all channels of a group; `finite`: whether all are."""
    cdef int64_t length = packing.size[3]
    cdef int64_t products = packing.size[0] * packing.size[1] * packing.size[2] * length
    cdef int64_t o = 0, r, channels
    cdef real* target
    weight += first * packing.stride[3]
    packed += (run * length + first) * packing.width
    while o < packing.channels:
        channels = bounded(packing.channels - o, 0, packing.width)
        target = packed
        for r in range(run, last):
            pack_run(packing, weight + place_of(packing, r), channels, count, target, as_vectors)
            target += count * packing.width
        if finite != NULL:
            finite[0] &= all_finite(packed, target - packed, as_vectors)
        weight += packing.width * packing.channel_stride
        packed += products * packing.width
        o += packing.width


cdef void pack_chain(
    const Packing* packing, const Block* block, const Chain* chain, real* packed, vector* as_vectors
) noexcept nogil:
    """The products of a chain, or of several, for a block's channel tiles: (tiles, products, channels of a tile)."""
    cdef int64_t length = packing.size[3]
    cdef int64_t some = NEAR_PRODUCTS if packing.stride[3] * packing.stride[3] == 1 else FAR_PRODUCTS
    cdef int64_t done = 0, run, first, count, o, t
    cdef const real* weight
    o = (block.tile + block.tiles) * packing.width
    if o > packing.channels:  # the last tile is filled up with zeros
        t = (block.tiles - 1) * chain.weight_step
        memset(packed + t, 0, chain.weight_step * sizeof(real))
    while done < chain.length:
        run = (chain.product + done) // length
        first = chain.product + done - run * length
        count = bounded(bounded(length - first, 0, chain.length - done), 0, some)
        weight = <const real*> packing.weight + block.group * packing.group_stride
        weight += place_of(packing, run) + first * packing.stride[3]
        for t in range(block.tiles):
            o = (block.tile + t) * packing.width
            pack_run(
                packing, weight + o * packing.channel_stride, bounded(packing.channels - o, 0, packing.width), count,
                packed + t * chain.weight_step + done * packing.width, as_vectors,
            )
        done += count


cdef inline int64_t place_of(const Packing* packing, int64_t run) noexcept nogil:
    cdef int64_t c = digit(&run, packing.size[2])
    cdef int64_t b = digit(&run, packing.size[1])
    return run * packing.stride[0] + b * packing.stride[1] + c * packing.stride[2]


cdef inline void pack_run(
    const Packing* packing, const real* run, int64_t channels, int64_t count, real* target, vector* as_vectors
) noexcept nogil:
    """`count` products that lie evenly, of some channels."""
    cdef int64_t step = packing.stride[3]
    cdef int64_t width = packing.width
    cdef int64_t in_line = LINE // sizeof(real)
    cdef int64_t i, j
    if step == width == 1:
        memcpy(target, run, count * sizeof(real))
    elif packing.channel_stride == 1:
        for j in range(count):
            for i in range((channels + in_line - 1) // in_line):
                prefetch_near(run + (j + FAR_PRODUCTS) * step + i * in_line)
            store_exactly(<vector*> (target + j * width), run + j * step, channels)
    elif step == 1:
        transpose[real, vector](run, packing.channel_stride, channels, count, target, width, as_vectors)
    elif step == -1:  # turned round
        transpose[real, vector](
            run - (count - 1), packing.channel_stride, channels, count, target + (count - 1) * width, -width, as_vectors
        )
    else:
        for j in range(count):
            for i in range(channels):
                target[j * width + i] = run[i * packing.channel_stride + j * step]


cdef inline bint all_finite(const real* values, int64_t count, vector* as_vectors) noexcept nogil:
    """No NaN comes of subtracting any of them from itself."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t i = 0, lane
    cdef vector total, value
    cdef real sum = 0
    broadcast(total, 0)
    while i < count:
        load_part(value, values + i, bounded(count - i, 0, lanes))
        total += value - value
        i += lanes
    for lane in range(lanes):
        sum += (<real*> &total)[lane]
    return sum == 0
