/* A disk that fails on demand: preloaded into a server, it fails writes or syncs of the journal's files while a file
   named `enospc` or `eio` stands in the directory of PLACET_TEST_FAULTS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

int fdatasync(int fd) {
    static int (*real)(int);
    if (armed("eio", fd)) { errno = EIO; return -1; }
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (armed("enospc", fd)) { errno = ENOSPC; return -1; }
    if (real == NULL) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    return real(fd, bytes, count);
}
