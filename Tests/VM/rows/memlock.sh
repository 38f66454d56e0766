# A user who is not root drives a disk by VFIO with nothing but the right to its group's file; with too
# low a limit of locked memory the message says so.
prepare() {
  make_disk
  append="hugepages=0"
  intel_iommu
  image d1 disk.img
  virtio_disk d1 "$behind"
}

guest() {
  load_virtio
  load_vfio
  address=$(disk)
  bind_to "$address" vfio-pci
  group=$(basename "$(readlink "$pci/devices/$address/iommu_group")")
  expect 77 vm-guest as 1000 100000000 vblk info "pci:$address" >/tmp/out 2>&1
  cat /tmp/out
  grep -q "chown" /tmp/out || fail "no remedy"
  chown 1000 "/dev/vfio/$group"
  chmod 666 /dev/vfio/vfio
  expect 69 vm-guest as 1000 65536 vblk info "pci:$address" >/tmp/out 2>&1
  cat /tmp/out
  grep -q "limit of locked memory is 65536 bytes" /tmp/out || fail "the limit is not named"
  vm-guest as 1000 100000000 vblk info "pci:$address"
  echo "as-user $(vm-guest as 1000 100000000 vblk read "pci:$address" - | sha256sum | cut -d' ' -f1)"
}

prove() { equal "what a user read" "$(digest disk.img)" "$(said as-user)"; }
