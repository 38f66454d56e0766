# Without an IOMMU, each broken set-up in turn: no IOMMU, no huge pages, not root, killed, a failed
# bind, a legacy device, one processor, no module. What doctor finds, bind refuses, and the remedy.
smp=1

prepare() {
  make_disk
  cp disk.img before.img
  append="hugepages=0"
  image d1 disk.img
  virtio_disk d1
  cp before.img old.img
  image d2 old.img
  ports=$((ports + 1))
  qemu+=(-device "pcie-root-port,id=rp$ports,slot=$ports,chassis=$ports"
    -device pcie-pci-bridge,id=old,bus="rp$ports"
    -device virtio-blk-pci,bus=old,addr=1,drive=d2,disable-modern=on,disable-legacy=off)
}

guest() {
  load_virtio
  address=$(disk 1) legacy=$(disk 2)
  modules=/lib/modules/$(uname -r)
  untouched() { [ "$(driver_of "$address")" = virtio-pci ] || fail "a refused bind changed the driver"; }

  echo "== no IOMMU"
  examine 2 vblk doctor "$address"
  finding fail D01 "$address has no IOMMU group" "-device intel-iommu,intremap=on"
  finding warn D18 "may use 1 processor" "taskset"
  refused 69 "(D01).*intel_iommu=on.*--driver uio_pci_generic" vblk bind "$address"
  refused 69 "no no-IOMMU mode.*--driver uio_pci_generic" vblk bind --no-iommu "$address"
  untouched

  echo "== a legacy device"
  examine 2 vblk doctor "$legacy"
  finding fail D14 "legacy virtio device" "disable-legacy=on,disable-modern=off"
  refused 69 "(D14)" vblk bind --driver uio_pci_generic "$legacy"

  echo "== a back end that isn't there"
  examine 2 vblk doctor vhost-user:/run/none.sock
  finding fail D19 "there is no /run/none.sock" "start the back end"

  echo "== UIO without huge pages"
  vblk bind --driver uio_pci_generic "$address"
  examine 2 vblk doctor "$address"
  finding warn D01 "no IOMMU, UIO: the device can write anywhere" "bind to vfio-pci"
  finding fail D08 "0 of 0 free 2 MiB pages" "sysctl vm.nr_hugepages="
  finding ok D09 "physical addresses can be read"
  refused 69 "nr_hugepages" vblk info "pci:$address"
  remedy=$(sed -n 's/.*-> .*\(vm.nr_hugepages=[0-9]*\).*/\1/p' /tmp/report | head -1)
  sysctl -w "$remedy"
  examine 0 vblk doctor "$address"
  finding ok D08 "free 2 MiB pages"
  vblk info "pci:$address" >/dev/null

  echo "== UIO as a user who is not root"
  examine 2 vm-guest as 1000 100000000 vblk doctor "$address"
  finding fail D05 "UIO needs root" "sudo"
  finding fail D09 "page frame numbers read 0 without CAP_SYS_ADMIN" "run as root"
  refused 77 "run as root" vm-guest as 1000 100000000 vblk info "pci:$address"

  echo "== killed"
  vblk bench "pci:$address" --rw randread --runtime 600s >/dev/null 2>&1 &
  killed=$!
  master() { [ $((0x$(dd if="$pci/devices/$address/config" bs=1 skip=4 count=1 2>/dev/null |
    hexdump -e '"%x"') & 4)) = "$1" ]; }
  until_true master 4
  kill -KILL $killed
  wait $killed || true
  until_true master 0
  echo "the kernel turned DMA off"
  examine 0 vblk doctor "$address"
  finding warn D17 "process $killed was killed while it had $address" "vblk bind $address"
  vblk bind --driver uio_pci_generic "$address" >/tmp/out 2>&1
  cat /tmp/out
  grep -q "stopped and reset" /tmp/out || fail "bind did not say that it took over"
  examine 0 vblk doctor "$address"
  finding ok D17 "nothing left behind"
  vblk unbind "$address"
  untouched

  echo "== a bind that failed"
  echo vfio-pci >"$pci/devices/$address/driver_override"
  examine 2 vblk doctor "$address"
  finding fail D13 "driver_override says vfio-pci, and the driver is virtio-pci" "dmesg"
  vblk unbind "$address"
  examine 2 vblk doctor "$address"
  finding ok D13 "no bind has failed"

  echo "== no module"
  for module in vfio_pci vfio_pci_core vfio_iommu_type1 vfio_virqfd vfio uio_pci_generic uio; do
    rmmod $module 2>/dev/null || true
  done
  mv "$modules" /tmp/modules
  examine 2 vblk doctor "$address"
  finding fail D12 "has no vfio-pci and no uio_pci_generic" "apt install linux-image-amd64"
  refused 69 "has no vfio-pci.*(D12).*apt install linux-image-amd64" vblk bind "$address"
  refused 69 "has no uio_pci_generic.*(D12).*apt install" \
    vblk bind --driver uio_pci_generic "$address"
  untouched
  mv /tmp/modules "$modules"
  vblk bind --driver uio_pci_generic "$address"
  vblk info "pci:$address" >/dev/null
  vblk unbind "$address"
  echo "linux-read $(sha256sum <"/dev/$(block_node "$address")" | cut -d' ' -f1)"
  echo "end reached"
}

prove() {
  contains "end reached"
  equal "what Linux read at the end" "$(digest before.img)" "$(said linux-read)"
  same_image disk.img before.img
  same_image old.img before.img
}
