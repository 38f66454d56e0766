// The C floor: a virtio-blk driver and device in one process, as small as C makes them. What rings,
// requests and (asked for) validation cost here, without a library around them.
//
// The driver of each ring format is inlined for that format, so that nothing is chosen at run time.
// It has a private 64-byte record a request, as any driver that does not trust its
// device must. With validation it checks what the library checks: range, alignment and owner of the
// buffer at submission; bound of the used index, id, state, length and status at completion; and it
// counts requests, bytes, kicks and polls. Without, it believes what the device writes.
//
// Usage: floor FORMAT VALIDATED MODE ...
//   FORMAT     split-direct split-indirect packed-direct packed-indirect
//   VALIDATED  0 or 1
//   count ROUNDS          rounds of 32 reads on a null store, and as many of the client alone, for
//                         callgrind
//   inline DEPTH SECONDS [memory]     device called by the kick; prints requests a second
//   threaded DEPTH SECONDS [memory]   device polls on a thread of its own; prints requests a
// second,
//                                     and at depth 1 the median latency in ns
//   memcpy SECONDS        4 KiB copies at random places of the store, a second
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define LIKELY(x) __builtin_expect(!!(x), 1)

enum { SIZE = 512, SLOTS = 128, ROUND = 32, BLOCK = 4096, SECTOR = 512 };
enum { NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 1 << 7, USED = 1 << 15 };
enum { FREE_SLOT = 0 };

struct desc { uint64_t addr; uint32_t len; uint16_t flags, next; };
struct packed_desc { uint64_t addr; uint32_t len; uint16_t id, flags; };
struct area { // what driver and device share for a request
  struct { uint32_t type, reserved; uint64_t sector; } header;
  struct desc table[3];
  uint8_t status;
  uint8_t pad[63];
} __attribute__((aligned(64)));
struct record { // private to the driver
  uint8_t *buffer;
  uint64_t tag, position, expected; // expected: used length of full success; FREE_SLOT if free
  uint32_t bytes, next, stamp;
  _Atomic uint32_t count;
} __attribute__((aligned(64)));

static struct desc descriptors[SIZE] __attribute__((aligned(4096)));
static struct packed_desc packed[SIZE] __attribute__((aligned(4096)));
static struct { uint16_t flags; _Atomic uint16_t idx; uint16_t ring[SIZE]; uint16_t event; } avail
    __attribute__((aligned(4096)));
static struct { uint16_t flags; _Atomic uint16_t idx; struct { uint32_t id, len; } ring[SIZE];
                uint16_t event; } used __attribute__((aligned(4096)));
static _Atomic uint32_t device_event __attribute__((aligned(64))) = 1u << 16; // disabled
static struct area areas[SIZE] __attribute__((aligned(4096)));
static struct record records[SIZE] __attribute__((aligned(4096)));
static uint8_t *store; // NULL: a null store
static const uint64_t store_bytes = 256ull << 20;
static atomic_bool stop;

// What a format is.
struct format { bool packed, indirect; };

// The driver's own, of one queue.
static struct driver {
  uint64_t capacity, max_bytes, arena_first, arena_bytes;
  uint64_t requests, bytes, kicks, suppressed, polls, empty_polls, violations;
  uint32_t free_head, tick;
  int32_t free_count;
  uint16_t avail_shadow, avail_published, last_used;
  // Packed: where the next goes, where the next used one is, where a batch began.
  uint16_t place, used_place, held;
  uint16_t avail_bits, used_bits, held_bits, hold;
} driver __attribute__((aligned(64)));

// The device's own.
static struct device {
  uint16_t last, used;
  uint16_t place, bits; // packed
} device __attribute__((aligned(64)));

// ---- device ----

