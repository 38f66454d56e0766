// System calls and constants that Swift does not import by itself.
#ifndef CHIO_SYSTEM_H
#define CHIO_SYSTEM_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// memfd_create(2) with the huge-page flag resolved; -1 and errno on failure.
static inline int chio_memfd(const char *name, int huge_2mib) {
  unsigned flags = 1U /* MFD_CLOEXEC */;
  if (huge_2mib) flags |= 4U /* MFD_HUGETLB */ | (21U << 26) /* MFD_HUGE_2MB */;
  return (int)syscall(SYS_memfd_create, name, flags);
}

// mremap(2), moving if need be; NULL and errno on failure.
static inline void *chio_remap(void *memory, size_t old_count, size_t new_count) {
  long moved = syscall(SYS_mremap, memory, old_count, new_count, 1UL /* MREMAP_MAYMOVE */);
  return moved == -1 ? (void *)0 : (void *)moved;
}

// Pins the calling thread to one processor; 0, or -1 and errno.
static inline int chio_pin_thread(int cpu) {
  uint64_t mask[16] = {0};
  if (cpu < 0 || cpu >= 1024) { errno = EINVAL; return -1; }
  mask[cpu / 64] = 1ULL << (cpu % 64);
  return (int)syscall(SYS_sched_setaffinity, 0, sizeof mask, mask) < 0 ? -1 : 0;
}

// eventfd(2), non-blocking and closed on exec; -1 and errno on failure.
static inline int chio_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
static inline void chio_close(int fd) { close(fd); }
static inline int chio_errno(void) { return errno; }

// Lets another thread run, where one waits for this processor.
static inline void chio_yield(void) { sched_yield(); }

// The monotonic clock in nanoseconds.
static inline uint64_t chio_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

#endif
