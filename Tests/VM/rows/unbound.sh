# No kernel driver at all: the driver turns memory decoding and DMA on by itself.
prepare() {
  prepare_exercise
  append="hugepages=64"
  image d1 disk.img
  virtio_disk d1
}

guest() {
  load_virtio
  address=$(disk)
  unbind "$address"
  exercise "pci:$address"
}

prove() {
  prove_exercise
  contains "mapped by libpciaccess"
}