// The generic request: header, data, status in any of the forms that a driver may use here.
INLINE uint32_t device_request(const struct desc *table, const struct packed_desc *list,
    bool in_ring) {
  uint64_t header = in_ring && list ? list[0].addr : table[0].addr;
  uint64_t data = in_ring && list ? list[1].addr : table[1].addr;
  uint32_t length = in_ring && list ? list[1].len : table[1].len;
  uint16_t flags = in_ring && list ? list[1].flags : table[1].flags;
  uint8_t *status = (uint8_t *)(in_ring && list ? list[2].addr : table[2].addr);
  const struct area *area = (const struct area *)header;
  uint64_t sector = area->header.sector;
  uint32_t written = 0;
  uint8_t result = 0;
  bool fits = length % SECTOR == 0 && sector <= store_bytes / SECTOR &&
              length / SECTOR <= store_bytes / SECTOR - sector;
  switch (area->header.type) {
  case 0:
    if (!fits || !(flags & WRITE)) { result = 1; break; }
    if (store) memcpy((void *)data, store + sector * SECTOR, length);
    written = length;
    break;
  case 1:
    if (!fits || (flags & WRITE)) { result = 1; break; }
    if (store) memcpy(store + sector * SECTOR, (void *)data, length);
    break;
  case 4: break;
  default: result = 2;
  }
  *(volatile uint8_t *)status = result;
  return written + 1;
}

INLINE unsigned serve_split(struct format f) {
  uint16_t seen = atomic_load_explicit(&avail.idx, memory_order_acquire);
  if ((uint16_t)(seen - device.last) > SIZE) abort();
  unsigned served = 0;
  for (; device.last != seen; device.last++, served++) {
    uint16_t head = avail.ring[device.last % SIZE];
    if (head >= SIZE) abort();
    const struct desc *d = &descriptors[head];
    uint32_t length;
    if (d->flags & INDIRECT) {
      if (d->len != 48) abort();
      length = device_request((const struct desc *)d->addr, NULL, false);
    } else {
      if (d->next >= SIZE || descriptors[d->next].next >= SIZE) abort();
      struct desc chain[3] = {*d, descriptors[d->next], descriptors[descriptors[d->next].next]};
      length = device_request(chain, NULL, false);
    }
    used.ring[device.used % SIZE].id = head;
    used.ring[device.used % SIZE].len = length;
    device.used++;
  }
  (void)f;
  if (served) atomic_store_explicit(&used.idx, device.used, memory_order_release);
  return served;
}

INLINE unsigned serve_packed(struct format f) {
  unsigned served = 0;
  for (;;) {
    struct packed_desc *d = &packed[device.place];
    uint16_t flags = atomic_load_explicit((_Atomic uint16_t *)&d->flags, memory_order_acquire);
    if ((flags & (AVAIL | USED)) != device.bits) break;
    uint32_t length;
    uint16_t id, span;
    if (flags & INDIRECT) {
      id = d->id;
      span = 1;
      length = device_request((const struct desc *)d->addr, NULL, false);
    } else {
      struct packed_desc list[3];
      for (unsigned i = 0; i < 3; i++) list[i] = packed[(device.place + i) % SIZE];
      id = list[2].id;
      span = 3;
      length = device_request(NULL, list, true);
    }
    if (id >= SIZE) abort();
    uint16_t wrapped = device.bits ^ (AVAIL | USED);
    uint16_t mark = wrapped & USED ? (AVAIL | USED) : 0;
    uint64_t word = length | (uint64_t)id << 32 | (uint64_t)mark << 48;
    atomic_store_explicit((_Atomic uint64_t *)&d->len, word, memory_order_release);
    device.place += span;
    if (device.place >= SIZE) {
      device.place -= SIZE;
      device.bits ^= AVAIL | USED;
    }
    served++;
  }
  (void)f;
  return served;
}

// ---- driver ----

static uint8_t *pool; // the arena of buffers

// One descriptor at the next place; a batch's first one is held back by its AVAIL bit until the
// kick.
INLINE void add_descriptor(uint64_t address, uint64_t word) {
  struct packed_desc *d = &packed[driver.place];
  d->addr = address;
  *(uint64_t *)&d->len = word | (uint64_t)(driver.avail_bits ^ driver.hold) << 48;
  driver.hold = 0;
  if (++driver.place == SIZE) {
    driver.place = 0;
    driver.avail_bits ^= AVAIL | USED;
  }
}

