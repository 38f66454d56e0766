# No program of ours: if this fails, the harness is broken. Linux's driver reads the whole disk, writes
# one piece and flushes; the host computes the digest before and compares the image after.
prepare() {
  make_disk
  cp disk.img before.img
  payload piece 1048576 65536
  cp disk.img after.img
  splice after.img piece 1048576
  image d1 disk.img
  virtio_disk d1
}

guest() {
  load_virtio
  node=/dev/$(block_node "$(disk)")
  echo "digest-before $(sha256sum <"$node" | cut -d' ' -f1)"
  dd if=/t/piece of="$node" bs=64k seek=16 conv=fsync
  echo 3 >/proc/sys/vm/drop_caches
  echo "digest-after $(sha256sum <"$node" | cut -d' ' -f1)"
}

prove() {
  equal "what the guest read" "$(digest before.img)" "$(said digest-before)"
  equal "what the guest read after its write" "$(digest after.img)" "$(said digest-after)"
  same_image disk.img after.img
}
