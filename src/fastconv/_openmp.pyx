"""The gate to OpenMP: what the runtime says, and whether a parallel region may be entered at all.

The only parallel regions of the package are in ``_driver``, which calls ``note_parallel`` before it enters one.
"""

import os

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE  /* dladdr */
    #endif
    #include <dlfcn.h>

    #ifdef _OPENMP
    #include <omp.h>
    #define SPECIFICATION _OPENMP
    #else
    #define SPECIFICATION 0
    static int omp_get_max_threads(void) { return 1; }
    #endif

    /* Only GNU's runtime needs it: its pool belongs to the thread that forks, and its workers are not in the child. */
    #if defined(_OPENMP) && !defined(__clang__)
    #pragma weak omp_pause_resource_all
    static int end_pool(void) { return omp_pause_resource_all && omp_pause_resource_all(omp_pause_hard) == 0; }
    #else
    static int end_pool(void) { return 1; }
    #endif

    static const char *file_of_openmp(void)
    {
        Dl_info info;
        return dladdr((void *) omp_get_max_threads, &info) ? info.dli_fname : "";
    }
    """
    int SPECIFICATION
    int omp_get_max_threads() noexcept nogil
    const char *file_of_openmp()
    bint end_pool()

cdef bint _ran_parallel = False
cdef bint _pool_is_lost = False
cdef bint _serial = SPECIFICATION == 0

# Year and month of the OpenMP specification that the compiler follows, as 201511; 0 without OpenMP.
specification = SPECIFICATION


cdef void note_parallel() noexcept nogil:
    global _ran_parallel
    _ran_parallel = True


def serial():
    """Whether this process may never enter a parallel region."""
    return _serial


def library():
    """Path of the OpenMP runtime in use."""
    return os.fsdecode(file_of_openmp())


def max_threads():
    """What OpenMP would now give a parallel region of this thread."""
    return omp_get_max_threads()


def capped(int n, int unlimited):
    """``n`` threads, or fewer: 1 where no parallel region may be entered; OpenMP's maximum if below ``unlimited``."""
    cdef int now
    if _serial:
        return 1
    now = omp_get_max_threads()
    return now if now < unlimited and now < n else n


def _before_fork():
    # Another library may have run in parallel on the same runtime: without a pool, the child starts its own.
    global _pool_is_lost
    _pool_is_lost = _ran_parallel or not end_pool()


def _in_forked_child():
    # A parallel region would wait for ever for the workers of a pool that the fork did not copy.
    global _serial
    _serial = _serial or _pool_is_lost


os.register_at_fork(before=_before_fork, after_in_child=_in_forked_child)