NOINLINE static void add_three_at_end(uint64_t header, uint64_t data, uint64_t word) {
  add_descriptor(header, (word & 0xFFFF00000000) | 16 | (uint64_t)NEXT << 48);
  add_descriptor(data, word);
  add_descriptor(header + offsetof(struct area, status),
      (word & 0xFFFF00000000) | 1 | (uint64_t)WRITE << 48);
}

INLINE void add_packed(struct format f, uint16_t id, uint64_t data, uint16_t data_flags) {
  struct area *a = &areas[id];
  uint64_t ids = (uint64_t)id << 32;
  if (f.indirect) {
    a->table[1] = (struct desc){data, BLOCK, data_flags, 2};
    add_descriptor((uint64_t)a->table, ids | 48 | (uint64_t)INDIRECT << 48);
    return;
  }
  uint64_t header = (uint64_t)&a->header;
  uint64_t word = ids | (uint64_t)driver.avail_bits << 48;
  if (!LIKELY(driver.place + 3 < SIZE))
    return add_three_at_end(header, data, ids | BLOCK | (uint64_t)data_flags << 48);
  struct packed_desc *d = &packed[driver.place];
  d[0].addr = header;
  *(uint64_t *)&d[0].len = (word | 16 | (uint64_t)NEXT << 48) ^ (uint64_t)driver.hold << 48;
  d[1].addr = data;
  *(uint64_t *)&d[1].len = word | BLOCK | (uint64_t)data_flags << 48;
  d[2].addr = header + offsetof(struct area, status);
  *(uint64_t *)&d[2].len = word | 1 | (uint64_t)WRITE << 48;
  driver.hold = 0;
  driver.place += 3;
}

INLINE bool driver_submit(struct format f, bool validated, bool write, uint64_t offset,
                          uint8_t *buffer, uint64_t tag) {
  if (validated) {
    if (!LIKELY(((offset | BLOCK) & (SECTOR - 1)) == 0 && BLOCK - 1 < driver.max_bytes)) return
        false;
    if (!LIKELY(offset <= driver.capacity - BLOCK && driver.free_count > 0)) return false;
    if (!LIKELY((uint64_t)buffer - driver.arena_first < driver.arena_bytes)) return false;
  }
  uint32_t id = driver.free_head;
  struct record *r = &records[id];
  struct area *a = &areas[id];
  driver.free_head = r->next;
  driver.free_count--;
  r->buffer = buffer;
  r->tag = tag;
  r->bytes = BLOCK;
  if (validated) {
    r->position = offset;
    r->expected = write ? 1 : BLOCK + 1;
    r->stamp = driver.tick;
    atomic_store_explicit(&r->count, 1, memory_order_relaxed);
  }
  a->header.type = write;
  a->header.reserved = 0;
  a->header.sector = offset / SECTOR;
  *(volatile uint8_t *)&a->status = 0xFF;
  uint16_t flags = NEXT | (write ? 0 : WRITE);
  if (f.packed) {
    add_packed(f, (uint16_t)id, (uint64_t)buffer, flags);
  } else {
    struct desc *d = f.indirect ? &a->table[1] : &descriptors[3 * id + 1];
    d->addr = (uint64_t)buffer;
    d->len = BLOCK;
    d->flags = flags;
    avail.ring[driver.avail_shadow % SIZE] = (uint16_t)(f.indirect ? id : 3 * id);
  }
  driver.avail_shadow++;
  return true;
}

NOINLINE static void device_serve(struct format f) {
  if (f.packed) serve_packed(f); else serve_split(f);
}

