/* Makes chosen calls on files in the data folder fail, as on a failing or full disk.
 * It is preloaded (LD_PRELOAD) into the real program, below the blob store, the standard library
 * and SQLite alike.
 *
 * FAULT_ROOT is the folder. FAULT_CONTROL is a file with struct control, which the test maps too.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITES = 1, NAMES = 2, SYNCS = 4 };

struct control {
    atomic_int classes; /* classes of calls that are counted; 0: none */
    atomic_int error;   /* errno; 0: the call writes only half */
    atomic_int index;   /* the call that fails, from 1 */
    atomic_int lasting; /* whether all later calls fail too */
    atomic_int calls;   /* counted so far */
    atomic_int hits;    /* failed so far */
};

static struct control *control;
static const char *root = "";

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULT_CONTROL");
    root = getenv("FAULT_ROOT");
    if (!path || !root) return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) abort();
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED) abort();
    close(fd);
}

static int below_root(int fd, const char *name) {
    char link[64], path[4096];
    if (name && name[0] == '/') return strncmp(name, root, strlen(root)) == 0;
    if (fd == AT_FDCWD) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, root, strlen(root)) == 0;
}

/* Whether this call must fail; if so, errno is set. */
static int fails(int class, int fd, const char *name) {
    int saved = errno;
    if (!control || !(atomic_load(&control->classes) & class) || !below_root(fd, name)) {
        errno = saved;
        return 0;
    }
    int call = atomic_fetch_add(&control->calls, 1) + 1, index = atomic_load(&control->index);
    if (call == index || (call > index && atomic_load(&control->lasting))) {
        atomic_fetch_add(&control->hits, 1);
        errno = atomic_load(&control->error);
        return 1;
    }
    errno = saved;
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define WRITE(name, offset_type)                                                     \
    ssize_t name(int fd, const void *bytes, size_t count, offset_type offset) {      \
        if (fails(WRITES, fd, NULL)) {                                               \
            if (errno || count < 2) { errno = errno ? errno : EIO; return -1; }      \
            count /= 2;                                                              \
        }                                                                            \
        return REAL(name)(fd, bytes, count, offset);                                 \
    }
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *bytes, size_t count) {
    if (fails(WRITES, fd, NULL)) {
        if (errno || count < 2) { errno = errno ? errno : EIO; return -1; }
        count /= 2;
    }
    return REAL(write)(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (fails(WRITES, fd, NULL)) { errno = errno ? errno : EIO; return -1; }
    return REAL(writev)(fd, parts, count);
}

#define CUT(name, type)                                                              \
    int name(int fd, type length) {                                                  \
        if (control && atomic_load(&control->error) && fails(WRITES, fd, NULL)) return -1;      \
        return REAL(name)(fd, length);                                               \
    }
CUT(ftruncate, off_t)
CUT(ftruncate64, off64_t)

int fsync(int fd) { return fails(SYNCS, fd, NULL) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails(SYNCS, fd, NULL) ? -1 : REAL(fdatasync)(fd); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
    return fails(NAMES, to, new) ? -1 : REAL(linkat)(from, old, to, new, flags);
}

int renameat(int from, const char *old, int to, const char *new) {
    return fails(NAMES, to, new) ? -1 : REAL(renameat)(from, old, to, new);
}

int unlinkat(int fd, const char *name, int flags) {
    return fails(NAMES, fd, name) ? -1 : REAL(unlinkat)(fd, name, flags);
}

int mkdirat(int fd, const char *name, mode_t mode) {
    return fails(NAMES, fd, name) ? -1 : REAL(mkdirat)(fd, name, mode);
}

#define OPENAT(name)                                                                 \
    int name(int fd, const char *path, int flags, ...) {                             \
        va_list rest;                                                                \
        va_start(rest, flags);                                                       \
        mode_t mode = va_arg(rest, mode_t);                                          \
        va_end(rest);                                                                \
        if ((flags & O_CREAT) && fails(NAMES, fd, path)) return -1;                  \
        return REAL(name)(fd, path, flags, mode);                                    \
    }
OPENAT(openat)
OPENAT(openat64)

#define OPEN(name)                                                                   \
    int name(const char *path, int flags, ...) {                                     \
        va_list rest;                                                                \
        va_start(rest, flags);                                                       \
        mode_t mode = va_arg(rest, mode_t);                                          \
        va_end(rest);                                                                \
        if ((flags & O_CREAT) && fails(NAMES, AT_FDCWD, path)) return -1;            \
        return REAL(name)(path, flags, mode);                                        \
    }
OPEN(open)
OPEN(open64)
