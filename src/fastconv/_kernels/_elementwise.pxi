"""Activations of whole arrays, and gradients through them, where no convolution has them in cache."""


cdef inline void differentiate_sigmoid(vector* value) noexcept nogil:
    """Of y = sigmoid(x), y (1 - y) = e / (1 + e)² with e = exp(-|x|)."""
    cdef vector t = value[0]
    cdef vector u
    select_negative(t, t, -t)
    exp_in_place(t)
    u = t
    add_scalar(u, 1)
    value[0] = t / (u * u)


cdef void differentiate(vector* value, int64_t activation) noexcept nogil:
    """Replace x by the derivative of the activation there: PyTorch's at kinks and for NaN."""
    cdef vector x = value[0]
    cdef vector zero, one, t, u
    broadcast(zero, 0)
    broadcast(one, 1)
    t = x
    if activation == 1:                                   # relu
        select_at_most(t, x, 0, zero, one)
    elif activation == 2:                                 # relu6
        select_at_most(t, x, 0, zero, one)
        select_at_most(t, -x, -6, zero, t)
    elif activation == 3:                                 # leaky_relu
        broadcast(u, 0.01)
        select_below(t, -x, 0, one, u)
    elif activation == 4:                                 # sigmoid: y (1 - y)
        differentiate_sigmoid(&t)
    elif activation == 5:                                 # tanh: 1 - y²
        activate(&t, 1, 5)
        t = one - t * t
    elif activation == 6:                                 # silu: y + x y (1 - y) with y = sigmoid(x)
        differentiate_sigmoid(&t)
        u = x
        activate(&u, 1, 4)
        t = u + x * t
    elif activation == 7:                                 # gelu: (1 + erf(x / sqrt 2)) / 2 + x exp(-x² / 2) / sqrt 2π
        u = x * x
        multiply_scalar(u, -0.5)
        exp_in_place(u)
        u = u * x
        multiply_scalar(u, M_2_SQRTPI * M_SQRT1_2 / 2)
        multiply_scalar(t, M_SQRT1_2)
        erf_in_place(t)
        t = t + one
        multiply_scalar(t, 0.5)
        t = t + u
    elif activation == 8:                                 # hardswish: x / 3 + 1 / 2 between -3 and 3
        broadcast(u, 3)
        t = x / u
        add_scalar(t, 0.5)
        select_below(t, x, 3, t, one)
        select_at_most(t, x, -3, zero, t)
    value[0] = t


cdef void elementwise(const Job* job, int64_t item, const real* as_real, vector* as_vectors) noexcept nogil:
    """One block: y = activation(x), or the gradient `add` times the derivative at x."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t i = item * job.o_block
    cdef int64_t last = bounded(job.n, 0, i + job.o_block)
    cdef int64_t count
    cdef vector v, grad
    while i < last:
        count = bounded(last - i, 0, lanes)
        load_part(v, <const real*> job.x + i, count)
        if job.add:
            load_part(grad, <const real*> job.add + i, count)
            differentiate(&v, job.activation)
            v = v * grad
        else:
            activate(&v, 1, job.activation)
        store_part(<real*> job.y + i, v, count)
        i += lanes
