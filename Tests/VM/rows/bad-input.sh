# What must be refused, each with its status and its reason: no such function, another kind of device, a
# kernel driver's, a legacy one, an IOMMU that the device passes by, a group with another driver in it.
prepare() {
  make_disk
  cp disk.img before.img
  append="hugepages=64"
  intel_iommu
  local n
  for n in 1 2 3; do
    cp before.img "d$n.img"
    image "d$n" "d$n.img"
  done
  virtio_disk d1 "$behind"
  virtio_disk d2 # no iommu_platform
  ports=$((ports + 1))
  qemu+=(-device "pcie-root-port,id=rp$ports,slot=$ports,chassis=$ports"
    -device pcie-pci-bridge,id=old,bus="rp$ports"
    -device virtio-blk-pci,bus=old,addr=1,drive=d3,disable-modern=on,disable-legacy=off)
  image d4 disk.img
  local slot="virtio-blk-pci,bus=pcie.0,multifunction=on,disable-legacy=on,$behind"
  qemu+=(-blockdev driver=null-co,node-name=d5,size=1048576
    -device "$slot,addr=0x10.0,drive=d4" -device "$slot,addr=0x10.1,drive=d5")
}

guest() {
  load_virtio
  load_vfio
  load_uio
  grouped=$(disk 1) modern=$(disk 3) bypassing=$(disk 4)
  for d in "$pci"/devices/*; do
    case $(cat "$d/device") in 0x1001) legacy=$(basename "$d") ;; esac
  done
  refused 69 "no function" vblk info pci:0000:77:00.0
  refused 69 "not a virtio-blk function" vblk info pci:0000:00:00.0
  refused 75 "driven by virtio-pci as /dev/vd" vblk info "pci:$modern"
  unbind "$legacy"
  refused 69 "legacy" vblk info "pci:$legacy"
  bind_to "$bypassing" vfio-pci
  refused 69 "ACCESS_PLATFORM" vblk info "pci:$bypassing"
  bind_to "$grouped" vfio-pci
  refused 69 "not viable.*(virtio-pci)" vblk info "pci:$grouped"
  unbind "$modern"
  refused 69 "obeys an IOMMU" vblk info "pci:$modern"
  bind_to "$modern" vfio-pci
  vblk info "pci:$modern" >/dev/null
  echo "end reached"
}

prove() {
  contains "end reached"
  local n
  for n in 1 2 3; do same_image "d$n.img" before.img; done
  same_image disk.img before.img
}
