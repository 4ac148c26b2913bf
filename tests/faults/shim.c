/* Counts the file-system steps of a process and all its children, and makes one of them fail.
 *
 * Loaded with LD_PRELOAD, so that what HDF5, Arrow and SQLite do counts as well as what Python does. All processes map
 * one file, SKYSHARDS_STEPS, which `inject.py` describes: it says below which folder steps count, and which of them is
 * to fail, and how. A step has a name, such as "write /out/catalog.parquet", in which `*` stands for the part of a
 * temporary file's name that is random; a step is told from others by its name and by how often that came before.
 * Reads count for nothing. What C's own stdio writes (fwrite) is not seen; nothing here uses it.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT = 0, KILL_ALL, KILL_ONE, FULL_ONCE, FULL, BROKEN_ONCE, KILL_SERVER };

#define PROCESSES 256
#define STEPS 8192
#define NAME 128
#define SERVER 1 /* a build's second process is the one that its workers are forked from */

struct control {
    _Atomic int armed;
    int fault;
    int before; /* how many steps of the same name come before the one that fails */
    _Atomic int seen;
    _Atomic int steps;
    _Atomic int struck;
    _Atomic int processes;
    int pids[PROCESSES];
    char root[512];
    char target[NAME]; /* the name of the step that fails */
    char log[STEPS][NAME];
};

static struct control *control;

static void enter_process(void) {
    if (!control || !atomic_load(&control->armed)) return;
    int number = atomic_fetch_add(&control->processes, 1);
    if (number < PROCESSES) control->pids[number] = getpid();
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("SKYSHARDS_STEPS");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *block = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (block == MAP_FAILED) return;
    control = block;
    pthread_atfork(NULL, NULL, enter_process);
    enter_process();
}

static int is_below(const char *path) {
    size_t length = strlen(control->root);
    return length && !strncmp(path, control->root, length) && (path[length] == '/' || !path[length]);
}

static int of_link(char *full, size_t size, const char *link) {
    ssize_t length = readlink(link, full, size - 1);
    if (length < 0) return 0;
    full[length] = 0;
    return 1;
}

/* The absolute path of a name in a folder (a descriptor, or AT_FDCWD), or of a descriptor itself if it has no name. */
static int resolve(char *full, size_t size, int folder, const char *name) {
    char link[64];
    if (name && name[0] == '/') return snprintf(full, size, "%s", name) > 0;
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    if (!of_link(full, size, link)) return 0;
    if (name) {
        size_t length = strlen(full);
        snprintf(full + length, size - length, "/%s", name);
    }
    return 1;
}

/* How many characters of a path are random: all that follow "writing-", or a long number in base 16. */
static size_t random_part(const char *path, const char *root) {
    size_t size = 0;
    if (path - root >= 8 && !strncmp(path - 8, "writing-", 8)) {
        while (isalnum((unsigned char)path[size]) || path[size] == '_') size++;
        return size;
    }
    while (isxdigit((unsigned char)path[size])) size++;
    return size < 16 ? 0 : size;
}

/* Write the name of a step: what is done, and the path below the root, without what is random in it. */
static void describe(char *name, const char *kind, const char *path) {
    const char *root = path;
    size_t end = snprintf(name, NAME, "%s ", kind);
    while (*path && end < NAME - 1) {
        size_t random = random_part(path, root);
        name[end++] = random ? '*' : *path;
        path += random ? random : 1;
    }
    name[end] = 0;
}

/* Whether a step is to fail: 0 if it is not, else the errno. `writing` are steps that need room on the disk.
 * `half`, if given, is told whether a write is to be done by half before the process dies. */
static int step(const char *kind, int folder, const char *name, int writing, int *half) {
    if (half) *half = 0;
    if (!control || !atomic_load(&control->armed)) return 0;
    int before = errno;
    char path[1024];
    if (!resolve(path, sizeof path, folder, name) || !is_below(path)) {
        errno = before;
        return 0;
    }
    errno = before;
    char what[NAME];
    describe(what, kind, path + strlen(control->root));
    int number = atomic_fetch_add(&control->steps, 1);
    if (number < STEPS) memcpy(control->log[number], what, NAME);
    int fault = control->fault;
    int now = fault != COUNT && !strcmp(what, control->target) && atomic_fetch_add(&control->seen, 1) == control->before;
    if (now) atomic_store(&control->struck, 1);
    if (fault == FULL) return atomic_load(&control->struck) && writing ? ENOSPC : 0;
    if (!now) return 0;
    if (fault == KILL_SERVER && atomic_load(&control->processes) > SERVER) kill(control->pids[SERVER], SIGKILL);
    if (fault == FULL_ONCE) return writing ? ENOSPC : 0;
    if (fault == BROKEN_ONCE) return EIO;
    if (fault == KILL_ALL || fault == KILL_ONE) {
        if (half) *half = 1;
        return EINTR; /* `die` is called next */
    }
    return 0;
}