INLINE void driver_kick(struct format f, bool validated, bool rings) {
  uint16_t old = driver.avail_published;
  if (driver.avail_shadow == old) return;
  driver.avail_published = driver.avail_shadow;
  bool wanted;
  if (f.packed) {
    atomic_store_explicit((_Atomic uint16_t *)&packed[driver.held].flags,
                          (packed[driver.held].flags & ~(AVAIL | USED)) | driver.held_bits,
                          memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    wanted = atomic_load_explicit(&device_event, memory_order_relaxed) >> 16 != 1;
    driver.held = driver.place;
    driver.held_bits = driver.avail_bits;
    driver.hold = AVAIL;
  } else {
    atomic_store_explicit(&avail.idx, driver.avail_shadow, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    wanted = (uint16_t)(driver.avail_shadow - *(volatile uint16_t *)&used.event - 1) <
             (uint16_t)(driver.avail_shadow - old);
  }
  if (validated) {
    driver.requests += (uint16_t)(driver.avail_shadow - old);
    if (wanted) driver.kicks++; else driver.suppressed++;
  }
  if (rings) device_serve(f);
}

// One completion, or NULL. `seen` is how far the device is, for split rings.
INLINE struct record *driver_next(struct format f, bool validated, uint16_t seen) {
  uint32_t id, length;
  if (f.packed) {
    uint64_t word = atomic_load_explicit((_Atomic uint64_t *)&packed[driver.used_place].len,
                                         memory_order_acquire);
    uint16_t flags = word >> 48;
    if ((flags & (AVAIL | USED)) != driver.used_bits) return NULL;
    id = word >> 32 & 0xFFFF;
    length = (uint32_t)word;
    if (validated && driver.last_used == driver.avail_published) abort();
    driver.used_place += f.indirect ? 1 : 3;
    if (driver.used_place >= SIZE) {
      driver.used_place -= SIZE;
      driver.used_bits ^= AVAIL | USED;
    }
  } else {
    if (driver.last_used == seen) return NULL;
    id = used.ring[driver.last_used % SIZE].id;
    length = used.ring[driver.last_used % SIZE].len;
    if (validated && id >= SIZE) abort();
    if (!f.indirect) id /= 3;
  }
  if (validated && id >= SLOTS) abort();
  struct record *r = &records[id];
  uint8_t status = *(volatile uint8_t *)&areas[id].status;
  if (validated) {
    if (!LIKELY(r->expected == length)) abort();
    if (!LIKELY(status == 0)) abort();
    r->expected = FREE_SLOT;
    driver.bytes += r->bytes;
    if (!LIKELY(atomic_fetch_sub_explicit(&r->count, 1, memory_order_acq_rel) == 1)) abort();
  } else if (status != 0) {
    abort();
  }
  driver.last_used++;
  r->next = driver.free_head;
  driver.free_head = id;
  driver.free_count++;
  return r;
}

INLINE uint16_t driver_look(struct format f, bool validated) {
  driver.polls++;
  if (f.packed) return 0;
  uint16_t seen = atomic_load_explicit(&used.idx, memory_order_acquire);
  if (validated && (uint16_t)(seen - driver.last_used) >
                       (uint16_t)(driver.avail_published - driver.last_used)) abort();
  return seen;
}

static void setup(struct format f) {
  pool = mmap(NULL, SLOTS * BLOCK, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
              -1, 0);
  driver.capacity = store_bytes;
  driver.max_bytes = 1 << 20;
  driver.arena_first = (uint64_t)pool;
  driver.arena_bytes = SLOTS * BLOCK;
  driver.avail_bits = driver.held_bits = AVAIL;
  driver.used_bits = AVAIL | USED;
  driver.hold = AVAIL;
  device.bits = AVAIL;
  driver.free_head = UINT32_MAX;
  used.event = (uint16_t)-1;
  for (unsigned i = SLOTS; i-- > 0;) {
    struct area *a = &areas[i];
    a->table[0] = (struct desc){(uint64_t)&a->header, 16, NEXT, 1};
    a->table[1] = (struct desc){0, 0, 0, 2};
    a->table[2] = (struct desc){(uint64_t)&a->status, 1, WRITE, 0};
    if (f.indirect) {
      descriptors[i] = (struct desc){(uint64_t)a->table, 48, INDIRECT, 0};
    } else {
      descriptors[3 * i] = (struct desc){(uint64_t)&a->header, 16, NEXT, (uint16_t)(3 * i + 1)};
      descriptors[3 * i + 1] = (struct desc){0, 0, 0, (uint16_t)(3 * i + 2)};
      descriptors[3 * i + 2] = (struct desc){(uint64_t)&a->status, 1, WRITE, 0};
    }
    records[i].next = driver.free_head;
    driver.free_head = i;
    driver.free_count++;
  }
}

// ---- client ----

static struct client {
  uint8_t *buffers[SLOTS];
  unsigned count;
  uint64_t random, checksum;
} client = {.random = 88172645463325252ull};

INLINE uint64_t next_offset(void) {
  client.random ^= client.random << 13;
  client.random ^= client.random >> 7;
  client.random ^= client.random << 17;
  return (client.random & 0xFFFF) * BLOCK;
}

INLINE void fill(struct format f, bool validated) {
  while (client.count > 0) {
    uint64_t offset = next_offset();
    if (!driver_submit(f, validated, false, offset, client.buffers[client.count - 1],
        offset)) abort();
    client.count--;
  }
}

INLINE unsigned reap(struct format f, bool validated) {
  uint16_t seen = driver_look(f, validated);
  unsigned reaped = 0;
  for (struct record *r; (r = driver_next(f, validated, seen)); reaped++) {
    client.checksum += r->tag + r->bytes;
    client.buffers[client.count++] = r->buffer;
  }
  return reaped;
}

// The client's own share: the same round with a driver that keeps nothing but buffer and tag.
NOINLINE static void client_round(void) {
  static struct { uint8_t *buffer; uint64_t tag; } held[SLOTS];
  unsigned n = 0;
  while (client.count > 0) {
    uint64_t offset = next_offset();
    held[n].buffer = client.buffers[--client.count];
    held[n++].tag = offset;
  }
  while (n > 0) {
    client.checksum += held[--n].tag + BLOCK;
    client.buffers[client.count++] = held[n].buffer;
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
}

#define FORMATS(X) X(split_direct, false, false) X(split_indirect, false, true) \
  X(packed_direct, true, false) X(packed_indirect, true, true)

// Every function that must not choose at run time, for each format, validated and not.
#define DEFINE(name, is_packed, is_indirect, v, suffix)                                            \
  NOINLINE static void driver_round_##name##suffix(void) {                                         \
    const struct format f = {is_packed, is_indirect};                                              \
    fill(f, v);                                                                                    \
    driver_kick(f, v, true);                                                                       \
    reap(f, v);                                                                                    \
  }                                                                                                \
  NOINLINE static uint64_t loop_##name##suffix(double seconds, bool threaded, uint64_t *lat,       \
                                               uint64_t lat_max) {                                 \
    const struct format f = {is_packed, is_indirect};                                              \
    uint64_t done = 0, looks = 0, n = 0;                                                           \
    double end = now() + seconds;                                                                  \
    while (true) {                                                                                 \
      fill(f, v);                                                                                  \
      double began = lat_max ? now() : 0;                                                          \
      driver_kick(f, v, !threaded);                                                                \
      unsigned reaped = reap(f, v);                                                                \
      while (lat_max && !reaped) reaped = reap(f, v);                                              \
      if (lat_max && n < lat_max) lat[n++] = (uint64_t)((now() - began) * 1e9);                    \
      done += reaped;                                                                              \
      if ((++looks & 0x3FF) == 0 && now() > end) break;                                            \
    }                                                                                              \
    return done;                                                                                   \
  }
#define DEFINE_BOTH(name, p, i) DEFINE(name, p, i, false, _trusting) DEFINE(name, p, i, true, \
  _validated)
