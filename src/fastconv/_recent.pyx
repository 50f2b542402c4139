"""Calls that are like one before: recognised by how their arrays lie, before anything is parsed or any object made.

Who calls `Recent.find` runs at once what it gives, and goes the general way where that is None.  A call that is found
has the arguments, the number of threads and the environment of the one that was noted; its arrays have the same types,
shapes and strides; and its `out` is writable and apart from the inputs.  So what the general way found out holds again.
"""

import os

from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject, PyObject_Hash
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdlib cimport getenv
from libc.string cimport memcmp, memcpy, strcmp
from numpy cimport (
    NPY_DOUBLE, NPY_FLOAT, PyArray_BYTES, PyArray_CheckExact, PyArray_DIMS, PyArray_ISBEHAVED_RO, PyArray_ISWRITEABLE,
    PyArray_NDIM, PyArray_STRIDES, PyArray_TYPE, import_array, ndarray, npy_intp,
)

from fastconv._cache import Bounded
from fastconv._threads import get_num_threads

import_array()

cdef enum:
    MOST_AXES = 8
    MOST_ARRAYS = 5  # `out` among them


cdef struct Form:
    # How an array lies that the kernels can work on as it stands
    int type  # NumPy's number of it; -1: there is no array
    int axes
    npy_intp size[MOST_AXES]
    npy_intp stride[MOST_AXES]


cdef inline bint is_usual(object array) noexcept:
    """Whether it has a `Form`."""
    return array is None or (
        PyArray_CheckExact(array)
        and PyArray_TYPE(<ndarray> array) in (NPY_FLOAT, NPY_DOUBLE)
        and PyArray_ISBEHAVED_RO(<ndarray> array)  # aligned and in native byte order
        and PyArray_NDIM(<ndarray> array) <= MOST_AXES
    )


cdef void describe(object array, Form* form) noexcept:
    form.type = -1
    if array is not None:
        form.type = PyArray_TYPE(<ndarray> array)
        form.axes = PyArray_NDIM(<ndarray> array)
        memcpy(form.size, PyArray_DIMS(<ndarray> array), form.axes * sizeof(npy_intp))
        memcpy(form.stride, PyArray_STRIDES(<ndarray> array), form.axes * sizeof(npy_intp))


cdef inline bint has_form(object array, const Form* form) noexcept:
    """Of a usual array."""
    if array is None:
        return form.type == -1
    return (
        PyArray_TYPE(<ndarray> array) == form.type
        and PyArray_NDIM(<ndarray> array) == form.axes
        and memcmp(PyArray_DIMS(<ndarray> array), form.size, form.axes * sizeof(npy_intp)) == 0
        and memcmp(PyArray_STRIDES(<ndarray> array), form.stride, form.axes * sizeof(npy_intp)) == 0
    )


cdef inline size_t mixed(size_t key, object array) noexcept:
    """The key of one more usual array."""
    cdef int axis
    if array is None:
        return key * 31
    for axis in range(PyArray_NDIM(<ndarray> array)):
        key = (key ^ <size_t> PyArray_DIMS(<ndarray> array)[axis]) * 1000003
        key = (key ^ <size_t> PyArray_STRIDES(<ndarray> array)[axis]) * 1000003
    return key


cdef inline void bounds(ndarray array, char** first, char** last) noexcept:
    """Of the memory of a usual array: from `first` to before `last`; nothing of an empty one."""
    cdef int axis
    cdef npy_intp reach
    first[0] = last[0] = PyArray_BYTES(array)
    for axis in range(PyArray_NDIM(array)):
        reach = (PyArray_DIMS(array)[axis] - 1) * PyArray_STRIDES(array)[axis]
        if PyArray_DIMS(array)[axis] == 0:
            last[0] = first[0]
            return
        if reach < 0:
            first[0] += reach
        else:
            last[0] += reach
    last[0] += sizeof(double) if PyArray_TYPE(array) == NPY_DOUBLE else sizeof(float)


