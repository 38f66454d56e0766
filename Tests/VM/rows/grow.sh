# The disk grows under a load of writes: the driver sees the new end, and no write is lost. Then it grows
# on, while somebody only waits for events, until one has come.
prepare() {
  make_disk
  cp disk.img after.img
  payload range 0 8388608 9
  splice after.img range 0
  rm files/range
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
  vm-guest grow "$address" 33554432 \
    '{"execute":"block_resize","arguments":{"node-name":"d1","size":33554432}}'
  vblk events "pci:$address" --count 1 --runtime 60s >/tmp/events &
  size=33554432
  heard() {
    size=$((size + 1048576))
    qmp "{\"execute\":\"block_resize\",\"arguments\":{\"node-name\":\"d1\",\"size\":$size}}"
    sleep 1
    [ -s /tmp/events ]
  }
  until_true heard
  wait $!
  sed 's/^/event /' /tmp/events
}

prove() {
  truncate -s "$(stat -c %s disk.img)" after.img
  same_image disk.img after.img
  contains "grown 16777216 33554432"
  local size
  size=$(said event | sed -n 's/^resized \([0-9]*\) bytes .*/\1/p')
  [ -n "$size" ] || wrong "there was no event"
  [ "$size" -gt 33554432 ] || wrong "the event says $size bytes"
  contains "\"size\":$size}"
}
