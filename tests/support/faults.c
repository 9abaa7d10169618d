/* Loaded before the C library: file calls are counted and, as the environment says,
 *   FAULT_LOG    a file to which the name of each call is appended,
 *   FAULT_AT     the number of the first call that fails, from 1,
 *   FAULT_COUNT  how many fail from there on,
 *   FAULT_ERRNO  with which error; 0 kills the process before the call,
 *   FAULT_THREADS  how many threads may be started,
 *   FAULT_RANDOM  1 where there are no random numbers. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct statx;
static long calls, first = 1L << 60, count = 1, error_number, threads = 1L << 60, no_random;
static int log_file = -1;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULT_LOG");
    if (path) log_file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    first = number("FAULT_AT", first);
    count = number("FAULT_COUNT", count);
    error_number = number("FAULT_ERRNO", 0);
    threads = number("FAULT_THREADS", threads);
    no_random = number("FAULT_RANDOM", 0);
}

static int fails(const char *name) {
    long call = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    if (log_file >= 0) {
        char line[64];
        int length = snprintf(line, sizeof line, "%s\n", name);
        syscall(SYS_write, log_file, line, (long)length);
    }
    if (call < first || call - first >= count) return 0;
    if (error_number == 0) kill(getpid(), SIGKILL);
    errno = (int)error_number;
    return 1;
}

#define WRAP(result, name, parameters, arguments)                     \
    result name parameters {                                          \
        static result(*next) parameters;                              \
        if (!next) next = (result(*) parameters)dlsym(RTLD_NEXT, #name); \
        return fails(#name) ? -1 : next arguments;                    \
    }

WRAP(ssize_t, read, (int file, void *into, size_t size), (file, into, size))
WRAP(ssize_t, write, (int file, const void *from, size_t size), (file, from, size))
WRAP(int, fsync, (int file), (file))
WRAP(int, fdatasync, (int file), (file))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, rmdir, (const char *path), (path))
WRAP(int, ftruncate64, (int file, off64_t size), (file, size))
WRAP(int, flock, (int file, int how), (file, how))
WRAP(off64_t, lseek64, (int file, off64_t by, int from), (file, by, from))
WRAP(int, statx, (int folder, const char *path, int flags, unsigned mask, struct statx *into), (folder, path, flags, mask, into))

/* A look for `stop-now` comes with time and not with the work. */
int unlink(const char *path) {
    size_t length = strlen(path);
    int is_look = length > 4 && !strcmp(path + length - 4, "-now");
    return !is_look && fails("unlink") ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? (mode_t)va_arg(rest, int) : 0;
    va_end(rest);
    return fails("open") ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* The file is closed, whatever the call says. */
int close(int file) {
    int failed = fails("close");
    int code = (int)syscall(SYS_close, file);
    if (failed) errno = (int)error_number;
    return failed ? -1 : code;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*work)(void *), void *of) {
    static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!next) next = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create");
    return __atomic_sub_fetch(&threads, 1, __ATOMIC_RELAXED) < 0 ? EAGAIN : next(thread, attributes, work, of);
}

/* Refused for ever with an error that stands for no other way to get some. */
ssize_t getrandom(void *into, size_t size, unsigned flags) {
    if (!no_random) return syscall(SYS_getrandom, into, size, flags);
    errno = EIO;
    return -1;
}
