# The disk is unplugged under a load of writes, by vfio: every operation ends once, with "removed"; what was
# flushed before is there, and nothing outside the range has changed.
prepare() {
  make_disk
  cp disk.img before.img
  append="hugepages=64"
  intel_iommu
  image d1 disk.img
  virtio_disk d1 "$behind,num-queues=2"
}

guest() {
  load_virtio
  load_vfio
  address=$(disk)
  bind_to "$address" vfio-pci
  vm-guest fill "$address" 3 1048576 8388608 2 1000 >/tmp/fill 2>&1 &
  loader=$!
  until_true grep -q "flushed 0 64" /tmp/fill
  until_true grep -q "flushed 1 64" /tmp/fill
  qmp '{"execute":"device_del","arguments":{"id":"vb1"}}'
  status=0
  wait $loader || status=$?
  cat /tmp/fill
  echo "status $status"
  gone() { [ ! -e "$pci/devices/$address" ]; }
  until_true gone
  echo "function gone"
}

prove() {
  equal "the load's status" 2 "$(said status)"
  equal "queues that ended with removed" 2 "$(grep -c '^ended [01] removed$' "$log")"
  contains "function gone"
  contains DEVICE_DELETED
  written disk.img before.img 3 1048576 8388608 2
}
