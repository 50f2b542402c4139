"""Weights → (groups, tiles, products, channels of a tile), as the register tiles read them."""


cdef bint pack_weights(const Packing* packing, const real* weight, real* packed, vector* as_vectors) noexcept nogil:
    """Whether all are finite, too. `packed` holds zeros where the last tile has no channel."""
    cdef const int64_t* size = packing.size
    cdef const int64_t* stride = packing.stride
    cdef int64_t products = size[0] * size[1] * size[2] * size[3]
    cdef int64_t g, o = 0, a, b, c, count
    cdef const real* run
    cdef real* target = packed
    for g in range(packing.groups):
        o = 0
        while o < packing.channels:
            count = bounded(packing.channels - o, 0, packing.width)
            for a in range(size[0]):
                for b in range(size[1]):
                    for c in range(size[2]):
                        run = (
                            weight + g * packing.group_stride + o * packing.channel_stride
                            + a * stride[0] + b * stride[1] + c * stride[2]
                        )
                        pack_run(packing, run, count, target, as_vectors)
                        target += size[3] * packing.width
            o += packing.width
    return all_finite(packed, target - packed, as_vectors)


cdef inline void pack_run(
    const Packing* packing, const real* run, int64_t count, real* target, vector* as_vectors
) noexcept nogil:
    """The products of one run, of `count` channels."""
    cdef int64_t length = packing.size[3]
    cdef int64_t step = packing.stride[3]
    cdef int64_t width = packing.width
    cdef int64_t i, j
    if step == width == 1:
        memcpy(target, run, length * sizeof(real))
    elif step == 1:
        transpose[real, vector](run, packing.channel_stride, count, length, target, width, as_vectors)
    elif step == -1:  # turned round
        transpose[real, vector](
            run - (length - 1), packing.channel_stride, count, length, target + (length - 1) * width, -width, as_vectors
        )
    else:
        for j in range(length):
            for i in range(count):
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
