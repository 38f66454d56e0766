# One disk under Linux's driver, ours, and Linux's again: a file system made and filled by Linux is read
# by vblk; vblk writes a whole file system, which Linux mounts, checks and reads.
prepare() {
  make_disk
  truncate -s 0 disk.img
  truncate -s 32M disk.img
  mkdir -p files/bin content
  payload content.bin 0 4194304 7
  cp files/content.bin content/theirs.bin
  PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F -d content files/ours.img 24M >/dev/null
  cp /sbin/mke2fs /sbin/e2fsck files/bin/
  "$here/libraries.sh" files/lib /sbin/mke2fs /sbin/e2fsck
  append="hugepages=64"
  intel_iommu
  image d1 disk.img
  virtio_disk d1 "$behind"
}

guest() {
  load_virtio
  load_vfio
  modprobe ext4
  address=$(disk)
  node=/dev/$(block_node "$address")
  /t/bin/mke2fs -q -F -t ext4 "$node"
  mount -t ext4 "$node" /mnt
  cp /t/content.bin /mnt/theirs.bin
  umount /mnt
  echo "linux-wrote $(sha256sum <"$node" | cut -d' ' -f1)"
  bind_to "$address" vfio-pci
  echo "vblk-read $(vblk read "pci:$address" - | sha256sum | cut -d' ' -f1)"
  vblk write --yes "pci:$address" /t/ours.img
  node=/dev/$(give_back "$address")
  expect 0 /t/bin/e2fsck -fn "$node"
  mount -t ext4 -o ro "$node" /mnt
  echo "content $(sha256sum </mnt/theirs.bin | cut -d' ' -f1)"
  umount /mnt
}

prove() {
  [ -n "$(said linux-wrote)" ] || wrong "Linux wrote nothing"
  equal "what vblk read of Linux's file system" "$(said linux-wrote)" "$(said vblk-read)"
  equal "the file in the file system that vblk wrote" "$(digest content/theirs.bin)" \
    "$(said content)"
  cmp -n 25165824 disk.img files/ours.img >>"$log" 2>&1 ||
    PATH=$PATH:/sbin:/usr/sbin e2fsck -fn disk.img >>"$log" || wrong "the image is not sound"
}
