// Registers that go away: where a function is unplugged, the kernel takes the mapping of its
// registers away, and the next access is a SIGBUS. Here it becomes what the bus itself would have
// answered, all ones, and a mark that the function is gone.
#ifndef CHIO_GUARD_H
#define CHIO_GUARD_H

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define CHIO_GUARDS_MAX 64

// `length` is 0 where the entry is free; it is set last and cleared first.
struct chio_guard {
  uintptr_t start;
  uintptr_t length;
  int lost;
};
// The state is inside functions: Swift emits those of a header that it calls, and no variables.
static inline struct chio_guard *chio_guards(void) {
  static struct chio_guard guards[CHIO_GUARDS_MAX];
  return guards;
}
static inline struct sigaction *chio_guard_previous(void) {
  static struct sigaction previous;
  return &previous;
}

// Only calls that a signal handler may make. False where the address is none of ours.
static inline int chio_guard_cover(uintptr_t address) {
  for (int i = 0; i < CHIO_GUARDS_MAX; i++) {
    uintptr_t length = __atomic_load_n(&chio_guards()[i].length, __ATOMIC_ACQUIRE);
    uintptr_t start = chio_guards()[i].start;
    if (length == 0 || address < start || address - start >= length) continue;
    void *page = mmap(
        (void *)start, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
        0);
    if (page == MAP_FAILED) return 0;
    memset(page, 0xFF, length);
    __atomic_store_n(&chio_guards()[i].lost, 1, __ATOMIC_RELEASE);
    return 1;
  }
  return 0;
}

static inline void chio_guard_handle(int number, siginfo_t *info, void *context) {
  int saved = errno;
  int covered = chio_guard_cover((uintptr_t)info->si_addr);
  errno = saved;
  if (covered) return; // the access is made again
  if (chio_guard_previous()->sa_flags & SA_SIGINFO) {
    chio_guard_previous()->sa_sigaction(number, info, context);
  } else if (chio_guard_previous()->sa_handler != SIG_DFL &&
             chio_guard_previous()->sa_handler != SIG_IGN) {
    chio_guard_previous()->sa_handler(number);
  } else {
    signal(number, SIG_DFL); // the access is made again, and ends the process as it should
  }
}

// Once a process; 0, or -1 and errno.
static inline int chio_guard_install(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = chio_guard_handle;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  return sigaction(SIGBUS, &action, chio_guard_previous());
}

// The number of the guard, or -1 where all are taken. The caller lets one thread in at a time.
static inline int chio_guard_add(void *start, size_t length) {
  for (int i = 0; i < CHIO_GUARDS_MAX; i++) {
    if (__atomic_load_n(&chio_guards()[i].length, __ATOMIC_RELAXED) != 0) continue;
    chio_guards()[i].start = (uintptr_t)start;
    __atomic_store_n(&chio_guards()[i].lost, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&chio_guards()[i].length, length, __ATOMIC_RELEASE);
    return i;
  }
  return -1;
}
static inline void chio_guard_remove(int number) {
  __atomic_store_n(&chio_guards()[number].length, 0, __ATOMIC_RELEASE);
}
static inline int chio_guard_is_lost(int number) {
  return __atomic_load_n(&chio_guards()[number].lost, __ATOMIC_ACQUIRE);
}

#endif
