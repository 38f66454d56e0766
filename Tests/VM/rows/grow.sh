# The disk grows under a load of writes: the driver sees the new end, and no write is lost. Then it grows
# once more, while nobody does anything but wait for events.
prepare() {
  make_disk
  cp disk.img after.img
  payload range 0 8388608 9
  splice after.img range 0
  rm files/range
  truncate -s 48M after.img
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
  opened() { grep -q vblk-dma "/proc/$!/maps"; }
  until_true opened
  qmp '{"execute":"block_resize","arguments":{"node-name":"d1","size":50331648}}'
  wait $!
  sed 's/^/event /' /tmp/events
}

prove() {
  same_image disk.img after.img
  contains "grown 16777216 33554432"
  equal "the event" "resized 50331648 bytes (48 MiB)" "$(said event)"
}
