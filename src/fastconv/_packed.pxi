"""Packed weights, and how threads pack them. A part of `_driver.pyx`."""

cdef int64_t MANY_BYTES = 1 << 20  # of weights that threads pack together,
cdef int64_t MANY_KERNELS = 1 << 14  # and kernels that they transform: a few milliseconds of one


cdef class Packer:
    """Packs arrays of weights that all lie like the first one, or has tasks do it; holds nothing of their values."""

    cdef pack_function function
    cdef Packing packing  # with the offset of the weights in their array, but no addresses
    cdef int64_t size
    cdef int64_t itemsize
    cdef transform_function transform_function  # NULL where nothing is transformed
    cdef Transform transform
    cdef int64_t transformed_size
    cdef object matrices  # kept for their addresses
    cdef bint later  # the tasks pack what they need

    def __call__(self, ndarray weight):
        """The weights in this array, `Packed`."""
        cdef Packed packed = Packed.__new__(Packed)
        self.pack(packed, <uintptr_t> PyArray_DATA(weight))
        if self.transform_function != NULL:
            self.add_transformed(packed)
        return packed

    cdef pack(self, Packed packed, uintptr_t weight):
        cdef Packing packing = self.packing
        packing.weight += weight
        if self.later:
            packed.packing = packing
            packed.address = <uintptr_t> &packed.packing
            packed.finite = True
            return
        packed.memory, packed.address = aligned(self.size, packing.channels % packing.width)
        packing.packed = packed.address
        cdef int threads = get_num_threads() if self.size >= MANY_BYTES else 1
        with nogil:
            packed.finite = pack_all(self.function, &packing, self.itemsize, threads)

    cdef add_transformed(self, Packed packed):
        cdef Transform transform = self.transform
        packed.transformed_memory, packed.transformed = aligned(self.transformed_size, False)
        packed.plane = transform.plane
        transform.packed = packed.address
        transform.transformed = packed.transformed
        cdef int64_t kernels = transform.groups * transform.tiles * transform.products * transform.width
        cdef int threads = get_num_threads() if kernels >= MANY_KERNELS else 1
        with nogil:
            transform_all(self.transform_function, &transform, threads)


cdef bint pack_all(pack_function function, const Packing* packing, int64_t itemsize, int threads) noexcept nogil:
    """Some tiles of channels in each thread; whether all weights are finite."""
    cdef int part
    cdef bint finite = True
    if threads == 1 or packing.groups > 1:
        return function(packing)
    note_parallel()
    for part in prange(threads, num_threads=threads, schedule="static"):
        finite &= pack_part(function, packing, itemsize, part, threads)
    return finite


cdef bint pack_part(
    pack_function function, const Packing* packing, int64_t itemsize, int64_t part, int64_t parts
) noexcept nogil:
    cdef Packing own = packing[0]
    cdef const int64_t* size = packing.size
    cdef int64_t tiles = (packing.channels + packing.width - 1) // packing.width
    cdef int64_t first = part * tiles // parts * packing.width
    cdef int64_t last = (part + 1) * tiles // parts * packing.width
    own.channels = (last if last < packing.channels else packing.channels) - first
    own.weight += first * packing.channel_stride * itemsize
    own.packed += first * size[0] * size[1] * size[2] * size[3] * itemsize
    return function(&own)


cdef void transform_all(transform_function function, const Transform* transform, int threads) noexcept nogil:
    """A part in each thread; every kernel is transformed by itself, so that threads do not change bits."""
    cdef int part
    if threads == 1:
        transform_part(function, transform, 0, 1)
        return
    note_parallel()
    for part in prange(threads, num_threads=threads, schedule="static"):
        transform_part(function, transform, part, threads)


cdef void transform_part(
    transform_function function, const Transform* transform, int64_t part, int64_t parts
) noexcept nogil:
    cdef Transform own = transform[0]
    cdef int64_t all = transform.groups * transform.tiles * transform.products
    own.first = part * all // parts
    own.last = (part + 1) * all // parts
    function(&own)