FORMATS(DEFINE_BOTH)

static const struct entry {
  const char *name;
  struct format format;
  void (*round[2])(void);
  uint64_t (*loop[2])(double, bool, uint64_t *, uint64_t);
} entries[] = {
    {"split-direct", {false, false}, {driver_round_split_direct_trusting,
        driver_round_split_direct_validated}, {loop_split_direct_trusting,
            loop_split_direct_validated}},
    {"split-indirect", {false, true}, {driver_round_split_indirect_trusting,
        driver_round_split_indirect_validated}, {loop_split_indirect_trusting,
            loop_split_indirect_validated}},
    {"packed-direct", {true, false}, {driver_round_packed_direct_trusting,
        driver_round_packed_direct_validated}, {loop_packed_direct_trusting,
            loop_packed_direct_validated}},
    {"packed-indirect", {true, true}, {driver_round_packed_indirect_trusting,
        driver_round_packed_indirect_validated}, {loop_packed_indirect_trusting,
            loop_packed_indirect_validated}},
};

static void *device_thread(void *argument) {
  const struct entry *e = argument;
  pin(1);
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    unsigned served = e->format.packed ? serve_packed(e->format) : serve_split(e->format);
    if (!served) __builtin_ia32_pause();
  }
  return NULL;
}

static int ascending(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void use_memory(void) {
  store = mmap(NULL, store_bytes, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
               -1, 0);
  memset(store, 1, store_bytes);
}

static int copy_only(double seconds) {
  use_memory();
  setup((struct format){false, false});
  uint64_t done = 0;
  double start = now();
  while (now() - start < seconds)
    for (unsigned i = 0; i < 1024; i++, done++)
      memcpy(pool + (i % ROUND) * BLOCK, store + next_offset(), BLOCK);
  printf("%.0f\n", (double)done / (now() - start));
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "memcpy")) return copy_only(atof(argv[2]));
  const struct entry *e = NULL;
  for (unsigned i = 0; argc >= 5 && i < 4; i++)
    if (!strcmp(entries[i].name, argv[1])) e = &entries[i];
  if (!e) {
    fprintf(stderr,
        "usage: floor FORMAT VALIDATED count ROUNDS | inline|threaded DEPTH SECONDS [memory]\n");
    return 64;
  }
  int validated = atoi(argv[2]) != 0;
  bool counting = !strcmp(argv[3], "count"), threaded = !strcmp(argv[3], "threaded");
  unsigned depth = counting ? ROUND : (unsigned)atoi(argv[4]);
  if (depth < 1 || depth > SLOTS) { fprintf(stderr, "depth 1 to %d\n", SLOTS); return 64; }
  setup(e->format);
  for (unsigned i = 0; i < depth; i++) client.buffers[client.count++] = pool + i * BLOCK;
  if (counting) {
    int rounds = atoi(argv[4]);
    for (int i = 0; i < rounds; i++) {
      e->round[validated]();
      client_round();
    }
    if (client.count != depth) abort();
    printf("operations %d checksum %lu\n", rounds * ROUND, client.checksum);
    return 0;
  }
  if (argc > 6 && !strcmp(argv[6], "memory")) use_memory();
  double seconds = argc > 5 ? atof(argv[5]) : 1;
  pthread_t thread;
  if (threaded) pthread_create(&thread, NULL, device_thread, (void *)e);
  pin(0);
  uint64_t most = depth == 1 && threaded ? 1 << 20 : 0;
  uint64_t *latencies = most ? calloc(most, sizeof *latencies) : NULL;
  double start = now();
  uint64_t done = e->loop[validated](seconds, threaded, latencies, most);
  double elapsed = now() - start;
  atomic_store(&stop, true);
  if (threaded) pthread_join(thread, NULL);
  printf("%.0f", (double)done / elapsed);
  if (most) {
    uint64_t n = done < most ? done : most;
    qsort(latencies, n, sizeof *latencies, ascending);
    printf(" %lu", latencies[n / 2]);
  }
  printf("\n");
  return 0;
}
