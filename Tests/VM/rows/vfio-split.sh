# Split rings by VFIO behind an emulated Intel IOMMU: whole disk read, written, flushed, verified.
prepare() {
  prepare_exercise
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
  exercise "pci:$address"
}

prove() {
  prove_exercise
  contains "split"
  contains "mapped from VFIO's device file"
}
