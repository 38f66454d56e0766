# SIGKILL under a load of writes from two queues, by vfio: a new process takes the device over and writes
# another range; what was flushed before is there, and nothing else has changed.
prepare() {
  make_disk
  cp disk.img before.img
  payload range 10485760 1048576 4
  append="hugepages=64"
  intel_iommu
  image d1 disk.img
  virtio_disk d1 "$behind,packed=on,num-queues=2"
}

guest() {
  load_virtio
  load_vfio
  address=$(disk)
  bind_to "$address" vfio-pci
  vm-guest fill "$address" 3 1048576 8388608 2 100 >/tmp/fill 2>&1 &
  loader=$!
  until_true grep -q "flushed 0 128" /tmp/fill
  until_true grep -q "flushed 1 64" /tmp/fill
  kill -KILL $loader
  wait $loader || true
  cat /tmp/fill
  echo "taken-over $(vm-guest fill "$address" 4 10485760 1048576 2 1 | grep -c '^load')"
}

prove() {
  equal "queues of the process that took over" 2 "$(said taken-over)"
  splice before.img range 10485760
  written disk.img before.img 3 1048576 8388608 2
}
