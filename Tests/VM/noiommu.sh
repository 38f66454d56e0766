#!/usr/bin/env bash
# noiommu.sh CACHE: CACHE/vfio-noiommu.ko, the cached kernel's vfio.ko with CONFIG_VFIO_NOIOMMU, which
# Debian leaves off. Only this module looks at the option, so only it is built again, from the source of
# the very same version. Linux 6.1 only: later ones have other files there. Installs kernel headers.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$1" && pwd)
[ ! -s "$cache/vfio-noiommu.ko" ] || exit 0
version=$(ls "$cache/kernel/lib/modules")
case $version in 6.1.*) ;; *)
  echo "noiommu.sh: made for Linux 6.1, the cache has $version" >&2
  exit 77
  ;;
esac
package=$(basename "$cache"/deb/linux-image-"$version"_*.deb | cut -d_ -f2)

"$here/../../.ci/deps" "linux-headers-$version" make gcc
(cd "$cache/deb" && apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download "linux-source-6.1=$package")
build=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$build"' EXIT
# Through pipes: the whole source would be 1.3 GB on disk, and a few files are needed.
dpkg-deb --fsys-tarfile "$cache"/deb/linux-source-6.1_*.deb |
  tar -xO ./usr/src/linux-source-6.1.tar.xz | xz -dc |
  tar -C "$build" --strip-components=3 -x --wildcards 'linux-source-6.1/drivers/vfio/*.[ch]'
cat >"$build/Makefile" <<'MAKE'
ccflags-y += -DCONFIG_VFIO_NOIOMMU=1
obj-m += vfio.o
vfio-y := vfio_main.o iova_bitmap.o container.o
MAKE
make -s -C "/usr/src/linux-headers-$version" M="$build" modules >"$build/log" 2>&1 || {
  cat "$build/log" >&2
  exit 1
}
strip -g -o "$cache/vfio-noiommu.ko" "$build/vfio.ko"
