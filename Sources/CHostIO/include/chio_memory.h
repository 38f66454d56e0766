// Loads and stores of memory that another party (a device, a driver, a thread) reads or writes at
// the same time, and of device registers. Every function is one instruction on x86-64.
#ifndef CHIO_MEMORY_H
#define CHIO_MEMORY_H

#include <stdint.h>

// Shared memory: "once" is a relaxed load, so that a value is fetched one time and no more.
static inline uint8_t chio_load8_once(const void *p) {
  return __atomic_load_n((const uint8_t *)p, __ATOMIC_RELAXED);
}
static inline uint16_t chio_load16_once(const void *p) {
  return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
}
static inline uint32_t chio_load32_once(const void *p) {
  return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
}
static inline uint64_t chio_load64_once(const void *p) {
  return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
}
static inline void chio_store8_once(void *p, uint8_t v) {
  __atomic_store_n((uint8_t *)p, v, __ATOMIC_RELAXED);
}
static inline void chio_store16_once(void *p, uint16_t v) {
  __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELAXED);
}
static inline void chio_store32_once(void *p, uint32_t v) {
  __atomic_store_n((uint32_t *)p, v, __ATOMIC_RELAXED);
}
static inline void chio_store64_once(void *p, uint64_t v) {
  __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELAXED);
}
static inline uint16_t chio_load16_acquire(const void *p) {
  return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
}
static inline uint32_t chio_load32_acquire(const void *p) {
  return __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
}
static inline uint64_t chio_load64_acquire(const void *p) {
  return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
}
static inline void chio_store16_release(void *p, uint16_t v) {
  __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELEASE);
}
static inline void chio_store32_release(void *p, uint32_t v) {
  __atomic_store_n((uint32_t *)p, v, __ATOMIC_RELEASE);
}
static inline void chio_store64_release(void *p, uint64_t v) {
  __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELEASE);
}

// Device registers: volatile, so that each access happens once, in order, at its width.
static inline uint8_t chio_mmio_read8(const void *p) { return *(const volatile uint8_t *)p; }
static inline uint16_t chio_mmio_read16(const void *p) { return *(const volatile uint16_t *)p; }
static inline uint32_t chio_mmio_read32(const void *p) { return *(const volatile uint32_t *)p; }
static inline void chio_mmio_write8(void *p, uint8_t v) { *(volatile uint8_t *)p = v; }
static inline void chio_mmio_write16(void *p, uint16_t v) { *(volatile uint16_t *)p = v; }
static inline void chio_mmio_write32(void *p, uint32_t v) { *(volatile uint32_t *)p = v; }

// Store-load order, which neither release nor acquire gives: event suppression needs it.
static inline void chio_fence_full(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// The same order for a device that is none of the processors (ORDER_PLATFORM): where processors
// and devices share memory in two domains, the wider one.
static inline void chio_fence_device(void) {
#if defined(__x86_64__)
  __asm__ volatile("mfence" ::: "memory");
#elif defined(__aarch64__)
  __asm__ volatile("dmb osh" ::: "memory");
#else
  __sync_synchronize();
#endif
}

static inline void chio_prefetch(const void *p) { __builtin_prefetch(p); }
// In assembly: the compiler takes the read form for processors that may lack PREFETCHW, to which it
// is a no-op.
static inline void chio_prefetch_write(const void *p) {
#if defined(__x86_64__)
  __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
  __builtin_prefetch(p, 1);
#endif
}

static inline void chio_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

#endif
