// The round trip of a cache line between two processors, in ns: what every exchange of a driver and
// a device on two threads costs at least. Virtual machines move between near and far processors, so
// it is measured before and after each sample.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum { ROUNDS = 200000 };
static _Atomic unsigned ping __attribute__((aligned(64)));
static _Atomic unsigned pong __attribute__((aligned(64)));

static void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
}

static void *answer(void *unused) {
  (void)unused;
  pin(1);
  for (unsigned i = 1; i <= ROUNDS; i++) {
    while (atomic_load_explicit(&ping, memory_order_acquire) != i) __builtin_ia32_pause();
    atomic_store_explicit(&pong, i, memory_order_release);
  }
  return NULL;
}

int main(void) {
  pthread_t thread;
  pin(0);
  pthread_create(&thread, NULL, answer, NULL);
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  for (unsigned i = 1; i <= ROUNDS; i++) {
    atomic_store_explicit(&ping, i, memory_order_release);
    while (atomic_load_explicit(&pong, memory_order_acquire) != i) __builtin_ia32_pause();
  }
  clock_gettime(CLOCK_MONOTONIC, &b);
  pthread_join(thread, NULL);
  double ns = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
  printf("%.1f\n", ns / ROUNDS);
  return 0;
}
