// The ioctls of VFIO (linux/vfio.h), each as a function: 0 or a value, or -1 and errno.
#ifndef CHIO_VFIO_H
#define CHIO_VFIO_H

#include <linux/vfio.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

// The largest MSI-X table (PCI 3.0, 6.8.2).
#define CHIO_VECTORS_MAX 2048

static inline int chio_vfio_api_version(int container) {
  return ioctl(container, VFIO_GET_API_VERSION);
}
static inline int chio_vfio_has_extension(int container, unsigned extension) {
  return ioctl(container, VFIO_CHECK_EXTENSION, (unsigned long)extension) > 0;
}
static inline int chio_vfio_set_iommu(int container, unsigned type) {
  return ioctl(container, VFIO_SET_IOMMU, (unsigned long)type);
}
static inline int chio_vfio_group_flags(int group, uint32_t *flags) {
  struct vfio_group_status status = {.argsz = sizeof status};
  int result = ioctl(group, VFIO_GROUP_GET_STATUS, &status);
  *flags = status.flags;
  return result;
}
static inline int chio_vfio_set_container(int group, int container) {
  return ioctl(group, VFIO_GROUP_SET_CONTAINER, &container);
}
static inline int chio_vfio_device(int group, const char *name) {
  return ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
}

// `reply` begins with argsz, which the kernel raises where it has more to say.
static inline int chio_vfio_iommu_info(int container, void *reply) {
  return ioctl(container, VFIO_IOMMU_GET_INFO, reply);
}
static inline int chio_vfio_region_info(int device, void *reply) {
  return ioctl(device, VFIO_DEVICE_GET_REGION_INFO, reply);
}
static inline int chio_vfio_device_flags(int device, uint32_t *flags) {
  struct vfio_device_info info = {.argsz = sizeof info};
  int result = ioctl(device, VFIO_DEVICE_GET_INFO, &info);
  *flags = info.flags;
  return result;
}
static inline int chio_vfio_reset(int device) { return ioctl(device, VFIO_DEVICE_RESET); }

static inline int chio_vfio_map(int container, void *memory, uint64_t address, uint64_t count) {
  struct vfio_iommu_type1_dma_map map = {
      .argsz = sizeof map,
      .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
      .vaddr = (uintptr_t)memory,
      .iova = address,
      .size = count,
  };
  return ioctl(container, VFIO_IOMMU_MAP_DMA, &map);
}
// `count` becomes what was unmapped.
static inline int chio_vfio_unmap(int container, uint64_t address, uint64_t *count) {
  struct vfio_iommu_type1_dma_unmap unmap = {
      .argsz = sizeof unmap, .iova = address, .size = *count};
  int result = ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap);
  *count = unmap.size;
  return result;
}

static inline int chio_vfio_irq_count(int device, uint32_t index, uint32_t *count) {
  struct vfio_irq_info info = {.argsz = sizeof info, .index = index};
  int result = ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, &info);
  *count = (info.flags & VFIO_IRQ_INFO_EVENTFD) ? info.count : 0;
  return result;
}
// Connects `count` interrupts from `first` on to eventfds; -1 for none.
static inline int chio_vfio_set_irqs(
    int device, uint32_t index, uint32_t first, uint32_t count, const int32_t *eventfds) {
  _Alignas(struct vfio_irq_set) char
      bytes[sizeof(struct vfio_irq_set) + CHIO_VECTORS_MAX * sizeof(int32_t)];
  struct vfio_irq_set *set = (struct vfio_irq_set *)bytes;
  if (count > CHIO_VECTORS_MAX) {
    errno = EINVAL;
    return -1;
  }
  set->argsz = (uint32_t)(sizeof *set + count * sizeof(int32_t));
  set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
  set->index = index;
  set->start = first;
  set->count = count;
  memcpy(set->data, eventfds, count * sizeof(int32_t));
  return ioctl(device, VFIO_DEVICE_SET_IRQS, set);
}
static inline int chio_vfio_disable_irqs(int device, uint32_t index) {
  struct vfio_irq_set set = {
      .argsz = sizeof set,
      .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
      .index = index};
  return ioctl(device, VFIO_DEVICE_SET_IRQS, &set);
}
// Lets the one interrupt of an index signal again, which is masked with each signal.
static inline int chio_vfio_unmask_irq(int device, uint32_t index) {
  struct vfio_irq_set set = {
      .argsz = sizeof set,
      .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
      .index = index,
      .count = 1};
  return ioctl(device, VFIO_DEVICE_SET_IRQS, &set);
}

#endif
