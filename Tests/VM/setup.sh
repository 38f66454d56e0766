#!/usr/bin/env bash
# setup.sh: from a Debian 12 with Swift to all that boot.sh needs, in the cache. Idempotent.
#
#   VM_CACHE   the cache, .build-vm at the root of the tree unless given (about 600 MB)
#   VM_KERNEL  Debian's kernel package, what linux-image-amd64 stands for unless given
#
# The kernel package is downloaded and unpacked, never installed: the host's boot stays as it is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${VM_CACHE:-$here/../../.build-vm}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

"$here/../../.ci/deps" qemu-system-x86 busybox-static cpio kmod xz-utils zstd e2fsprogs python3

# Linux's boot protocol says where in vmlinuz the packed kernel is; its last four bytes are a size
# that unpackers would call garbage. QEMU boots the plain ELF file (PVH) and so saves the 4 s that
# the guest would unpack itself.
unpack_kernel() { # vmlinuz vmlinux
  python3 - "$1" "$2.part" <<'PY'
import struct, subprocess, sys
image = open(sys.argv[1], "rb").read()
setup_sectors = image[0x1F1] or 4
offset, length = struct.unpack_from("<II", image, 0x248)
start = (setup_sectors + 1) * 512 + offset
payload = image[start : start + length - 4]
tool = {b"\xfd7zX": "xz", b"(\xb5/\xfd": "zstd"}[payload[:4]]
elf = subprocess.run([tool, "-dc"], input=payload, stdout=subprocess.PIPE, check=True).stdout
assert elf[:4] == b"\x7fELF", "the packed kernel is not an ELF file"
open(sys.argv[2], "wb").write(elf)
PY
  mv "$2.part" "$2"
}

if [ ! -s "$cache/vmlinux" ]; then
  if ! apt-cache show linux-image-amd64 >/dev/null 2>&1; then
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
  fi
  kernel=${VM_KERNEL:-$(apt-cache depends linux-image-amd64 |
    awk '/Depends: linux-image-/ { print $2; exit }')}
  [ -n "$kernel" ] || { echo "setup.sh: no kernel package known: run apt-get update" >&2; exit 69; }
  mkdir -p "$cache/deb"
  ls "$cache/deb/${kernel}"_*.deb >/dev/null 2>&1 ||
    (cd "$cache/deb" && apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download "$kernel")
  rm -rf "$cache/kernel"
  dpkg -x "$cache/deb/${kernel}"_*.deb "$cache/kernel"
  version=$(ls "$cache/kernel/lib/modules")
  depmod -b "$cache/kernel" "$version"
  unpack_kernel "$cache/kernel/boot/vmlinuz-$version" "$cache/vmlinux"
  rm -f "$cache/base.cpio"
fi
# The archive is made again when what goes into it has changed.
if [ ! -s "$cache/base.cpio" ] || [ "$here/guest/init.sh" -nt "$cache/base.cpio" ] ||
  [ "$here/initramfs.sh" -nt "$cache/base.cpio" ]; then
  "$here/initramfs.sh" "$cache"
fi
echo "ready: Linux $(ls "$cache/kernel/lib/modules") in $cache"
