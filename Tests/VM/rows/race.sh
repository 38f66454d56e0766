# Two processes want one function, by VFIO and by UIO: the second is refused (75) and told who has it; it
# works again when the first has ended.
prepare() {
  make_disk
  cp disk.img two.img
  append="hugepages=96"
  intel_iommu
  image d1 disk.img
  virtio_disk d1 "$behind"
  image d2 two.img
  virtio_disk d2
}

guest() {
  load_virtio
  load_vfio
  load_uio
  bind_to "$(disk 1)" vfio-pci
  bind_to "$(disk 2)" uio_pci_generic
  for n in 1 2; do
    address=$(disk "$n")
    vblk bench "pci:$address" --rw randread --runtime 600s >/dev/null 2>&1 &
    first=$!
    until_true grep -q "^$first" "/run/vblk/$address.lock"
    until_true grep -q vblk-dma "/proc/$first/maps"
    expect 75 vblk info "pci:$address" >/tmp/out 2>&1
    cat /tmp/out
    grep -q "process $first (vblk)" /tmp/out || fail "the message does not name process $first"
    kill -KILL "$first"
    wait "$first" || true
    vblk info "pci:$address" >/dev/null
    echo "refused $n"
  done
}

prove() {
  contains "refused 1"
  contains "refused 2"
}