cdef bint is_apart(ndarray out, tuple inputs) noexcept:
    """Whether the bounds of `out` overlap those of no input."""
    cdef char* first
    cdef char* last
    cdef char* its_first
    cdef char* its_last
    cdef Py_ssize_t at
    bounds(out, &first, &last)
    for at in range(PyTuple_GET_SIZE(inputs)):
        array = <object> PyTuple_GET_ITEM(inputs, at)
        if array is not None:
            bounds(<ndarray> array, &its_first, &its_last)
            if first < its_last and its_first < last:
                return False
    return True


cdef bint is_plain(object value, int depth) noexcept:
    """Whether an argument never changes, and equals what its type and ``==`` say. No arguments are nested deeply."""
    kind = type(value)
    if kind is int or kind is str or value is None or kind is bool or kind is float:
        return True
    if kind is not tuple or depth == 0:
        return False
    for entry in <tuple> value:
        if not is_plain(entry, depth - 1):
            return False
    return True


cdef bint is_same(object one, object other):
    """Whether two plain arguments are equal, with 1, 1.0 and True told apart."""
    cdef Py_ssize_t at
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) is not tuple:
        return one == other
    if PyTuple_GET_SIZE(one) != PyTuple_GET_SIZE(other):
        return False
    for at in range(PyTuple_GET_SIZE(one)):
        if not is_same(<object> PyTuple_GET_ITEM(one, at), <object> PyTuple_GET_ITEM(other, at)):
            return False
    return True


cdef inline const char* environment() noexcept:
    """Not by `os.environ`, which takes longer than a small convolution. It sets this one too."""
    cdef const char* value = getenv("FASTCONV_ALGORITHM")
    if value == NULL:
        return b""
    return value


def forced():
    """The algorithm that the environment asks for where the caller does not care."""
    return os.fsdecode(environment()) or "auto"


cdef class Noted:
    """A call, and what was found for it."""

    cdef Form form[MOST_ARRAYS]
    cdef tuple arguments
    cdef bytes environment
    cdef int threads
    cdef object found


cdef class Recent:
    """What was found for at most `limit` recent calls. Any number of threads may use it; it takes no lock."""

    cdef readonly object noted

    def __init__(self, limit):
        self.noted = Bounded(limit)

    def find(self, tuple arguments, tuple inputs, out):
        """What was noted for a call with these arguments, with `inputs` that lie like these, and with such an `out`."""
        cdef size_t key
        cdef Py_ssize_t at
        cdef PyObject* known
        cdef Noted noted
        if not usual(arguments, inputs, out):
            return None
        key = key_of(arguments, inputs, out)
        known = PyDict_GetItem(self.noted, key)
        if known == NULL:
            return None
        noted = <Noted> known
        for at in range(PyTuple_GET_SIZE(inputs)):
            if not has_form(<object> PyTuple_GET_ITEM(inputs, at), &noted.form[at]):
                return None
        if not has_form(out, &noted.form[PyTuple_GET_SIZE(inputs)]) or not is_same(arguments, noted.arguments):
            return None
        if noted.threads != get_num_threads():
            return None
        if arguments and strcmp(environment(), noted.environment) != 0:  # a plan has none, and its choice is made
            return None
        if out is not None and not (PyArray_ISWRITEABLE(<ndarray> out) and is_apart(<ndarray> out, inputs)):
            return None
        return noted.found

    def note(self, find, tuple arguments, tuple inputs, out):
        """Note what ``find()`` gives, if it gives anything and the call is one that can be recognised."""
        cdef Noted noted
        if not usual(arguments, inputs, out):
            return
        noted = Noted()
        noted.threads, noted.environment, noted.arguments = get_num_threads(), environment(), arguments
        for at, array in enumerate((*inputs, out)):
            describe(array, &noted.form[at])
        noted.found = find()
        if noted.found is not None:
            self.noted.put(key_of(arguments, inputs, out), noted)


cdef bint usual(tuple arguments, tuple inputs, object out) noexcept:
    """Whether a call can be recognised."""
    for array in inputs:
        if not is_usual(array):
            return False
    return is_usual(out) and is_plain(arguments, 3)


cdef size_t key_of(tuple arguments, tuple inputs, object out) except? 0:
    cdef size_t key = <size_t> PyObject_Hash(arguments)
    for array in inputs:
        key = mixed(key, array)
    return mixed(key, out)
