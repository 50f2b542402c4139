"""The kernels of forward passes at one ISA level: raw pointers, no Python inside.

    stage → (pack) → tile → finish, put together in forward; _driver.pyx calls it for one block of work after another.

Import the module only where the level can run.
"""

include "_common.pxi"
include "_band_input.pxi"
include "_band_products.pxi"
include "_band.pxi"
include "_finish.pxi"
include "_pack.pxi"
include "_tiles.pxi"
include "_bands.pxi"
include "_forward.pxi"
include "_channelwise.pxi"
include "_winograd.pxi"
include "_spectra.pxi"
include "_pack_weights.pxi"
include "_peak.pxi"


cdef void forward_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    forward[float, vfloat](job, item, <float*> workspace, <vfloat*> (<float*> workspace + job.sums_at))


cdef void forward_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    forward[double, vdouble](job, item, <double*> workspace, <vdouble*> (<double*> workspace + job.sums_at))


cdef void winograd_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    winograd[float, vfloat](job, item, <float*> workspace, <vfloat*> (<float*> workspace + job.sums_at))


cdef void winograd_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    winograd[double, vdouble](job, item, <double*> workspace, <vdouble*> (<double*> workspace + job.sums_at))


cdef void spectra_float32(const Job* job, int64_t item, void* workspace) noexcept nogil:
    spectra[float, vfloat](job, item, <float*> workspace, <vfloat*> workspace)


cdef void spectra_float64(const Job* job, int64_t item, void* workspace) noexcept nogil:
    spectra[double, vdouble](job, item, <double*> workspace, <vdouble*> workspace)


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
cdef block_function _spectra_float32 = spectra_float32
cdef block_function _spectra_float64 = spectra_float64

MOST_PANELS = PANELS
NEAR_MEMORY = NEAR_BYTES
CHANNELS_OF_BAND = BAND_CHANNELS  # or one
ROWS_OF_BAND = BAND_ROWS  # of one that does not share what it loads
# form of a band that shares it, stride, rows and columns of the kernel, image rows of one output channel and of several
FORMS = (
    (THREE_BY_THREE, 1, 3, 3, TALL_ROWS, BAND_ROWS // 2),
    (FIVE_COLUMNS, 1, 0, 5, BAND_ROWS, 0),
    (SEVEN_COLUMNS, 1, 0, 7, TALL_ROWS, 0),
    (ANY_SIZE, 1, 0, 0, BAND_ROWS, BAND_ROWS // 2),
    (HALVED_THREE_BY_THREE, 2, 3, 3, BAND_ROWS, BAND_ROWS // 2),
)
PLAIN_FORM = PLAIN
ANY_FORM = ANY_SIZE
ALTERNATE_FORM = ALTERNATE
PIXELS_OF_CHANNELWISE = CHANNELWISE_PIXELS
STRIPS = {1: STRIP1, 2: STRIP2, 3: STRIP3, 4: STRIP4}
FORWARD = {"float32": <uintptr_t> _forward_float32, "float64": <uintptr_t> _forward_float64}
WINOGRAD = {"float32": <uintptr_t> _winograd_float32, "float64": <uintptr_t> _winograd_float64}
TRANSFORM = {"float32": <uintptr_t> _transform_float32, "float64": <uintptr_t> _transform_float64}
POINTS = {  # and infinity
    1: (),
    3: (0.0, 1.0),
    4: (0.0, 1.0, -1.0),
    5: (0.0, PAIR, -PAIR, LONE),
    6: (0.0, INNER, -INNER, OUTER, -OUTER),
}
PACK = {"float32": <uintptr_t> _pack_float32, "float64": <uintptr_t> _pack_float64}
SPECTRAL_SUMS = {"float32": <uintptr_t> _spectra_float32, "float64": <uintptr_t> _spectra_float64}
