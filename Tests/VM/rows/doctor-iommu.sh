# Behind an IOMMU, each broken set-up in turn: what `vblk doctor` finds, what `vblk bind` refuses, and
# that the remedy which they give works.
prepare() {
  make_disk
  cp disk.img before.img
  append="hugepages=64"
  intel_iommu
  local n
  for n in 1 2 3 4; do
    cp before.img "d$n.img"
    image "d$n" "d$n.img"
  done
  virtio_disk d1 "$behind"
  virtio_disk d2 # no iommu_platform
  local slot="virtio-blk-pci,bus=pcie.0,multifunction=on,disable-legacy=on,$behind"
  qemu+=(-device "$slot,addr=0x10.0,drive=d3" -device "$slot,addr=0x10.1,drive=d4")
}

guest() {
  load_virtio
  grouped=$(disk 1) sibling=$(disk 2) modern=$(disk 3) bypassing=$(disk 4)

  echo "== a healthy disk"
  examine 0 vblk doctor "$modern"
  finding ok D01 "IOMMU group"
  finding ok D03 "ACCESS_PLATFORM"
  finding warn D10 "driven by virtio-pci as /dev/vd.* (not mounted)" "vblk bind $modern"
  finding ok D11 "free and empty"
  finding ok D12 "vfio-pci can be loaded"
  refused 69 "UIO gives it physical addresses" vblk bind --driver uio_pci_generic "$modern"
  vblk bind "$modern"
  examine 0 vblk doctor "$modern"
  finding ok D02 "alone in group"
  finding ok D05 "can be opened"
  finding ok D07 "reserved are 0xfee00000-0xfeefffff"
  finding ok D08 "64 of 64"
  finding ok D10 "bound to vfio-pci"
  grep -q "^0 failed, 0 to note" /tmp/report || fail "a healthy disk has something to note"

  echo "== a disk that passes the IOMMU by"
  examine 2 vblk doctor "$bypassing"
  finding fail D03 "the device ignores the IOMMU" "iommu_platform=on,disable-legacy=on"
  refused 69 "(D03).*iommu_platform=on" vblk bind "$bypassing"
  [ "$(driver_of "$bypassing")" = virtio-pci ] || fail "a refused bind changed the driver"

  echo "== siblings"
  examine 2 vblk doctor "$grouped"
  finding fail D02 "it has $sibling (virtio-pci) too" "bind all of them to vfio-pci"
  vblk bind "$grouped" >/tmp/out 2>&1
  cat /tmp/out
  grep -q "$sibling (virtio-pci)" /tmp/out || fail "the sibling is not named"
  refused 69 "not viable: $sibling (virtio-pci) (D02).*bind all of them" vblk info "pci:$grouped"
  vblk bind "$sibling"
  examine 0 vblk doctor "$grouped"
  finding ok D02 "is viable, with $sibling (vfio-pci)"
  vblk info "pci:$grouped" >/dev/null

  echo "== another process has the group"
  group=$(basename "$(readlink "$pci/devices/$modern/iommu_group")")
  sleep 600 3<>"/dev/vfio/$group" &
  has() { [ "$(readlink /proc/$!/fd/3)" = "/dev/vfio/$group" ]; }
  until_true has
  examine 2 vblk doctor "$modern"
  finding fail D04 "group $group is held by PID $! (sleep)" "kill $!"
  refused 75 "EBUSY.*process $! (sleep) (D04)" vblk info "pci:$modern"
  refused 75 "process $! (sleep).*(D04)" vblk unbind "$modern"
  kill $!
  wait $! || true
  vblk info "pci:$modern" >/dev/null

  echo "== a user who is not root"
  low="vm-guest as 1000 8388608"
  examine 2 $low vblk doctor "$modern"
  finding fail D05 "/dev/vfio/$group is 0:0 0600, and this is user 1000" "chown 1000 /dev/vfio/$group"
  finding fail D06 "need .* locked, limit 8 MiB" "ulimit -l"
  refused 77 "(D05).*chown" $low vblk info "pci:$modern"
  chown 1000 "/dev/vfio/$group"
  chmod 666 /dev/vfio/vfio
  refused 69 "limit of locked memory is 8388608 bytes (D06).*ulimit -l" $low vblk info "pci:$modern"
  examine 0 vm-guest as 1000 100000000 vblk doctor "$modern"
  finding ok D05 "can be opened"
  finding ok D06 "limit 95.*MiB"
  vm-guest as 1000 100000000 vblk info "pci:$modern" >/dev/null
  refused 77 "run as root" vm-guest as 1000 100000000 vblk unbind "$modern"
  echo "end reached"
}

prove() {
  contains "end reached"
  local n
  for n in 1 2 3 4; do same_image "d$n.img" before.img; done
}
