"""The register tiles of thin convolutions: image rows of one output channel or several × vectors along the row.

    sums[o, i, :] += sum over k of weight[k, o] * x[rows[k] + i * row + (0 .. lanes)]

A plain band takes the taps one by one. An alternate one is of stride 2 along rows that are staged as they lie: of two
neighbouring taps, one takes the even elements and the other one the odd ones. A shared band loads a row of input once
for all the output rows that it belongs to: row r is multiplied by row r - i * stride of the kernel for output row i.

The instances are templates over what is constant in them:
    R, O, V     image rows, output channels, vectors: R * O * V sums in registers
    S           the stride along both axes, 1 or 2
    F           columns of the kernel, 0 for any number; if 3, it has three rows too. Short loops end unpredictably:
                each end costs as much as some ten vectors of sums, so that the commonest kernels are unrolled
    inside      whether a strip reads input alone: no masks, which take registers
"""


cdef struct Strips:
    # How a band is cut into strips: whole ones of 4 to 1 vectors, and then some of one vector
    int64_t vectors         # of a whole one
    int64_t whole
    int64_t count           # of all
    int64_t width           # elements of all together
    int64_t limit           # no whole one begins behind it: the last one rather shares elements with the one before it
    int64_t last            # and none of one vector behind this one
    int64_t pace            # elements of input between neighbouring ones
    int64_t inside_first    # of the whole ones, those that read input alone, and the next one
    int64_t inside_last
    Edges edges[6]          # of the first strip, those between, and the last four
    Lines lines


cdef inline int64_t edges_of(const Strips* strips, int64_t strip) noexcept nogil:
    """Index of the edges of a strip."""
    return 0 if strip == 0 else bounded(strip - strips.count + 6, 1, 5)


cdef inline int64_t start_of(const Strips* strips, int64_t strip, int64_t lanes) noexcept nogil:
    """Elements before a strip."""
    if strip < strips.whole:
        return bounded(strip * strips.vectors * lanes, 0, strips.limit)
    return bounded((strips.whole * (strips.vectors - 1) + strip) * lanes, 0, strips.last)


cdef inline void store_rows(
    int first, int R, int V, bint whole, bint more, vector (*total)[BAND], const Band* band, const Lines* lines,
    real* sums, int64_t width,
) noexcept nogil:
    """One channel's sums, added to what is there if there is `more`. Of vectors that share no elements, the last one
    may reach beyond the `width` of the row."""
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t step = band.row_step
    cdef int i, v
    for i in range(R):
        if more:
            for v in range(V):
                total[first + i][v] += (<vector*> (sums + vector_at(v, V, whole, lines, lanes)))[0]
        for v in range(V):
            if v == V - 1 and (V == 1 or whole) and width < V * lanes:
                store_part(sums + v * lanes, total[first + i][v], width - v * lanes)
            else:
                (<vector*> (sums + vector_at(v, V, whole, lines, lanes)))[0] = total[first + i][v]
        sums += step


cdef inline void add_strips(
    int R, int O, int V, int S, int F, bint inside, Form form, const Band* band, const Strips* strips,
    int64_t first, int64_t last, int64_t inside_strips, const real* weight, const real* x, vector* sums,
) noexcept nogil:
    """Strips of V vectors, each down all the bands; where so many inside ones are left out, the others' numbers close
    up. Loops, for only inside of one gcc keeps the sums in registers."""
    cdef vector total[BAND_SUMS][BAND]
    cdef int64_t lanes = sizeof(vector) // sizeof(real)
    cdef int64_t lowest = bounded(band.rows_of_sums - R, 0, band.rows_of_sums)
    cdef int64_t n, strip, w, width, top
    cdef bint more, below, whole = inside or S == 2
    cdef const Lines* lines = &strips.lines
    cdef vector* band_sums
    cdef const lane_mask* edges
    cdef lane_mask few[2 * CHAIN]
    cdef int i, v, o
    for n in range(first, last):
        strip = n if n < strips.inside_first else n + inside_strips
        w = start_of(strips, strip, lanes)
        edges = strips.edges[edges_of(strips, strip)].lanes
        if F == 3 and not inside and (S == 1 or V == 1 or HOLDS_WEIGHTS and O == 1):  # few enough for registers
            for i in range(2 * F if S == 1 else PAIR_EDGES + 2):
                few[i] = edges[i]
            edges = few
        top = 0
        below = True
        while below:
            band_sums = <vector*> (<real*> sums + w + top * band.row_step)
            more = not band.first
            width = V * lanes if inside else strips.width - w
            if O > 1 and band.ahead:
                for o in range(O):
                    expect_rows(
                        <uintptr_t> (<real*> band_sums + band.ahead + o * band.channel_step),
                        R, band.row_step * sizeof(real), V * sizeof(vector), True,
                    )
            for i in range(R * O):
                for v in range(V):
                    broadcast(total[i][v], 0)
            if form == PLAIN:
                add_taps(R, V, total, band, weight, x + top * band.row + w * strips.pace)
            elif form == ALTERNATE:
                add_alternate_taps(R, V, total, band, weight, x + top * band.row + w * strips.pace)
            else:
                more = add_planes(
                    R, O, V, S, F, inside, total, band, lines, top, w * strips.pace, edges, weight,
                    band_sums,
                )
            if S == 2:
                for i in range(R * O):
                    for v in range(V):
                        unmix(total[i][v])
            store_rows(0, R, V, whole, more, total, band, lines, <real*> band_sums, width)
            if O > 1:
                store_rows(
                    R, R, V, whole, more, total, band, lines, <real*> band_sums + band.channel_step, width
                )
            if O > 2:
                store_rows(
                    2 * R, R, V, whole, more, total, band, lines, <real*> band_sums + 2 * band.channel_step,
                    width,
                )
                store_rows(
                    3 * R, R, V, whole, more, total, band, lines, <real*> band_sums + 3 * band.channel_step,
                    width,
                )
            below = top < lowest
            top = bounded(top + R, 0, lowest)


