# For the driver: call this before every parallel region of more than one thread (see _threads).
cdef void note_parallel() noexcept nogil
