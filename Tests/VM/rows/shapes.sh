# Five disks that differ: blocks of 4,096 bytes, read-only, a serial, a short ring with more segments
# than fit it (seg_max 126), no event index and no indirect descriptors. By UIO, one after another.
prepare() {
  prepare_exercise
  append="hugepages=64"
  cp before.img blocks4k.img
  cp before.img readonly.img
  cp before.img short.img
  cp before.img plain.img
  image d1 blocks4k.img
  virtio_disk d1 logical_block_size=4096,physical_block_size=4096,serial=VBLK-4K
  image d2 readonly.img read-only=on
  virtio_disk d2
  image d3 short.img
  virtio_disk d3 queue-size=64,seg-max-adjust=off
  image d4 plain.img
  virtio_disk d4 event_idx=off,indirect_desc=off
  image d5 disk.img
  virtio_disk d5 event_idx=off,indirect_desc=off,packed=on,serial=12345678901234567890
}

guest() {
  for n in 1 3 4 5; do
    echo "== disk $n"
    exercise "pci:$(disk "$n")" | sed "s/^digest-/disk$n-/"
  done
  readonly=pci:$(disk 2)
  vblk info "$readonly"
  echo "disk2-before $(vblk read "$readonly" - | sha256sum | cut -d' ' -f1)"
  expect 73 vblk write --yes "$readonly" /t/blocks
}

prove() {
  local n
  for n in 1 3 4 5; do
    equal "disk $n, read" "$(digest before.img)" "$(said "disk$n-before")"
    equal "disk $n, read after the writes" "$(digest after.img)" "$(said "disk$n-after")"
  done
  equal "disk 2, read" "$(digest before.img)" "$(said disk2-before)"
  same_image blocks4k.img after.img
  same_image short.img after.img
  same_image plain.img after.img
  same_image disk.img after.img
  same_image readonly.img before.img
  contains "block         4096 bytes"
  contains "serial        VBLK-4K"
  contains "serial        12345678901234567890"
  contains "read-only     yes"
  contains "segments      126 a request"
  contains "sizes 64"
}
