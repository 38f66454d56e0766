#!/usr/bin/env bash
# initramfs.sh CACHE: CACHE/base.cpio = busybox, the modules that a virtio-blk test needs, and
# guest/init.sh as /init. Not compressed: the guest would unpack slower than it reads.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$1" && pwd)
version=$(ls "$cache/kernel/lib/modules")
modules=(virtio_pci virtio_blk vfio-pci vfio_iommu_type1 uio_pci_generic ext4 crc32c_generic)
# Only later kernels have it as a module; 6.1 of Debian has none.
[ -z "$(find "$cache/kernel/lib/modules" -name 'virtio-iommu.ko*')" ] || modules+=(virtio-iommu)

root=$(mktemp -d "$cache/root.XXXXXX")
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,run,mnt,t,etc,lib64,tmp,"lib/modules/$version"}
ln -s bin "$root/sbin"
cp /bin/busybox "$root/bin/busybox"
for applet in $(/bin/busybox --list); do
  [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done

# Built-in modules are named too, without a file. One flat folder is enough for modprobe, and
# busybox can't read .xz.
for module in "${modules[@]}"; do
  modprobe -d "$cache/kernel" -S "$version" --show-depends "$module" |
    awk '$1 == "insmod" { print $2 }'
done | sort -u | while read -r file; do
  name=$(basename "$file")
  case $name in
    *.xz) xz -dc "$file" >"$root/lib/modules/$version/${name%.xz}" ;;
    *) cp "$file" "$root/lib/modules/$version/$name" ;;
  esac
done
cp "$cache/kernel/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} \
  "$root/lib/modules/$version/"
depmod -b "$root" "$version"

# Programs name this loader by its absolute path; libraries.sh puts it and their libraries there.
ln -s /t/lib/ld-linux-x86-64.so.2 "$root/lib64/ld-linux-x86-64.so.2"
install -m 755 "$here/guest/init.sh" "$root/init"
(cd "$root" && find . -mindepth 1 | cpio -o -H newc --quiet) >"$cache/base.cpio.part"
mv "$cache/base.cpio.part" "$cache/base.cpio"
