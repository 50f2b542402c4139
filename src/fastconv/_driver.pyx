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


include "_packed.pxi"
include "_whole_arrays.pxi"


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
