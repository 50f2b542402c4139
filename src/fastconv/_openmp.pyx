"""The gate to OpenMP: what the runtime says, and whether a parallel region may be entered at all.

The only parallel region of the package is in ``_driver``, which calls ``note_parallel`` before it enters one.
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

    static const char *file_of_openmp(void)
    {
        Dl_info info;
        return dladdr((void *) omp_get_max_threads, &info) ? info.dli_fname : "";
    }
    """
    int SPECIFICATION
    int omp_get_max_threads() noexcept nogil
    const char *file_of_openmp()

cdef bint _ran_parallel = False
cdef bint _serial = SPECIFICATION == 0

# Year and month of the OpenMP specification that the compiler follows, as 201511; 0 without OpenMP.
specification = SPECIFICATION


cdef void note_parallel() noexcept nogil:
    global _ran_parallel
    _ran_parallel = True


def ran_parallel():
    """Whether this process, or one that it was forked from, has run a parallel region of this package."""
    return _ran_parallel


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


def _in_forked_child():
    # The threads of libgomp's pool are not in the child, and a parallel region would wait for them for ever.
    global _serial
    _serial = _serial or _ran_parallel


os.register_at_fork(after_in_child=_in_forked_child)
