# Discard and write zeroes by VFIO: the range reads as zeroes, nothing else changes, and the image
# gives the space of the discarded range back.
prepare() {
  make_disk
  cp disk.img before.img
  cp before.img after.img
  dd if=/dev/zero of=after.img bs=1M seek=2 count=3 conv=notrunc status=none
  dd if=/dev/zero of=after.img bs=1M seek=8 count=4 conv=notrunc status=none
  append="hugepages=64"
  intel_iommu
  image d1 disk.img discard=unmap
  virtio_disk d1 "$behind,packed=on"
}

guest() {
  load_virtio
  load_vfio
  address=$(disk)
  bind_to "$address" vfio-pci
  vblk zero --yes "pci:$address" --offset 2MiB --length 3MiB
  vblk discard --yes "pci:$address" --offset 8MiB --length 4MiB
  vblk flush "pci:$address"
  echo "zeroes $(vblk read "pci:$address" - --offset 2MiB --length 3MiB | tr -d '\0' | wc -c)"
}

prove() {
  equal "bytes in the zeroed range that are not 0" 0 "$(said zeroes)"
  same_image disk.img after.img
  local before after
  before=$(stat -c %b before.img)
  after=$(stat -c %b disk.img)
  # A few blocks of the host's file system may be needed to remember the hole.
  [ $((before - after)) -ge $((4 * 2048 - 64)) ] || wrong "the image has $after blocks, had $before"
}