cdef inline void add_to_band(
    int R, int O, int V, int S, int F, Form form, const Band* band, const Strips* strips,
    const real* weight, const real* x, vector* sums,
) noexcept nogil:
    """The strips inside, the other whole ones, and those of one vector. Of four vectors of stride 2, half as many rows
    fit into the registers."""
    cdef int64_t inside = strips.inside_last - strips.inside_first
    cdef int64_t whole = strips.whole - inside if strips.vectors > 1 else 0
    cdef int64_t others = strips.count - inside
    cdef int rows = R // 2 if form == HALVED_THREE_BY_THREE and V > 2 else R
    if form != PLAIN and form != ALTERNATE:
        add_strips(
            rows, O, V, S, F, True, form, band, strips, strips.inside_first, strips.inside_last, 0, weight, x, sums
        )
    if V > 1 and strips.vectors == V:
        add_strips(rows, O, V, S, F, False, form, band, strips, 0, whole, inside, weight, x, sums)
    elif V > 2 and form != PLAIN and strips.vectors == 2:
        add_strips(R, O, 2, S, F, False, form, band, strips, 0, whole, 0, weight, x, sums)
    add_strips(R, O, 1, S, F, False, form, band, strips, whole, others, inside, weight, x, sums)


cdef void plain(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS, 1, BAND, 1, 0, PLAIN, band, strips, weight, x, sums)


