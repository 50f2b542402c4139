# Set by whoever is about to run a parallel region; see _openmp.pyx.
cdef void note_parallel() noexcept nogil
