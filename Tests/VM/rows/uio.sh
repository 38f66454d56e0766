# uio_pci_generic: registers through libpciaccess, DMA by physical addresses of huge pages.
prepare() {
  prepare_exercise
  append="hugepages=64"
  image d1 disk.img
  virtio_disk d1 packed=on
}

guest() {
  load_virtio
  load_uio
  address=$(disk)
  bind_to "$address" uio_pci_generic
  exercise "pci:$address"
}

prove() {
  prove_exercise
  contains "mapped by libpciaccess"
}
