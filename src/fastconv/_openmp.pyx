cdef bint _ran_parallel = False


cdef void note_parallel() noexcept nogil:
    global _ran_parallel
    _ran_parallel = True
