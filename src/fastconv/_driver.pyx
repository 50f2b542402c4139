"""The driver: blocks of work over threads.  The only parallel loops of the package are here.

A `Task` is a convolution with everything settled but the pointers.  Its blocks run in parallel slices that are short
enough for signals (Ctrl-C) to be looked for between them; each block is computed by one thread, so that neither threads
nor slices change bits.
"""

import numpy as np

from cpython.exc cimport PyErr_CheckSignals
from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.stdint cimport INT64_MAX, int64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastconv._job cimport Job, Packing, Transform, block_function, pack_function, transform_function
from fastconv._openmp cimport note_parallel

from fastconv._threads import get_num_threads

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void** memory, size_t alignment, size_t size)

import_array()

cdef enum:
    ALIGNMENT = 64  # bytes: a cache line, and the widest vector

cdef int64_t FLOPS_IN_A_SLICE = 500_000_000  # of one thread: 50 ms at 10 GFLOP/s, which few shapes fall short of
cdef int64_t SHARES = 8  # parts that a thread takes its blocks in, so that an uneven load evens out
cdef int MOST_WORKSPACES = 8
cdef int64_t LARGE = 1 << 16  # bytes: arrays that take longer to fill than to align
cdef int64_t MANY_BYTES = 1 << 20  # of weights that threads pack together,
cdef int64_t MANY_KERNELS = 1 << 14  # and kernels that they transform: a few milliseconds of one
cdef int64_t MANY_SUMS = 1 << 17  # bytes of parts that threads add up together, or of zeros that they write
cdef enum:
    SOME_SUMS = 1024  # elements that are added at a time: they stay in the first-level cache


cdef class Workspace:
    """Aligned memory for the threads of one call."""

    cdef char* memory
    cdef size_t size

    def __cinit__(self, size_t size):
        self.size = size
        if posix_memalign(<void**> &self.memory, ALIGNMENT, size):
            self.memory = NULL
            raise MemoryError(f"no memory for a workspace of {size} bytes")
        memset(self.memory, 0, size)  # no junk that the processor would take for denormal numbers

    def __dealloc__(self):
        free(self.memory)


cdef list _idle = []  # workspaces between calls; append and pop are atomic


cdef Workspace acquire(size_t size):
    cdef Workspace workspace
    try:
        workspace = _idle.pop()
    except IndexError:
        return Workspace(size)
    return workspace if workspace.size >= size else Workspace(size)


cdef void release(Workspace workspace):
    if len(_idle) < MOST_WORKSPACES:
        _idle.append(workspace)


def no_job():
    """The fields of a `Job`, all zero."""
    cdef Job job
    memset(&job, 0, sizeof(Job))
    return job


cdef aligned(int64_t size, bint zeros):
    """Memory, of zeros if they are wanted: what keeps it alive, and its aligned address."""
    memory = (np.zeros if zeros else np.empty)(size + ALIGNMENT, np.uint8)
    cdef uintptr_t address = <uintptr_t> PyArray_DATA(memory)
    return memory, address + -address % ALIGNMENT


def empty(tuple shape, dtype):
    """A new array. A large one begins with a cache line, so that vectors of it need not lie across two."""
    cdef int64_t size = dtype.itemsize
    cdef Py_ssize_t length
    for length in shape:
        size *= length
    if size < LARGE:
        return np.empty(shape, dtype)
    memory, address = aligned(size, False)
    return np.ndarray(shape, dtype, memory, address - <uintptr_t> PyArray_DATA(memory))


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


