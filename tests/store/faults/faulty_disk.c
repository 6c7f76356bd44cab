/* A disk that fails on command, for LD_PRELOAD: see disk.py, which says what the modes are.
 *
 * Only files under $FAULTY_DISK_FOLDER whose names begin with "spiderwebd.db" are touched, the shared
 * memory and lock files apart. The mode is the first int of the file $FAULTY_DISK_CONTROL, mapped; the
 * others count. What a sync made durable is kept as a copy in $FAULTY_DISK_SYNCED.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SOUND, FULL, BROKEN, TORN, UNSYNCED, LYING, STALLED, UNREADABLE };
enum { MODE, FAILED_WRITES, FAILED_SYNCS, SYNCS, FAILED_READS, COUNTERS };
#define DESCRIPTORS 4096
#define FILES 64
#define PIECE 65536

/* What was written and not synced belongs to the file, whichever descriptor it came through. */
struct tracked { char name[256]; int copy; off_t low, high; };
static struct tracked files[FILES];
static struct tracked *of[DESCRIPTORS];
static volatile int *control;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder, *synced;

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTY_DISK_CONTROL");
    folder = getenv("FAULTY_DISK_FOLDER");
    synced = getenv("FAULTY_DISK_SYNCED");
    real_open = dlsym(RTLD_NEXT, "open64");
    real_close = dlsym(RTLD_NEXT, "close");
    real_pread = dlsym(RTLD_NEXT, "pread64");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    if (!path || !folder || !synced) return;
    int fd = real_open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *map = mmap(NULL, COUNTERS * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    real_close(fd);
    if (map != MAP_FAILED) control = map;
}

static struct tracked *found(int fd) {
    return control && fd >= 0 && fd < DESCRIPTORS ? of[fd] : NULL;
}

static void track(int fd, const char *path) {
    const char *name = strrchr(path, '/');
    char copy[4096];
    if (!control || fd < 0 || fd >= DESCRIPTORS || !name || strncmp(path, folder, strlen(folder))) return;
    name++;
    size_t length = strlen(name);
    if (strncmp(name, "spiderwebd.db", 13)) return;
    if (length > 4 && (!strcmp(name + length - 4, "-shm") || !strcmp(name + length - 5, ".lock"))) return;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < FILES; i++) {
        struct tracked *file = &files[i];
        if (!file->name[0]) {
            snprintf(file->name, sizeof file->name, "%s", name);
            snprintf(copy, sizeof copy, "%s/%s", synced, name);
            file->copy = real_open(copy, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        }
        if (!strcmp(file->name, name)) { of[fd] = file; break; }
    }
    pthread_mutex_unlock(&lock);
}

static void dirty(struct tracked *file, off_t low, off_t high) {
    pthread_mutex_lock(&lock);
    if (file->low == file->high) { file->low = low; file->high = high; }
    if (low < file->low) file->low = low;
    if (high > file->high) file->high = high;
    pthread_mutex_unlock(&lock);
}

/* Make the copy what the file is now. */
static void keep(int fd, struct tracked *file) {
    struct stat now;
    char piece[PIECE];
    pthread_mutex_lock(&lock);
    off_t at = file->low, end = file->high;
    file->low = file->high = 0;
    while (at < end) {
        size_t size = end - at < PIECE ? (size_t)(end - at) : PIECE;
        ssize_t got = real_pread(fd, piece, size, at);
        if (got <= 0) break;
        if (real_pwrite(file->copy, piece, got, at) != got) abort();
        at += got;
    }
    if (!fstat(fd, &now) && real_ftruncate(file->copy, now.st_size)) abort();
    pthread_mutex_unlock(&lock);
}

static int opened(const char *path, int flags, va_list more) {
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    int fd = real_open(path, flags, mode);
    track(fd, path);
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); int fd = opened(path, flags, more); va_end(more); return fd;
}

int open64(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); int fd = opened(path, flags, more); va_end(more); return fd;
}

int close(int fd) {
    if (found(fd)) of[fd] = NULL;
    return real_close(fd);
}

/* How many bytes of a write go through: all, some, or (-1, with errno) none. */
static ssize_t allowed(size_t size) {
    switch (control[MODE]) {
    case FULL: control[FAILED_WRITES]++; errno = ENOSPC; return -1;
    case BROKEN: control[FAILED_WRITES]++; errno = EIO; return -1;
    case TORN:
        /* Half of it, and the disk is full when the rest is tried. */
        if (control[FAILED_WRITES]++ % 2 || size < 2) { errno = ENOSPC; return -1; }
        return (ssize_t)(size / 2);
    default: return (ssize_t)size;
    }
}

ssize_t pread64(int fd, void *data, size_t size, off_t at) {
    if (found(fd) && control[MODE] == UNREADABLE) { control[FAILED_READS]++; errno = EIO; return -1; }
    return real_pread(fd, data, size, at);
}

ssize_t pread(int fd, void *data, size_t size, off_t at) { return pread64(fd, data, size, at); }

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
    struct tracked *file = found(fd);
    if (!file) return real_pwrite(fd, data, size, at);
    ssize_t some = allowed(size);
    if (some < 0) return -1;
    ssize_t done = real_pwrite(fd, data, (size_t)some, at);
    if (done > 0) dirty(file, at, at + done);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t write(int fd, const void *data, size_t size) {
    struct tracked *file = found(fd);
    if (!file) return real_write(fd, data, size);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t some = allowed(size);
    if (some < 0) return -1;
    ssize_t done = real_write(fd, data, (size_t)some);
    if (done > 0) dirty(file, at, at + done);
    return done;
}

static int synchronise(int fd, int (*real)(int)) {
    struct tracked *file = found(fd);
    if (!file) return real(fd);
    control[SYNCS]++;
    while (control[MODE] == STALLED) usleep(10000);
    if (control[MODE] == UNSYNCED) { control[FAILED_SYNCS]++; errno = EIO; return -1; }
    if (control[MODE] == LYING) return 0;
    keep(fd, file);
    return 0; /* no real sync: the copy is the disk of these tests */
}

int fsync(int fd) { return synchronise(fd, real_fsync); }
int fdatasync(int fd) { return synchronise(fd, real_fdatasync); }

int ftruncate64(int fd, off_t size) {
    struct tracked *file = found(fd);
    if (file && control[MODE] == BROKEN) { errno = EIO; return -1; }
    int done = real_ftruncate(fd, size);
    if (file && !done) dirty(file, size, size);
    return done;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
