// A virtio-blk split ring in C, driver on one thread and device on another: 4 KiB random reads with
// indirect chains of header, data and status, no data moved (a null store). What a ring can do here
// without a driver around it: no dio, no buffers, no validation, no histogram.
//
// Usage: ring DEPTH SECONDS; prints requests a second.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SIZE = 256 };

struct desc { uint64_t addr; uint32_t len; uint16_t flags, next; };
struct used_elem { uint32_t id, len; };
struct request {
  struct { uint32_t type, reserved; uint64_t sector; } header;
  struct desc table[3];
  uint8_t status;
  uint8_t pad[63];
} __attribute__((aligned(64)));

static struct desc descriptors[SIZE] __attribute__((aligned(4096)));
static struct { uint16_t flags; _Atomic uint16_t idx; uint16_t ring[SIZE]; } avail
    __attribute__((aligned(4096)));
static struct { uint16_t flags; _Atomic uint16_t idx; struct used_elem ring[SIZE]; } used
    __attribute__((aligned(4096)));
static struct request requests[SIZE];
static uint8_t data[SIZE][4096] __attribute__((aligned(4096)));
static atomic_bool stop;

static void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
}

static void *device(void *unused) {
  (void)unused;
  pin(1);
  uint16_t last = 0;
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    uint16_t seen = atomic_load_explicit(&avail.idx, memory_order_acquire);
    if (seen == last) {
      __builtin_ia32_pause();
      continue;
    }
    uint16_t out = last;
    for (; last != seen; last++, out++) {
      uint16_t head = avail.ring[last % SIZE];
      struct desc *table = (struct desc *)descriptors[head].addr;
      struct request *request = (struct request *)table[0].addr;
      uint32_t written = 0;
      if (request->header.type == 0 && request->header.sector < (1u << 19) &&
          table[1].len % 512 == 0 && (table[1].flags & 2)) {
        written = table[1].len;
        *(volatile uint8_t *)table[2].addr = 0;
      } else {
        *(volatile uint8_t *)table[2].addr = 1;
      }
      used.ring[out % SIZE] = (struct used_elem){head, written + 1};
    }
    atomic_store_explicit(&used.idx, out, memory_order_release);
  }
  return NULL;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
  unsigned depth = argc > 1 ? (unsigned)atoi(argv[1]) : 32;
  double seconds = argc > 2 ? atof(argv[2]) : 1;
  for (unsigned i = 0; i < SIZE; i++) {
    struct request *r = &requests[i];
    r->table[0] = (struct desc){(uint64_t)&r->header, 16, 1, 1};
    r->table[1] = (struct desc){(uint64_t)data[i], 4096, 3, 2};
    r->table[2] = (struct desc){(uint64_t)&r->status, 1, 2, 0};
    descriptors[i] = (struct desc){(uint64_t)r->table, 48, 4, 0};
  }
  pthread_t thread;
  pthread_create(&thread, NULL, device, NULL);
  pin(0);
  uint64_t random = 88172645463325252ULL, done = 0;
  uint16_t published = 0, last = 0, freed[SIZE], free_count = 0;
  for (unsigned i = 0; i < depth; i++) freed[free_count++] = (uint16_t)i;
  double start = now();
  for (;;) {
    while (free_count > 0) {
      uint16_t id = freed[--free_count];
      random ^= random << 13;
      random ^= random >> 7;
      random ^= random << 17;
      requests[id].header.type = 0;
      requests[id].header.sector = (random & 0xFFFF) << 3;
      requests[id].status = 0xFF;
      avail.ring[published++ % SIZE] = id;
    }
    atomic_store_explicit(&avail.idx, published, memory_order_release);
    uint16_t seen = atomic_load_explicit(&used.idx, memory_order_acquire);
    for (; last != seen; last++) {
      uint16_t id = (uint16_t)used.ring[last % SIZE].id;
      if (requests[id].status != 0) abort();
      freed[free_count++] = id;
      done++;
    }
    if ((done & 0xFFF) < 32 && now() - start > seconds) break;
  }
  double elapsed = now() - start;
  atomic_store(&stop, 1);
  pthread_join(thread, NULL);
  printf("%.0f\n", (double)done / elapsed);
  return 0;
}
