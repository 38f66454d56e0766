# Five resets of the device, then five of the function (FLR), each under writes from three queues: every
# operation ends once, the device runs again, and the range is whole at the end.
prepare() {
  make_disk
  cp disk.img after.img
  payload range 1048576 2097152 6
  splice after.img range 1048576
  payload range 4194304 2097152 7
  splice after.img range 4194304
  rm files/range
  append="hugepages=64"
  intel_iommu
  image d1 disk.img
  virtio_disk d1 "$behind,num-queues=4"
}

guest() {
  load_virtio
  load_vfio
  address=$(disk)
  bind_to "$address" vfio-pci
  vm-guest reset "$address" device 5 6 1048576 2097152 3
  vm-guest reset "$address" function 5 7 4194304 2097152 3
}

prove() {
  same_image disk.img after.img
  equal "loads that met all five resets" 6 "$(grep -c 'resets 5$' "$log")"
}
