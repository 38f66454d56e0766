#!/usr/bin/env bash
# Shows VBlk at work: makes an ext4 image with real files in it, copies it from one emulated
# virtio-blk disk to another through the driver, proves the copy, and measures the driver.
set -euo pipefail
cd "$(dirname "$0")/.."

vblk=$(realpath "${1:-build/vblk}")
work=build/run
image_mib=96

step() { printf '\n== %s\n' "$*"; }
PATH=$PATH:/sbin:/usr/sbin # mkfs.ext4 and fsck.ext4 where only root has them in its path

rm -rf "$work"
mkdir -p "$work/files/generated"

step "an ext4 image of $image_mib MiB, with this tree's files and 32 MiB of random ones"
cp -r README.md LICENSE docs Sources Tests "$work/files/"
for number in $(seq 8); do
  head -c 4M /dev/urandom >"$work/files/generated/random-$number.bin"
done
truncate -s "${image_mib}M" "$work/a.img"
mkfs.ext4 -q -F -L vblk -d "$work/files" "$work/a.img"
ls -lh "$work/a.img"

step "vblk copy emu:$work/a.img emu:$work/b.img"
"$vblk" copy "emu:$work/a.img" "emu:$work/b.img"

step "the copy is the image, and a file system without a fault"
(cd "$work" && sha256sum a.img b.img)
cmp "$work/a.img" "$work/b.img"
fsck.ext4 -fn "$work/b.img"

step "vblk bench emu:256M,null --rw randread --bs 4k --iodepth 32 --runtime 3s"
"$vblk" bench emu:256M,null --rw randread --bs 4k --iodepth 32 --runtime 3s

step "done: sha256 equal, fsck clean"
rm -rf "$work"
