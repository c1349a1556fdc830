/* Records what a process and its children do to the files below a folder, in the order in which it was done.

   Preloaded (LD_PRELOAD), it stands before the C library. CRASH_ROOT names the folder, without links in it; CRASH_LOG
   the file to which records are appended: a line "<kind> <inode> <offset or size> <bytes of path> <bytes of data>",
   then path and data. recording.py lists the kinds. What the kernel copies from file to file is refused with ENOSYS,
   so that callers fall back to read and write. What the C library writes for itself (fprintf) is not seen, nor what is
   written as memory (mmap): the program that reads the records compares what they make of the files with the files. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define EXPORT __attribute__((visibility("default")))

static int log_number = -1;
static const char *root;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CRASH_LOG");
    root = getenv("CRASH_ROOT");
    if (path && root) {
        int number = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC);
        log_number = fcntl(number, F_DUPFD_CLOEXEC, 512); /* out of the way of who counts its files */
        syscall(SYS_close, number);
    }
}

static int concerns(const char *path)
{
    size_t n = root ? strlen(root) : 0;
    return log_number >= 0 && n && !strncmp(path, root, n) && (path[n] == '/' || !path[n]);
}

static void record(char kind, unsigned long inode, long at, const char *path, const void *data, size_t bytes)
{
    char head[120];
    int saved = errno, n = snprintf(head, sizeof head, "%c %lu %ld %zu %zu\n", kind, inode, at, strlen(path), bytes);
    struct iovec parts[3] = {{head, n}, {(void *)path, strlen(path)}, {(void *)data, bytes}};
    if (syscall(SYS_writev, log_number, parts, 3) != (long)(n + strlen(path) + bytes))
        abort(); /* a record with a gap is worth nothing */
    errno = saved;
}

/* The path of an open file, if it concerns us. */
static int path_of(int number, char *path, struct stat *found)
{
    char link[40];
    int saved = errno, is_ours = 0;
    if (log_number >= 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", number);
        long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
        if (n > 0) {
            path[n] = 0;
            is_ours = concerns(path) && !fstat(number, found);
        }
    }
    errno = saved;
    return is_ours;
}

/* The path of a name, whose folder is there; the name itself may be a link. */
static int name_of(int folder, const char *name, char *path)
{
    char whole[2 * PATH_MAX], base[PATH_MAX], link[40];
    int saved = errno, is_ours = 0;
    long n = 0;
    if (log_number < 0 || !name)
        return 0;
    if (name[0] == '/')
        base[0] = 0;
    else if (folder == AT_FDCWD)
        n = getcwd(base, sizeof base) ? 0 : -1;
    else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        if ((n = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1)) >= 0)
            base[n] = 0;
    }
    if (n >= 0 && snprintf(whole, sizeof whole, "%s/%s", base, name) < (int)sizeof whole) {
        size_t end = strlen(whole);
        while (end > 1 && whole[end - 1] == '/')
            whole[--end] = 0;
        char *last = strrchr(whole, '/');
        *last = 0;
        if (realpath(*whole ? whole : "/", path)) {
            snprintf(path + strlen(path), PATH_MAX - strlen(path), "/%s", last + 1);
            is_ours = concerns(path);
        }
    }
    errno = saved;
    return is_ours;
}

/* Opening: what is made, and what is emptied. */

static int is_there(int folder, const char *name)
{
    struct stat found;
    int saved = errno, answer = !fstatat(folder, name, &found, 0);
    errno = saved;
    return answer;
}

static void opened(int number, int flags, int was_there)
{
    char path[PATH_MAX];
    struct stat found;
    if (number < 0 || !(flags & (O_CREAT | O_TRUNC)) || !path_of(number, path, &found) || !S_ISREG(found.st_mode))
        return;
    if (!was_there)
        record('c', found.st_ino, 0, path, "", 0);
    else if (flags & O_TRUNC)
        record('t', found.st_ino, 0, path, "", 0);
}

