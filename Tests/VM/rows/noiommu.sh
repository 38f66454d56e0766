# VFIO without an IOMMU: Debian's kernel lacks the mode, so vfio.ko is built again with it.
needs() { "$here/noiommu.sh" "$cache"; }

prepare() {
  prepare_exercise
  append="hugepages=64"
  cp "$cache/vfio-noiommu.ko" files/
  image d1 disk.img
  virtio_disk d1 packed=on
}

guest() {
  load_virtio
  load_noiommu
  address=$(disk)
  bind_to "$address" vfio-pci
  ls /dev/vfio
  exercise "pci:$address"
}

prove() {
  prove_exercise
  contains "noiommu-0"
  contains "mapped from VFIO's device file"
}
