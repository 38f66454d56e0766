# A thread sleeps on the interrupt line (INTx): by VFIO where the disk has no MSI-X, and by UIO, which
# has nothing else. The kernel says how often it was told.
prepare() {
  make_disk
  cp disk.img two.img
  append="hugepages=64"
  intel_iommu
  slow_image d1 disk.img
  virtio_disk d1 "$behind,vectors=0"
  slow_image d2 two.img
  virtio_disk d2 packed=on
}

guest() {
  load_virtio
  load_vfio
  load_uio
  address=$(disk 1)
  bind_to "$address" vfio-pci
  vm-guest wake "$address" 199 &
  taken() { grep "vfio-intx($address)" /proc/interrupts; }
  until_true taken
  wait $!
  address=$(disk 2)
  bind_to "$address" uio_pci_generic
  vm-guest wake "$address" 200
  vblk bench "pci:$address" --wait interrupt --rw randread --iodepth 1 --runtime 2s
  echo "counted $(cat "$pci/devices/$address/uio/uio0/event")"
}

prove() {
  equal "disks on which every read came" 2 "$(grep -c '^reads \(199\|200\)$' "$log")"
  equal "disks on which a thread slept" 2 "$(grep -c '^slept [1-9]' "$log")"
  equal "disks on which a thread polled" 2 "$(grep -c '^polled [1-9]' "$log")"
  contains "vfio-intx"
  [ "$(said counted)" -ge "$(said slept)" ] ||
    wrong "a thread slept $(said slept) times, and the kernel counted $(said counted)"
}
