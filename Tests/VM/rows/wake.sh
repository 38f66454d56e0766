# A thread waits for its reads by turns: asleep on the queue's MSI-X eventfd, polling, and asleep after
# polling for a while; split and packed. Each block is held against what it must be.
prepare() {
  make_disk
  cp disk.img two.img
  append="hugepages=64"
  intel_iommu
  slow_image d1 disk.img
  virtio_disk d1 "$behind"
  slow_image d2 two.img
  virtio_disk d2 "$behind,packed=on"
}

guest() {
  load_virtio
  load_vfio
  for n in 1 2; do
    address=$(disk "$n")
    bind_to "$address" vfio-pci
    vm-guest wake "$address" 200
  done
}

prove() {
  equal "disks on which every read came" 2 "$(grep -c '^reads 200$' "$log")"
  equal "disks on which a thread slept" 2 "$(grep -c '^slept [1-9]' "$log")"
  equal "disks on which a thread polled" 2 "$(grep -c '^polled [1-9]' "$log")"
}
