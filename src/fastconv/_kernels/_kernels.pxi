"""The kernels of one ISA level: raw pointers, no Python inside.  Import the module only where the level can run.

    stage → (pack) → tile → finish, put together in forward; _driver.pyx calls it for one block of work after another.
"""

from libc.math cimport M_2_SQRTPI, M_SQRT1_2
from libc.stdint cimport int64_t, uint32_t, uintptr_t
from libc.string cimport memcpy, memset

from fastconv._job cimport Axis, Job, Packing, Transform, block_function, pack_function, transform_function

cdef extern from "vector.h" nogil:
    ctypedef float vfloat
    ctypedef double vdouble
    enum:
        BYTES
        ROWS
        STRIP1
        STRIP2
        STRIP3
        STRIP4
        BAND
        BAND_CHANNELS
        DOTS
        MOST_DOTS
        DOT_TAPS
        BAND_ROWS
        BAND_SUMS
        MOST_LINES
        MOST_LANES
        PANELS
        PRODUCTS
        AHEAD
        LINE
        SQUARE
        CHAIN
        CHANNELWISE_PIXELS
        SPECTRA
    void prefetch_far(const void* address)
    void prefetch_near(const void* address)
    void prefetch_written(const void* address)
    void forget_loads()
    void broadcast(...)
    void multiply_add(...)
    void add_scalar(...)
    void multiply_scalar(...)
    void at_least(...)
    void at_most(...)
    void select_negative(...)
    void select_at_most(...)
    void select_below(...)
    void expm1_in_place(...)
    void exp_in_place(...)
    void erf_in_place(...)
    void load_part(...)
    ctypedef struct lane_mask:
        pass
    void set_mask(...)
    void load_masked(...)
    void store_part(...)
    void store_every_second(...)
    void take_even(...)
    void take_odd(...)
    void take_mixed(...)
    void take_last(...)
    void unmix(...)
    void interleave(...)
    void swap_pairs(...)

ctypedef fused real:
    float
    double

# Used beside `real`: of the four pairs only (float, vfloat) and (double, vdouble) are ever called.
ctypedef fused vector:
    vfloat
    vdouble

include "_move.pxi"
include "_stage.pxi"
include "_tile.pxi"
include "_band.pxi"
include "_activation.pxi"
include "_elementwise.pxi"
include "_finish.pxi"
include "_pack.pxi"
include "_tiles.pxi"
include "_forward.pxi"
include "_channelwise.pxi"
include "_winograd_transforms.pxi"
include "_winograd.pxi"
include "_interleave.pxi"
include "_spectra.pxi"
include "_transpose.pxi"
include "_pack_weights.pxi"
include "_grad_weight.pxi"
include "_dots.pxi"
include "_outer.pxi"
include "_grad_weight_winograd.pxi"
include "_grad_weight_channelwise.pxi"
include "_peak.pxi"


cdef void forward_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    forward[float, vfloat](job, item, <float*> workspace, <vfloat*> (<float*> workspace + job.sums_at))


cdef void forward_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    forward[double, vdouble](job, item, <double*> workspace, <vdouble*> (<double*> workspace + job.sums_at))


cdef void winograd_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    winograd[float, vfloat](job, item, <float*> workspace, <vfloat*> (<float*> workspace + job.sums_at))


cdef void winograd_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    winograd[double, vdouble](job, item, <double*> workspace, <vdouble*> (<double*> workspace + job.sums_at))


cdef void grad_weight_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    grad_weight[float, vfloat](job, item, <float*> workspace, <vfloat*> (<float*> workspace + job.sums_at))


cdef void grad_weight_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    grad_weight[double, vdouble](job, item, <double*> workspace, <vdouble*> (<double*> workspace + job.sums_at))


cdef void interleaved_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    interleaved[float, vfloat](job, item, <float*> workspace, <vfloat*> workspace)


cdef void interleaved_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    interleaved[double, vdouble](job, item, <double*> workspace, <vdouble*> workspace)


cdef void spectra_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    spectra[float, vfloat](job, item, <float*> workspace, <vfloat*> workspace)


cdef void spectra_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    spectra[double, vdouble](job, item, <double*> workspace, <vdouble*> workspace)


cdef void elementwise_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    elementwise[float, vfloat](job, item, <float*> workspace, <vfloat*> workspace)