cdef void alternate(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS, 1, BAND // 2, 2, 0, ALTERNATE, band, strips, weight, x, sums)


cdef void three_by_three(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(TALL_ROWS, 1, SHORT_BAND, 1, 3, THREE_BY_THREE, band, strips, weight, x, sums)


cdef void five_columns(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS, 1, BAND, 1, 5, FIVE_COLUMNS, band, strips, weight, x, sums)


cdef void seven_columns(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(TALL_ROWS, 1, TALL_BAND, 1, 7, SEVEN_COLUMNS, band, strips, weight, x, sums)


cdef void any_size(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS, 1, BAND, 1, 0, ANY_SIZE, band, strips, weight, x, sums)


cdef void halved(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS, 1, HALVED_BAND, 2, 3, HALVED_THREE_BY_THREE, band, strips, weight, x, sums)


cdef void three_by_three_of_several(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS // 2, BAND_CHANNELS, 2, 1, 3, THREE_BY_THREE, band, strips, weight, x, sums)


cdef void any_size_of_several(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS // 2, BAND_CHANNELS, 2, 1, 0, ANY_SIZE, band, strips, weight, x, sums)


cdef void halved_of_several(
    const Band* band, const Strips* strips, const real* weight, const real* x, vector* sums
) noexcept nogil:
    add_to_band(BAND_ROWS // 2, BAND_CHANNELS, 2, 2, 3, HALVED_THREE_BY_THREE, band, strips, weight, x, sums)


cdef inline bint halves(const Band* band) noexcept nogil:
    """Whether it is of stride 2 along both axes, and shared."""
    return band.form == HALVED_THREE_BY_THREE


cdef inline bint shares(const Band* band) noexcept nogil:
    return band.form != PLAIN and band.form != ALTERNATE


cdef inline int64_t most_vectors(const Band* band, int64_t channels) noexcept nogil:
    """Of a strip, so that its sums and what they take stay in registers."""
    if channels > 1:
        return 2
    if band.form == THREE_BY_THREE:
        return SHORT_BAND
    if band.form == SEVEN_COLUMNS:
        return TALL_BAND
    if halves(band):
        return HALVED_BAND
    return BAND // 2 if band.form == ALTERNATE else BAND


cdef inline void find_inside(const Band* band, int64_t S, int64_t lanes, Strips* strips) noexcept nogil:
    """Which of the whole strips lie inside."""
    cdef int64_t pace = S * strips.vectors * lanes
    cdef int64_t last = strips.lines.column[band.width - 1]
    if not band.placed:
        strips.inside_last = strips.whole
    elif S * strips.limit + band.left >= 0:
        strips.inside_first = bounded((pace - 1 - band.left) // pace, 0, strips.whole)
        strips.inside_last = bounded((band.row_length - band.left - last) // pace, strips.inside_first, strips.whole)


cdef void cut_strips(
    const Band* band, int64_t channels, int64_t width, int64_t lanes, bint once, Strips* strips, vector* as_vectors
) noexcept nogil:
    """Cut rows of so many elements. `once`: no other chain is added to the sums, so that strips may share some; the
    last one ends with the row, and is of one vector if that is all that is left over."""
    cdef int64_t S = 2 if halves(band) else 1
    cdef int64_t vectors = (width + lanes - 1) // lanes
    cdef int64_t most = most_vectors(band, channels)
    cdef int64_t i
    cdef bint shared = shares(band)
    strips.vectors = most
    strips.whole = vectors // most
    strips.count = strips.whole + vectors - strips.whole * most
    strips.width = vectors * lanes
    if once:
        # A strip's last vector may share some with the one before it, or reach beyond the row
        strips.vectors = most if width >= most * lanes or shared and vectors == most else 1
        if shared and 1 < vectors < most:
            strips.vectors = 2
        strips.whole = strips.count = (vectors + strips.vectors - 1) // strips.vectors
        if vectors == (strips.whole - 1) * strips.vectors + 1:  # one vector is left over
            strips.whole -= 1
        strips.width = width
    strips.limit = bounded(strips.width - strips.vectors * lanes, 0, strips.width)
    strips.last = bounded(strips.width - lanes, 0, strips.width)
    strips.lines.last = bounded(strips.width - lanes, 0, (strips.vectors - 1) * lanes)
    strips.pace = 2 if S == 2 or band.form == ALTERNATE else 1
    strips.inside_first = strips.inside_last = 0
    if not shared:
        return
    set_columns(band, &strips.lines)
    if strips.vectors == most and strips.width >= most * lanes:
        find_inside(band, S, lanes, strips)
    for i in range(strips.count):
        if (i < strips.inside_first or i >= strips.inside_last) and (i < 2 or i >= strips.count - 4):
            set_edges(
                S, band, &strips.lines, start_of(strips, i, lanes), strips.vectors if i < strips.whole else 1,
                strips.lines.last if i < strips.whole else 0, lanes, &strips.edges[edges_of(strips, i)], as_vectors,
            )


cdef inline void multiply_band(
    const Band* band, const Strips* strips, int64_t channels, const real* weight, const real* x, vector* sums
) noexcept nogil:
    """Add a chain to a band."""
    if channels > 1:
        if band.form == THREE_BY_THREE:
            three_by_three_of_several(band, strips, weight, x, sums)
        elif band.form == HALVED_THREE_BY_THREE:
            halved_of_several(band, strips, weight, x, sums)
        else:
            any_size_of_several(band, strips, weight, x, sums)
    elif band.form == THREE_BY_THREE:
        three_by_three(band, strips, weight, x, sums)
    elif band.form == HALVED_THREE_BY_THREE:
        halved(band, strips, weight, x, sums)
    elif band.form == FIVE_COLUMNS:
        five_columns(band, strips, weight, x, sums)
    elif band.form == SEVEN_COLUMNS:
        seven_columns(band, strips, weight, x, sums)
    elif band.form == ANY_SIZE:
        any_size(band, strips, weight, x, sums)
    elif band.form == ALTERNATE:
        alternate(band, strips, weight, x, sums)
    else:
        plain(band, strips, weight, x, sums)
