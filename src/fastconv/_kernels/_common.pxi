"""What all kernels of a level share: the vocabulary of vectors, staging, the register tile and the transforms."""

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
        SHORT_BAND
        TALL_ROWS
        TALL_BAND
        HALVED_BAND
        PAIR_EDGES
        HOLDS_WEIGHTS
        MOST_LINES
        MOST_LANES
        PANELS
        NEAR_BYTES
        PRODUCTS
        PRODUCTS_BY_TABLES
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
    void keep_pointer(...)
    void keep_vector(...)
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
    void take_next(...)
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
include "_activation.pxi"
include "_transpose.pxi"
include "_winograd_transforms.pxi"

LANES = {"float32": BYTES // 4, "float64": BYTES // 8}
LONGEST_CHAIN = CHAIN
TRANSFORMED_CHAIN = SHORT
TILE_ROWS = ROWS
