/* A wall clock that steps on command, for LD_PRELOAD: see wall.py.
 *
 * CLOCK_REALTIME is the system's plus the seconds that the file $STEPPED_WALL holds, mapped as one
 * 64-bit integer. Every other clock is the system's own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *seconds;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("STEPPED_WALL");
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    if (!path) return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED) seconds = map;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real_clock_gettime) real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real_clock_gettime(clock, now);
    if (!failed && seconds && clock == CLOCK_REALTIME) now->tv_sec += *seconds;
    return failed;
}