cdef void elementwise_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    elementwise[double, vdouble](job, item, <double*> workspace, <vdouble*> workspace)


cdef bint pack_float32(const Packing* packing) noexcept nogil:
    return pack_weights(packing, <const float*> packing.weight, <float*> packing.packed, <vfloat*> packing.packed)


cdef bint pack_float64(const Packing* packing) noexcept nogil:
    return pack_weights(packing, <const double*> packing.weight, <double*> packing.packed, <vdouble*> packing.packed)


cdef void transform_float32(const Transform* transform) noexcept nogil:
    transform_weights(transform, <const float*> transform.packed, <vfloat*> transform.transformed)


cdef void transform_float64(const Transform* transform) noexcept nogil:
    transform_weights(transform, <const double*> transform.packed, <vdouble*> transform.transformed)


cdef transform_function _transform_float32 = transform_float32
cdef transform_function _transform_float64 = transform_float64
cdef block_function _winograd_float32 = winograd_float32
cdef block_function _winograd_float64 = winograd_float64
cdef pack_function _pack_float32 = pack_float32
cdef pack_function _pack_float64 = pack_float64
cdef block_function _forward_float32 = forward_float32
cdef block_function _forward_float64 = forward_float64
cdef block_function _interleaved_float32 = interleaved_float32
cdef block_function _interleaved_float64 = interleaved_float64
cdef block_function _spectra_float32 = spectra_float32
cdef block_function _spectra_float64 = spectra_float64
cdef block_function _elementwise_float32 = elementwise_float32
cdef block_function _elementwise_float64 = elementwise_float64
cdef block_function _grad_weight_float32 = grad_weight_float32
cdef block_function _grad_weight_float64 = grad_weight_float64

LANES = {"float32": BYTES // 4, "float64": BYTES // 8}
LONGEST_CHAIN = CHAIN
TRANSFORMED_CHAIN = SHORT
TILE_ROWS = ROWS
MOST_PANELS = PANELS
CHANNELS_OF_BAND = BAND_CHANNELS  # or one
ROWS_OF_BAND = {1: BAND_ROWS, BAND_CHANNELS: BAND_ROWS // 2}  # output channels → image rows
# form of a band that shares what it loads, stride, rows and columns of the kernel, most output channels
FORMS = (
    (THREE_BY_THREE, 1, 3, 3, BAND_CHANNELS),
    (FIVE_COLUMNS, 1, 0, 5, 1),
    (SEVEN_COLUMNS, 1, 0, 7, 1),
    (ANY_SIZE, 1, 0, 0, BAND_CHANNELS),
    (HALVED_THREE_BY_THREE, 2, 3, 3, BAND_CHANNELS),
)
PLAIN_FORM = PLAIN
ALTERNATE_FORM = ALTERNATE
PIXELS_OF_CHANNELWISE = CHANNELWISE_PIXELS
STRIPS = {1: STRIP1, 2: STRIP2, 3: STRIP3, 4: STRIP4}
MOST_SUMS = MOST_DOTS
DOT_SIZES = {rows: min(DOT_TAPS, MOST_DOTS // rows) for rows in range(1, DOTS + 1)}  # rows → most taps
FORWARD = {"float32": <uintptr_t> _forward_float32, "float64": <uintptr_t> _forward_float64}
WINOGRAD = {"float32": <uintptr_t> _winograd_float32, "float64": <uintptr_t> _winograd_float64}
TRANSFORM = {"float32": <uintptr_t> _transform_float32, "float64": <uintptr_t> _transform_float64}
POINTS = {1: (), 3: (0.0, 1.0), 4: (0.0, 1.0, -1.0), 6: (0.0, INNER, -INNER, OUTER, -OUTER)}  # and infinity
GRAD_WEIGHT = {"float32": <uintptr_t> _grad_weight_float32, "float64": <uintptr_t> _grad_weight_float64}
PACK = {"float32": <uintptr_t> _pack_float32, "float64": <uintptr_t> _pack_float64}
INTERLEAVED = {"float32": <uintptr_t> _interleaved_float32, "float64": <uintptr_t> _interleaved_float64}
SPECTRAL_SUMS = {"float32": <uintptr_t> _spectra_float32, "float64": <uintptr_t> _spectra_float64}
ELEMENTWISE = {"float32": <uintptr_t> _elementwise_float32, "float64": <uintptr_t> _elementwise_float64}
