"""The kernels of gradients at one ISA level, as forward.pyx has those of forward passes.

grad_input is a forward pass but for one form of it; grad_weight, and gradients through activations, are here.
"""

include "_common.pxi"
include "_elementwise.pxi"
include "_interleave.pxi"
include "_grad_weight.pxi"
include "_dots.pxi"
include "_outer.pxi"
include "_grad_weight_winograd.pxi"
include "_grad_weight_channelwise.pxi"


cdef void grad_weight_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    grad_weight[float, vfloat](job, item, <float*> workspace, <vfloat*> (<float*> workspace + job.sums_at))


cdef void grad_weight_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    grad_weight[double, vdouble](job, item, <double*> workspace, <vdouble*> (<double*> workspace + job.sums_at))


cdef void interleaved_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    interleaved[float, vfloat](job, item, <float*> workspace, <vfloat*> workspace)


cdef void interleaved_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    interleaved[double, vdouble](job, item, <double*> workspace, <vdouble*> workspace)


cdef void elementwise_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    elementwise[float, vfloat](job, item, <float*> workspace, <vfloat*> workspace)


cdef void elementwise_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    elementwise[double, vdouble](job, item, <double*> workspace, <vdouble*> workspace)


cdef block_function _interleaved_float32 = interleaved_float32
cdef block_function _interleaved_float64 = interleaved_float64
cdef block_function _elementwise_float32 = elementwise_float32
cdef block_function _elementwise_float64 = elementwise_float64
cdef block_function _grad_weight_float32 = grad_weight_float32
cdef block_function _grad_weight_float64 = grad_weight_float64

MOST_SUMS = MOST_DOTS
DOT_SIZES = {rows: min(DOT_TAPS, MOST_DOTS // rows) for rows in range(1, DOTS + 1)}  # rows → most taps
GRAD_WEIGHT = {"float32": <uintptr_t> _grad_weight_float32, "float64": <uintptr_t> _grad_weight_float64}
INTERLEAVED = {"float32": <uintptr_t> _interleaved_float32, "float64": <uintptr_t> _interleaved_float64}
ELEMENTWISE = {"float32": <uintptr_t> _elementwise_float32, "float64": <uintptr_t> _elementwise_float64}
