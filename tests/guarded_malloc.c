/* posix_memalign whose memory ends right before an inaccessible page, for preloading: what reads or writes behind a
 * workspace ends the process.  Nothing is given back. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARENA ((size_t)1 << 34)

static char *arena, *next;

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    size_t page = sysconf(_SC_PAGESIZE), whole;
    size = (size + alignment - 1) / alignment * alignment;
    whole = (size + page - 1) / page * page;
    if (!arena) {
        void *all = mmap(0, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (all == MAP_FAILED) return ENOMEM;
        arena = next = all;
    }
    if (whole + page > (size_t)(arena + ARENA - next)) return ENOMEM;
    if (mprotect(next, whole, PROT_READ | PROT_WRITE)) return ENOMEM;
    *memory = next + whole - size;
    next += whole + page;
    return 0;
}

void free(void *memory)
{
    static void (*given)(void *);
    if (arena && (char *)memory >= arena && (char *)memory < arena + ARENA) return;
    if (!given) given = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    given(memory);
}
