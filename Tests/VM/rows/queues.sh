# Four queues on four threads write the disk's middle by turns, block by block, by VFIO and packed rings.
prepare() {
  make_disk
  cp disk.img after.img
  payload range 1048576 8388608 5
  splice after.img range 1048576
  rm files/range
  append="hugepages=64"
  intel_iommu
  image d1 disk.img
  virtio_disk d1 "$behind,packed=on,num-queues=4"
}

guest() {
  load_virtio
  load_vfio
  address=$(disk)
  bind_to "$address" vfio-pci
  vm-guest fill "$address" 5 1048576 8388608 4 1
}

prove() {
  same_image disk.img after.img
  contains "flushed 3 512"
}
