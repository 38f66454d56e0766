// Calls that need a child process.
#ifndef CHIO_PROCESS_H
#define CHIO_PROCESS_H

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/types.h>
#include <unistd.h>

// In unistd.h for _GNU_SOURCE only, which a package that imports this one need not define.
extern char **environ;

// Writes bytes at an offset of a file from a child process, so that a write that never returns
// holds up nobody else. The child's id, which ends with 0 or with the errno of what failed; -1 and
// errno where there is no child. Between fork and exit the child only makes system calls.
static inline pid_t chio_write_in_child(
    const char *path, const void *bytes, size_t count, off_t offset) {
  pid_t child = fork();
  if (child != 0) return child;
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) _exit(errno);
  ssize_t written = pwrite(fd, bytes, count, offset);
  if (written < 0) _exit(errno);
  _exit(written == (ssize_t)count ? 0 : EIO);
}

// Only with _GNU_SOURCE does a header declare it, and a user's module is built without.
extern char **environ;

// posix_spawnp(3) of a program with an option, an argument and this process's environment: the
// child's id, or -1 and errno.
static inline pid_t chio_spawn(const char *program, const char *option, const char *argument) {
  char *words[] = {(char *)program, (char *)option, (char *)argument, NULL};
  pid_t child = -1;
  int status = posix_spawnp(&child, program, NULL, NULL, words, environ);
  if (status == 0) return child;
  errno = status;
  return -1;
}

#endif