#define OPEN(name, parameters, folder, arguments)                                                                     \
    EXPORT int name parameters                                                                                         \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        int mode = flags & O_CREAT ? va_arg(rest, int) : 0, was_there = is_there(folder, path);                        \
        va_end(rest);                                                                                                  \
        int number = real arguments;                                                                                   \
        opened(number, flags, was_there);                                                                              \
        return number;                                                                                                 \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(openat, (int folder, const char *path, int flags, ...), folder, (folder, path, flags, mode))
OPEN(openat64, (int folder, const char *path, int flags, ...), folder, (folder, path, flags, mode))

#define FOPEN(name)                                                                                                    \
    EXPORT FILE *name(const char *path, const char *mode)                                                              \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        int was_there = is_there(AT_FDCWD, path);                                                                      \
        FILE *file = real(path, mode);                                                                                 \
        if (file && *mode != 'r')                                                                                      \
            opened(fileno(file), O_CREAT | (*mode == 'w' ? O_TRUNC : 0), was_there);                                   \
        return file;                                                                                                   \
    }
FOPEN(fopen)
FOPEN(fopen64)

/* Content. */

static void wrote(int number, const struct iovec *parts, int count, long at, long bytes)
{
    char path[PATH_MAX];
    struct stat found;
    if (bytes <= 0 || number == log_number || !path_of(number, path, &found) || !S_ISREG(found.st_mode))
        return;
    if (at < 0)
        at = lseek(number, 0, SEEK_CUR) - bytes;
    for (int i = 0; i < count && bytes > 0; i++) {
        size_t n = parts[i].iov_len < (size_t)bytes ? parts[i].iov_len : (size_t)bytes;
        record('w', found.st_ino, at, path, parts[i].iov_base, n);
        at += n, bytes -= n;
    }
}

#define WRITE(name, parameters, arguments, offset)                                                                     \
    EXPORT ssize_t name parameters                                                                                     \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        ssize_t bytes = real arguments;                                                                                \
        struct iovec part = {(void *)data, size};                                                                      \
        wrote(number, &part, 1, offset, bytes);                                                                        \
        return bytes;                                                                                                  \
    }
WRITE(write, (int number, const void *data, size_t size), (number, data, size), -1)
WRITE(pwrite, (int number, const void *data, size_t size, off_t at), (number, data, size, at), at)
WRITE(pwrite64, (int number, const void *data, size_t size, off64_t at), (number, data, size, at), at)

#define WRITEV(name, parameters, arguments, offset)                                                                    \
    EXPORT ssize_t name parameters                                                                                     \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        ssize_t bytes = real arguments;                                                                                \
        wrote(number, parts, count, offset, bytes);                                                                    \
        return bytes;                                                                                                  \
    }
WRITEV(writev, (int number, const struct iovec *parts, int count), (number, parts, count), -1)
WRITEV(pwritev, (int number, const struct iovec *parts, int count, off_t at), (number, parts, count, at), at)
WRITEV(pwritev2, (int number, const struct iovec *parts, int count, off_t at, int how), (number, parts, count, at, how),
       at)
WRITEV(pwritev64v2, (int number, const struct iovec *parts, int count, off64_t at, int how),
       (number, parts, count, at, how), at)
WRITEV(pwritev64, (int number, const struct iovec *parts, int count, off64_t at), (number, parts, count, at), at)

/* numpy writes an array in this way. Flushed at once, it is written when it is recorded. */
EXPORT size_t fwrite(const void *data, size_t size, size_t count, FILE *file)
{
    REAL(fwrite);
    char path[PATH_MAX];
    struct stat found;
    size_t done = real(data, size, count, file);
    if (done && path_of(fileno(file), path, &found) && !fflush(file)) {
        struct iovec part = {(void *)data, size * count};
        wrote(fileno(file), &part, 1, -1, done * size);
    }
    return done;
}

static int refuse(void)
{
    errno = ENOSYS;
    return -1;
}
EXPORT ssize_t sendfile(int to, int from, off_t *at, size_t n) { return refuse(); }
EXPORT ssize_t sendfile64(int to, int from, off64_t *at, size_t n) { return refuse(); }
EXPORT ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t n, unsigned f) { return refuse(); }

