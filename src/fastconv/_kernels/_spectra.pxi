"""What transforms along one axis leave to be summed: over channels and over the taps of the two other axes.

    y[group, o, p] = sum over products k of x[group, rows[p] + taps[k]] * weight[group, o, k]

frequency by frequency, where x are rows of complex numbers: pairs of lanes.  An item is one vector of frequencies of
one group.  Its column of x is copied into a panel, because the rows of arrays of spectra begin at no whole vectors;
weights lie as (groups, vectors, o, products, 2, lanes): the real part in both lanes of a pair, the imaginary part in
one and its negative in the other.  Sums begin at zero and are added up in chains, as all are.
"""


cdef inline void add_products(
    const vector* panel, const int64_t* rows, int64_t count, const int64_t* taps, int64_t chain, const vector* weight,
    vector* total,
) noexcept nogil:
    """One chain to SPECTRA rows, of which `count` are wanted."""
    cdef vector sums[SPECTRA][2]
    cdef const vector* operands[SPECTRA]
    cdef vector operand
    cdef int r
    cdef int64_t k
    for r in range(SPECTRA):
        broadcast(sums[r][0], 0)
        broadcast(sums[r][1], 0)
        operands[r] = panel + rows[bounded(r, 0, count - 1)]
    for k in range(chain):
        for r in range(SPECTRA):
            operand = operands[r][taps[k]]
            sums[r][0] += weight[2 * k] * operand
            sums[r][1] += weight[2 * k + 1] * operand
    for r in range(SPECTRA):
        swap_pairs(sums[r][1])
        total[r] += sums[r][0] + sums[r][1]


cdef void spectra(const Job* job, int64_t item, const real* as_real, vector* panel) noexcept nogil:
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t vectors = (job.row + lanes - 1) // lanes
    cdef int64_t group = item // vectors
    cdef int64_t lane = item % vectors * lanes
    cdef int64_t wanted = bounded(job.row - lane, 0, lanes)
    cdef const int64_t* rows = <const int64_t*> job.staged_rows
    cdef const int64_t* taps = <const int64_t*> job.panel_rows
    cdef const real* x = <const real*> job.x + group * job.plane * job.row + lane
    cdef real* y = <real*> job.y + group * job.o * job.n * job.row + lane
    cdef const vector* weight = <const vector*> job.weight + item * job.o * job.products * 2
    cdef vector total[SPECTRA]
    cdef int64_t i, o, p, k, count
    for i in range(job.plane):
        load_part(panel[i], x + i * job.row, wanted)
    for o in range(job.o):
        p = 0
        while p < job.n:
            count = bounded(job.n - p, 0, SPECTRA)
            for i in range(SPECTRA):
                broadcast(total[i], 0)
            k = 0
            while k < job.products:
                add_products[vector](
                    panel, rows + p, count, taps + k, bounded(job.products - k, 0, CHAIN), weight + 2 * k, total
                )
                k += CHAIN
            for i in range(count):
                store_part(y + (p + i) * job.row, total[i], wanted)
            p += SPECTRA
        y += job.n * job.row
        weight += 2 * job.products
