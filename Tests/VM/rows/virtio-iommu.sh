# VFIO behind virtio's own IOMMU, under Linux 6.12 (6.1 has no driver for it). It does not remap
# interrupts, which VFIO must be told to accept.
needs() {
  kernel=$(apt-cache search --names-only '^linux-image-6\.12\.[0-9]+\+deb12-amd64$' |
    cut -d' ' -f1 | sort -V | tail -1)
  [ -n "$kernel" ] || {
    echo "  virtio-iommu: apt knows no kernel 6.12"
    exit 77
  }
  VM_CACHE=$cache/6.12 VM_KERNEL=$kernel "$here/setup.sh"
  boot_cache=$cache/6.12
}

prepare() {
  prepare_exercise
  append="hugepages=64"
  qemu+=(-device virtio-iommu-pci)
  image d1 disk.img
  virtio_disk d1 "$behind,packed=on"
}

guest() {
  modprobe virtio-iommu
  load_virtio
  modprobe vfio_iommu_type1
  modprobe vfio-pci
  address=$(disk)
  bind_to "$address" vfio-pci
  expect 77 vblk info "pci:$address" >/tmp/out 2>&1
  cat /tmp/out
  grep -q allow_unsafe_interrupts /tmp/out || fail "no remedy"
  echo 1 >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
  exercise "pci:$address"
}

prove() {
  prove_exercise
  contains "kernel=6.12"
  contains ACCESS_PLATFORM
}
