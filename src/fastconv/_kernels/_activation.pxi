"""The activations by code, over vectors in cache; the codes are those of the table in _activations.py."""


cdef inline void activate(vector* values, int64_t count, int64_t activation) noexcept nogil:
    cdef int64_t i
    cdef vector t, u
    if activation == 1:                                   # relu
        for i in range(count):
            at_least(values[i], 0)
    elif activation == 2:                                 # relu6
        for i in range(count):
            at_least(values[i], 0)
            at_most(values[i], 6)
    elif activation == 3:                                 # leaky_relu
        for i in range(count):
            t = values[i]
            u = t
            multiply_scalar(u, 0.01)
            select_negative(t, u, t)
            values[i] = t
    elif activation == 4:                                 # sigmoid: 1 / (2 + expm1(-x))
        for i in range(count):
            t = -values[i]
            expm1_in_place(t)
            add_scalar(t, 2)
            broadcast(u, 1)
            values[i] = u / t
    elif activation == 5:                                 # tanh |x|: -e / (2 + e) with e = expm1(-2 |x|)
        for i in range(count):
            t = values[i]
            select_negative(t, t, -t)
            t = t + t
            expm1_in_place(t)
            u = t
            add_scalar(u, 2)
            t = t / u
            select_negative(values[i], t, -t)
    elif activation == 6:                                 # silu: x / (2 + expm1(-x))
        for i in range(count):
            t = -values[i]
            expm1_in_place(t)
            add_scalar(t, 2)
            values[i] = values[i] / t
    elif activation == 7:                                 # gelu: x (1 + erf(x / sqrt 2)) / 2
        for i in range(count):
            t = values[i]
            multiply_scalar(t, M_SQRT1_2)
            erf_in_place(t)
            add_scalar(t, 1)
            u = values[i]
            multiply_scalar(u, 0.5)
            values[i] = u * t
    elif activation == 8:                                 # hardswish: x min(max(x + 3, 0), 6) / 6
        for i in range(count):
            t = values[i]
            add_scalar(t, 3)
            at_least(t, 0)
            at_most(t, 6)
            u = values[i] * t
            broadcast(t, 6)
            u = u / t
            values[i] = u