cdef class Packed:
    """Weights as a task wants them: (groups, tiles, products, channels of a tile), the last tile filled up with zeros;
    or, `later`, only where they lie.

    Parameters
    ----------
    function : int
        Address of the function that packs.
    weight : ndarray
        (groups, channels, c, d, h, w), with any strides.
    width : int
        Channels of a tile.
    later : bool, optional
        Whether nothing is packed yet: each task packs what it needs. The caller keeps the array, as it is, until then.
    """

    cdef Packer packer
    cdef uintptr_t source
    cdef object memory
    cdef object transformed_memory
    cdef uintptr_t address
    cdef Packing packing  # which that is the address of, where tasks pack what they need
    cdef uintptr_t transformed
    cdef int64_t plane
    cdef bint finite  # whether they all are, or that is not known yet: if so, products with zeros may be left out

    def __init__(self, uintptr_t function, ndarray weight, int64_t width, bint later=False):
        cdef Packer packer = Packer()
        cdef Packing* packing = &packer.packing
        cdef int64_t products = weight.shape[2] * weight.shape[3] * weight.shape[4] * weight.shape[5]
        cdef int64_t tiles = (weight.shape[1] + width - 1) // width
        cdef int axis, at = 3
        packer.function = <pack_function> <void*> function
        packer.itemsize = weight.itemsize
        packer.later = later
        packer.size = weight.shape[0] * tiles * products * width * weight.itemsize
        packing.groups = weight.shape[0]
        packing.channels = weight.shape[1]
        packing.width = width
        packing.group_stride = weight.strides[0] // weight.itemsize
        packing.channel_stride = weight.strides[1] // weight.itemsize
        packing.size[:] = [1, 1, 1, weight.shape[5]]
        packing.stride[:] = [0, 0, 0, weight.strides[5] // weight.itemsize]
        for axis in range(4, 1, -1):
            if weight.shape[axis] == 1:
                continue
            if packing.size[at] > 1:
                if weight.strides[axis] // weight.itemsize == packing.stride[at] * packing.size[at]:
                    packing.size[at] *= weight.shape[axis]
                    continue
                at -= 1
            packing.size[at] = weight.shape[axis]
            packing.stride[at] = weight.strides[axis] // weight.itemsize
        self.packer = packer
        self.source = <uintptr_t> PyArray_DATA(weight)
        packer.pack(self, self.source)

    def like(self, ndarray weight):
        """The `Packer` for arrays that lie like `weight`, which is contiguous; None if these are no view of it."""
        cdef uintptr_t first = <uintptr_t> PyArray_DATA(weight)
        if not first <= self.source < first + weight.nbytes:
            return None
        self.packer.packing.weight = self.source - first
        return self.packer

    def transform(self, uintptr_t function, ndarray weight, matrices):
        """Add what Winograd multiplies: (groups, points, tiles, products, channels of a tile).

        Parameters
        ----------
        function : int
            Address of the function that transforms.
        weight : ndarray
            As before.
        matrices : pair of ndarray
            (points, taps), of the same type, contiguous, for the axes h and w.
        """
        cdef Packer packer = self.packer
        cdef Transform* transform = &packer.transform
        cdef ndarray matrix
        cdef int axis
        transform.groups = weight.shape[0]
        transform.products = weight.shape[2] * weight.shape[3]
        transform.width = packer.packing.width
        transform.tiles = (weight.shape[1] + transform.width - 1) // transform.width
        for axis in range(2):
            matrix = matrices[axis]
            transform.points[axis] = matrix.shape[0]
            transform.taps[axis] = matrix.shape[1]
            transform.matrix[axis] = <uintptr_t> PyArray_DATA(matrix)
        # a cache line more: planes at powers of two would fall on one another in the cache
        transform.plane = transform.tiles * transform.products * transform.width + ALIGNMENT // weight.itemsize
        packer.matrices = matrices
        packer.transform_function = <transform_function> <void*> function
        packer.transformed_size = (
            transform.groups * transform.points[0] * transform.points[1] * transform.plane * weight.itemsize
        )
        packer.add_transformed(self)