/* A new size, whatever asked for it; a sync of a file or a folder. */
static void changed(int result, int number, char kind)
{
    char path[PATH_MAX];
    struct stat found;
    if (result == 0 && path_of(number, path, &found))
        record(kind, found.st_ino, kind == 't' ? found.st_size : 0, path, "", 0);
}

#define CHANGE(name, parameters, arguments, kind)                                                                      \
    EXPORT int name parameters                                                                                         \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        int result = real arguments;                                                                                   \
        changed(result, number, kind);                                                                                 \
        return result;                                                                                                 \
    }
CHANGE(ftruncate, (int number, off_t size), (number, size), 't')
CHANGE(ftruncate64, (int number, off64_t size), (number, size), 't')
CHANGE(fallocate, (int number, int how, off_t at, off_t size), (number, how, at, size), 't')
CHANGE(fallocate64, (int number, int how, off64_t at, off64_t size), (number, how, at, size), 't')
CHANGE(posix_fallocate, (int number, off_t at, off_t size), (number, at, size), 't')
CHANGE(posix_fallocate64, (int number, off64_t at, off64_t size), (number, at, size), 't')
CHANGE(fsync, (int number), (number), 's')
CHANGE(fdatasync, (int number), (number), 's')

#define TRUNCATE(name, type)                                                                                           \
    EXPORT int name(const char *path, type size)                                                                       \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        char whole[PATH_MAX];                                                                                          \
        struct stat found;                                                                                             \
        int result = real(path, size);                                                                                 \
        if (!result && realpath(path, whole) && concerns(whole) && !stat(whole, &found))                               \
            record('t', found.st_ino, found.st_size, whole, "", 0);                                                    \
        return result;                                                                                                 \
    }
TRUNCATE(truncate, off_t)
TRUNCATE(truncate64, off64_t)

EXPORT void sync(void)
{
    REAL(sync);
    real();
    if (log_number >= 0)
        record('S', 0, 0, root, "", 0);
}

/* Names. */

#define NAME(name, parameters, arguments, folder, kind, as_data)                                                       \
    EXPORT int name parameters                                                                                         \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        char whole[PATH_MAX];                                                                                          \
        int is_ours = name_of(folder, path, whole), result = real arguments;                                           \
        if (!result && is_ours)                                                                                        \
            record(kind, 0, 0, whole, as_data, strlen(as_data));                                                       \
        return result;                                                                                                 \
    }
NAME(unlink, (const char *path), (path), AT_FDCWD, 'u', "")
NAME(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), folder, 'u', "")
NAME(remove, (const char *path), (path), AT_FDCWD, 'u', "")
NAME(rmdir, (const char *path), (path), AT_FDCWD, 'u', "")
NAME(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, 'm', "")
NAME(mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), folder, 'm', "")
NAME(symlink, (const char *target, const char *path), (target, path), AT_FDCWD, 'y', target)
NAME(symlinkat, (const char *target, int folder, const char *path), (target, folder, path), folder, 'y', target)

#define NAMES(name, parameters, arguments, old_folder, new_folder, kind)                                               \
    EXPORT int name parameters                                                                                         \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        char before[PATH_MAX], after[PATH_MAX];                                                                        \
        int is_ours = name_of(old_folder, old, before) & name_of(new_folder, new, after), result = real arguments;     \
        if (!result && is_ours)                                                                                        \
            record(kind, 0, 0, before, after, strlen(after));                                                          \
        return result;                                                                                                 \
    }
NAMES(rename, (const char *old, const char *new), (old, new), AT_FDCWD, AT_FDCWD, 'r')
NAMES(renameat, (int from, const char *old, int to, const char *new), (from, old, to, new), from, to, 'r')
NAMES(renameat2, (int from, const char *old, int to, const char *new, unsigned flags), (from, old, to, new, flags),
      from, to, 'r')
NAMES(link, (const char *old, const char *new), (old, new), AT_FDCWD, AT_FDCWD, 'l')
NAMES(linkat, (int from, const char *old, int to, const char *new, int flags), (from, old, to, new, flags), from, to,
      'l')