static void die(void) {
    int processes = atomic_load(&control->processes);
    if (control->fault == KILL_ALL)
        for (int i = 0; i < processes && i < PROCESSES; i++)
            if (control->pids[i] != getpid()) kill(control->pids[i], SIGKILL);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define NEXT(name) \
    static __typeof__(name) *next; \
    if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define STEP(kind, folder, path, writing, failed) \
    do { \
        int why = step(kind, folder, path, writing, NULL); \
        if (why == EINTR) die(); \
        if (why) { errno = why; return failed; } \
    } while (0)

#define WRITING(flags) (((flags) & O_ACCMODE) != O_RDONLY)
#define GROWING(flags) (((flags) & (O_CREAT | O_TMPFILE)) != 0)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        NEXT(name); \
        va_list rest; \
        va_start(rest, flags); \
        int mode = GROWING(flags) ? va_arg(rest, int) : 0; \
        va_end(rest); \
        if (WRITING(flags)) STEP("open", AT_FDCWD, path, GROWING(flags), -1); \
        return next(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        NEXT(name); \
        va_list rest; \
        va_start(rest, flags); \
        int mode = GROWING(flags) ? va_arg(rest, int) : 0; \
        va_end(rest); \
        if (WRITING(flags)) STEP("open", folder, path, GROWING(flags), -1); \
        return next(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define WRITE(name, parameters, file, done, half_done) \
    ssize_t name parameters { \
        NEXT(name); \
        int half, why = step("write", file, NULL, 1, &half); \
        if (half) { half_done; die(); } \
        if (why) { errno = why; return -1; } \
        return done; \
    }
WRITE(write, (int file, const void *data, size_t size), file, next(file, data, size), next(file, data, size / 2))
WRITE(pwrite, (int file, const void *data, size_t size, off_t start), file, next(file, data, size, start),
      next(file, data, size / 2, start))
WRITE(pwrite64, (int file, const void *data, size_t size, off64_t start), file, next(file, data, size, start),
      next(file, data, size / 2, start))
WRITE(writev, (int file, const struct iovec *parts, int count), file, next(file, parts, count),
      next(file, parts, count / 2))
WRITE(pwritev, (int file, const struct iovec *parts, int count, off_t start), file, next(file, parts, count, start),
      next(file, parts, count / 2, start))
WRITE(pwritev64, (int file, const struct iovec *parts, int count, off64_t start), file, next(file, parts, count, start),
      next(file, parts, count / 2, start))
ssize_t sendfile64(int, int, off64_t *, size_t);
ssize_t sendfile(int, int, off_t *, size_t);
WRITE(sendfile, (int file, int from, off_t *start, size_t size), file, next(file, from, start, size),
      next(file, from, start, 1))
WRITE(sendfile64, (int file, int from, off64_t *start, size_t size), file, next(file, from, start, size),
      next(file, from, start, 1))
WRITE(copy_file_range, (int from, off64_t *at, int file, off64_t *start, size_t size, unsigned flags), file,
      next(from, at, file, start, size, flags), next(from, at, file, start, 1, flags))

#define SIMPLE(name, kind, parameters, folder, path, writing, ...) \
    int name parameters { \
        NEXT(name); \
        STEP(kind, folder, path, writing, -1); \
        return next(__VA_ARGS__); \
    }
SIMPLE(rename, "rename", (const char *old, const char *new), AT_FDCWD, new, 1, old, new)
SIMPLE(renameat, "rename", (int from, const char *old, int to, const char *new), to, new, 1, from, old, to, new)
SIMPLE(unlink, "unlink", (const char *path), AT_FDCWD, path, 0, path)
SIMPLE(unlinkat, flags & AT_REMOVEDIR ? "rmdir" : "unlink", (int folder, const char *path, int flags), folder, path, 0,
       folder, path, flags)
SIMPLE(rmdir, "rmdir", (const char *path), AT_FDCWD, path, 0, path)
SIMPLE(mkdir, "mkdir", (const char *path, mode_t mode), AT_FDCWD, path, 1, path, mode)
SIMPLE(mkdirat, "mkdir", (int folder, const char *path, mode_t mode), folder, path, 1, folder, path, mode)
SIMPLE(truncate, "truncate", (const char *path, off_t size), AT_FDCWD, path, 0, path, size)
SIMPLE(truncate64, "truncate", (const char *path, off64_t size), AT_FDCWD, path, 0, path, size)
SIMPLE(ftruncate, "truncate", (int file, off_t size), file, NULL, 0, file, size)
SIMPLE(ftruncate64, "truncate", (int file, off64_t size), file, NULL, 0, file, size)
SIMPLE(fsync, "fsync", (int file), file, NULL, 1, file)
SIMPLE(fdatasync, "fsync", (int file), file, NULL, 1, file)
