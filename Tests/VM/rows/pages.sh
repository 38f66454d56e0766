# Huge pages: there are none, too few, or all on the other node. UIO says so and refuses where it can't
# work; VFIO works with small pages.
prepare() {
  prepare_exercise
  append="hugepages=0:0,1:0"
  qemu+=(-object memory-backend-ram,id=m0,size=512M -object memory-backend-ram,id=m1,size=512M
    -numa node,nodeid=0,cpus=0,memdev=m0 -numa node,nodeid=1,cpus=1,memdev=m1)
  intel_iommu
  image d1 disk.img
  virtio_disk d1 "$behind"
  cp before.img two.img
  image d2 two.img
  qemu+=(-device pxb-pcie,id=far,bus_nr=0x40,numa_node=1,bus=pcie.0
    -device pcie-root-port,id=rp9,bus=far,slot=9,chassis=9
    -device virtio-blk-pci,bus=rp9,drive=d2,disable-legacy=on)
}

guest() {
  load_virtio
  load_vfio
  load_uio
  near=$(disk 1) far=$(disk 2)
  bind_to "$near" vfio-pci
  bind_to "$far" uio_pci_generic
  pages() { echo "$2" >"/sys/devices/system/node/node$1/hugepages/hugepages-2048kB/nr_hugepages"; }
  for count in 0 4; do
    pages 1 "$count"
    expect 69 vblk info "pci:$far" >/tmp/out 2>&1
    cat /tmp/out
    grep -q "nr_hugepages" /tmp/out || fail "no remedy"
    echo "refused with $count"
  done
  pages 1 0
  exercise "pci:$near"
  pages 0 64
  vblk info "pci:$far" | sed 's/^/far: /'
  echo "far-read $(vblk read "pci:$far" - | sha256sum | cut -d' ' -f1)"
}

prove() {
  contains "refused with 0"
  contains "refused with 4"
  prove_exercise
  contains "in pages of 4 KiB"
  contains "far: DMA memory    32 MiB in pages of 2 MiB, NUMA node 0"
  equal "what was read through pages of the other node" "$(digest before.img)" "$(said far-read)"
}