cdef class Task:
    """A convolution that wants only its arrays.

    Parameters
    ----------
    function : int
        Address of the block function.
    job : dict
        The fields of `Job`, the arrays' addresses excepted.
    keep : object
        Whatever must live as long as the job's addresses: the index tables.
    threads : int
    workspace_bytes : int
        Working memory of one thread.
    flops : int
        Of all blocks.
    packing : hashable
        How the weights must be packed.
    kernel : str
        What `explain` says of it.
    """

    cdef Job job
    cdef object keep
    cdef int threads
    cdef int64_t slice
    cdef readonly int64_t workspace_bytes
    cdef readonly object packing
    cdef readonly str kernel

    def __init__(
        self, uintptr_t function, dict job, *,
        keep, int threads, int64_t workspace_bytes, int64_t flops, packing, kernel,
    ):
        self.job = job
        self.job.function = function
        self.keep = keep
        self.threads = threads
        self.workspace_bytes = (workspace_bytes + 63) // 64 * 64
        self.slice = max(1, self.job.items * FLOPS_IN_A_SLICE // max(flops, 1)) * self.threads
        self.packing = packing
        self.kernel = kernel

    cdef void point(self, Job* job, ndarray x, Packed packed, ndarray bias, ndarray add, ndarray out):
        """The job, with its arrays."""
        job[0] = self.job
        job.x = <uintptr_t> PyArray_DATA(x)
        job.weight = packed.address
        job.unpacked = packed.address == <uintptr_t> &packed.packing
        job.transformed = packed.transformed
        job.weights_plane = packed.plane
        job.skips = job.skips and packed.finite
        job.bias = <uintptr_t> PyArray_DATA(bias) if bias is not None else 0
        job.add = <uintptr_t> PyArray_DATA(add) if add is not None else 0
        job.y = <uintptr_t> PyArray_DATA(out)

    def run(self, ndarray x, Packed packed not None, ndarray bias, ndarray add, ndarray out):
        """Convolve: the arrays must have the strides that the job was made for."""
        cdef Job job
        self.point(&job, x, packed, bias, add, out)
        run_slices(&job, 1, self.job.items, self.slice, self.threads, self.workspace_bytes)

    def run_grad_weight(self, ndarray x, ndarray grad_output, ndarray parts, int64_t round):
        """One round of the gradient of the weights: `parts`, to be added up, are (splits, *weight_shape)."""
        cdef Job job = self.job
        job.round = round
        job.x = <uintptr_t> PyArray_DATA(x)
        job.y = <uintptr_t> PyArray_DATA(grad_output)
        job.weight = <uintptr_t> PyArray_DATA(parts)
        run_slices(&job, 1, self.job.items, self.slice, self.threads, self.workspace_bytes)

    def run_spectra(self, ndarray x, ndarray weight, ndarray out):
        """Sums of spectra: contiguous arrays of complex numbers, and what the weights are as the kernel wants them."""
        cdef Job job = self.job
        job.x = <uintptr_t> PyArray_DATA(x)
        job.weight = <uintptr_t> PyArray_DATA(weight)
        job.y = <uintptr_t> PyArray_DATA(out)
        run_slices(&job, 1, self.job.items, self.slice, self.threads, self.workspace_bytes)

    def run_elementwise(self, ndarray x, ndarray grad, ndarray out):
        """An activation of contiguous arrays, or with `grad` the gradient through it."""
        cdef Job job = self.job
        job.x = <uintptr_t> PyArray_DATA(x)
        job.add = <uintptr_t> PyArray_DATA(grad) if grad is not None else 0
        job.y = <uintptr_t> PyArray_DATA(out)
        run_slices(&job, 1, self.job.items, self.slice, self.threads, self.workspace_bytes)


cdef struct Place:
    # Where a part of the arrays begins, in bytes
    int64_t x
    int64_t bias
    int64_t add
    int64_t y


cdef class Together:
    """Several tasks on parts of the same arrays, block by block of each: what they share is in cache.

    Parameters
    ----------
    tasks : list of Task
    places : list of tuple of int
        Where their parts of x, bias, add and out begin, in bytes.
    """

    cdef list tasks
    cdef Place* places

    def __cinit__(self, list tasks, list places):
        cdef Py_ssize_t at
        self.tasks = tasks
        self.places = <Place*> malloc(len(tasks) * sizeof(Place))
        if self.places == NULL:
            raise MemoryError(f"no memory for {len(tasks)} places")
        for at in range(len(tasks)):
            self.places[at].x, self.places[at].bias, self.places[at].add, self.places[at].y = places[at]

    def __dealloc__(self):
        free(self.places)

    def run(self, ndarray x, list packed not None, ndarray bias, ndarray add, ndarray out):
        """`Task.run` of them all; `packed` holds the weights of each."""
        cdef Py_ssize_t count = len(self.tasks)
        cdef Job* jobs = <Job*> malloc(count * sizeof(Job))
        cdef int64_t most = 0, slice = INT64_MAX
        cdef int64_t workspace_bytes = 0
        cdef int threads = 1
        cdef Task task
        cdef Place* place
        cdef Job* job
        cdef Py_ssize_t at
        if jobs == NULL:
            raise MemoryError(f"no memory for {count} jobs")
        try:
            for at in range(count):
                task, job, place = <Task> self.tasks[at], jobs + at, self.places + at
                task.point(job, x, packed[at], bias, add, out)
                job.x += place.x
                job.y += place.y
                job.bias += place.bias if job.bias else 0
                job.add += place.add if job.add else 0
                most = max(most, job.items)
                threads = max(threads, task.threads)
                workspace_bytes = max(workspace_bytes, task.workspace_bytes)
            for at in range(count):
                slice = min(slice, (<Task> self.tasks[at]).slice * most // max(1, jobs[at].items))
            run_slices(jobs, count, most, slice, threads, workspace_bytes)
        finally:
            free(jobs)


cdef run_slices(const Job* jobs, int64_t count, int64_t most, int64_t slice, int threads, int64_t workspace_bytes):
    """All blocks of all jobs, of which none has more than `most`, in `slice` turns at a time."""
    threads = max(1, min(threads, most * count))
    cdef Workspace workspace = acquire(<size_t> (workspace_bytes * threads))
    cdef int64_t first = 0, last
    try:
        while first < most * count:
            last = min(first + slice, most * count)
            with nogil:
                run_blocks(jobs, count, most, first, last, threads, workspace.memory, workspace_bytes)
            PyErr_CheckSignals()
            first = last
    finally:
        release(workspace)


cdef inline void run_block(const Job* jobs, int64_t count, int64_t most, int64_t item, void* memory) noexcept nogil:
    """Jobs take `most` turns each; those of fewer blocks let some go by, at even distances."""
    cdef const Job* job = jobs
    if count > 1:
        job += item % count
        item = item // count * job.items
        if item % most >= job.items:
            return
        item = item // most
    (<block_function> <void*> job.function)(job, item, memory)


cdef void run_blocks(
    const Job* jobs, int64_t count, int64_t most, int64_t first, int64_t last, int threads, char* memory, int64_t stride
) noexcept nogil:
    cdef int64_t item, share
    if threads == 1:
        for item in range(first, last):
            run_block(jobs, count, most, item, memory)
        return
    note_parallel()
    share = max(1, (last - first) // (threads * SHARES))
    for item in prange(first, last, num_threads=threads, schedule="dynamic", chunksize=share):
        run_block(jobs, count, most, item, memory + threadid() * stride)


def clear(ndarray out not None):
    """Zeros in all threads, if the array is contiguous in C order; whether it is."""
    if not (<object> out).flags.c_contiguous:
        return False
    cdef char* memory = <char*> PyArray_DATA(out)
    cdef int64_t size = out.nbytes
    cdef int threads = get_num_threads() if size >= MANY_SUMS else 1
    with nogil:
        clear_all(memory, size, threads)
    return True


cdef void clear_all(char* memory, int64_t size, int threads) noexcept nogil:
    cdef int part
    if threads == 1:
        memset(memory, 0, size)
        return
    note_parallel()
    for part in prange(threads, num_threads=threads, schedule="static"):
        memset(memory + size * part // threads, 0, size * (part + 1) // threads - size * part // threads)


def sum_of_parts(ndarray parts not None):
    """The sum along the first axis, of float32 or float64, contiguous: every second entry in order, and so the others.

    Two chains, each half as long, round less.
    """
    if parts.shape[0] == 1:
        return parts[0].copy()
    total = empty((<object> parts).shape[1:], parts.dtype)
    cdef uintptr_t source = <uintptr_t> PyArray_DATA(parts), target = <uintptr_t> PyArray_DATA(total)
    cdef int64_t count = parts.shape[0], size = total.size
    cdef int threads = get_num_threads() if parts.nbytes >= MANY_SUMS else 1
    if parts.itemsize == sizeof(float):
        with nogil:
            add_parts(<const float*> source, count, size, <float*> target, threads)
    else:
        with nogil:
            add_parts(<const double*> source, count, size, <double*> target, threads)
    return total


cdef void add_parts(
    const floating* parts, int64_t count, int64_t size, floating* total, int threads
) noexcept nogil:
    cdef int64_t blocks = (size + SOME_SUMS - 1) // SOME_SUMS, block
    if threads == 1:
        for block in range(blocks):
            add_some_parts(parts, count, size, block * SOME_SUMS, total)
        return
    note_parallel()
    for block in prange(blocks, num_threads=threads, schedule="static"):
        add_some_parts(parts, count, size, block * SOME_SUMS, total)


cdef void add_some_parts(
    const floating* parts, int64_t count, int64_t size, int64_t first, floating* total
) noexcept nogil:
    cdef floating others[SOME_SUMS]
    cdef int64_t most = size - first if size - first < SOME_SUMS else SOME_SUMS
    cdef int64_t part, i
    parts += first
    total += first
    for i in range(most):
        total[i] = parts[i]
        others[i] = parts[size + i]
    for part in range(2, count):
        if part % 2:
            for i in range(most):
                others[i] += parts[part * size + i]
        else:
            for i in range(most):
                total[i] += parts[part * size + i]
    for i in range(most):
        total[i] += others[i]
