"""What the processor, and this module's compiler, say of themselves; ``_isa`` reads meaning into it.

Compiled for the plainest processor there is, because it runs before anybody knows what the one at hand can do.
On other processors than x86 every answer is zero.
"""

from libc.stdint cimport uint32_t

cdef extern from *:
    """
    #include <stdint.h>

    #if defined(__x86_64__) || defined(__i386__)
    #include <cpuid.h>
    #define run_cpuid __get_cpuid_count

    /* Which registers the operating system saves. Faults unless cpuid reports OSXSAVE. */
    static uint32_t run_xgetbv(void)
    {
        uint32_t low, high;
        __asm__ volatile ("xgetbv" : "=a" (low), "=d" (high) : "c" (0));
        return low;
    }
    #else
    #define run_cpuid(leaf, subleaf, a, b, c, d) 0
    #define run_xgetbv() 0
    #endif

    #ifdef __clang__
    #define COMPILER __VERSION__
    #else
    #define COMPILER "gcc " __VERSION__
    #endif
    """
    int run_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
    uint32_t run_xgetbv()
    const char *COMPILER

compiler = COMPILER.decode()


def cpuid(uint32_t leaf, uint32_t subleaf=0):
    """Registers ``(eax, ebx, ecx, edx)``; zeros for a leaf that the processor does not have."""
    cdef uint32_t a = 0, b = 0, c = 0, d = 0
    if not run_cpuid(leaf, subleaf, &a, &b, &c, &d):
        return 0, 0, 0, 0
    return a, b, c, d


def saved_registers():
    """XCR0: a bit for each kind of register that the operating system saves when it switches threads."""
    cdef uint32_t osxsave = 1 << 27
    return run_xgetbv() if cpuid(1)[2] & osxsave else 0
