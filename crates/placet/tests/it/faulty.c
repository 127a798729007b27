/* A disk that fails on demand: preloaded into a server, it fails writes or syncs of the journal's files while a file
   named `enospc` or `eio` stands in the directory of PLACET_TEST_FAULTS. While a file `kill` with a number stands there, it
   kills the process at that step: before and after each write and sync of the journal, and each send of a tool call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static int armed(const char *fault, int fd) {
    char path[4096], link[64];
    const char *dir = getenv("PLACET_TEST_FAULTS");
    ssize_t length;
    if (dir == NULL) return 0;
    snprintf(path, sizeof path, "%s/%s", dir, fault);
    if (access(path, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "/journal/") != NULL;
}

static int steps;

static void step(void) {
    char path[4096], text[16] = {0};
    FILE *file;
    snprintf(path, sizeof path, "%s/kill", getenv("PLACET_TEST_FAULTS"));
    file = fopen(path, "r");
    if (file == NULL) return;
    if (fgets(text, sizeof text, file) != NULL && __atomic_add_fetch(&steps, 1, __ATOMIC_SEQ_CST) == atoi(text))
        kill(getpid(), SIGKILL);
    fclose(file);
}

static int is_call(const void *bytes, size_t count) { return memmem(bytes, count, "tools/call", 10) != NULL; }

int fdatasync(int fd) {
    static int (*real)(int);
    int done, counted = armed("kill", fd);
    if (armed("eio", fd)) { errno = EIO; return -1; }
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (counted) step();
    done = real(fd);
    if (counted) step();
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    ssize_t done;
    int counted = armed("kill", fd);
    if (real == NULL) real = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    if (counted) step();
    done = real(fd, bytes, count, at);
    if (counted) step();
    return done;
}

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
    static ssize_t (*real)(int, const void *, size_t, int);
    ssize_t done;
    int counted = is_call(bytes, count);
    if (real == NULL) real = (ssize_t (*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
    if (counted) step();
    done = real(fd, bytes, count, flags);
    if (counted) step();
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    static ssize_t (*real)(int, const struct iovec *, int);
    ssize_t done;
    int at, counted = 0;
    for (at = 0; at < count; at++) counted |= is_call(parts[at].iov_base, parts[at].iov_len);
    if (real == NULL) real = (ssize_t (*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    if (counted) step();
    done = real(fd, parts, count);
    if (counted) step();
    return done;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (armed("enospc", fd)) { errno = ENOSPC; return -1; }
    if (real == NULL) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    return real(fd, bytes, count);
}
