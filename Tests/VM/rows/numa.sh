# Two memory nodes, the disk near node 1: every arena is there by the kernel's word. /proc/PID/numa_maps
# says on which node the pages of each mapping are.
prepare() {
  prepare_exercise
  append="hugepages=0:8,1:64"
  memory=1024
  qemu+=(-object memory-backend-ram,id=m0,size=512M -object memory-backend-ram,id=m1,size=512M
    -numa node,nodeid=0,cpus=0,memdev=m0 -numa node,nodeid=1,cpus=1,memdev=m1
    -numa dist,src=0,dst=1,val=21
    -device pxb-pcie,id=far,bus_nr=0x40,numa_node=1,bus=pcie.0
    -device pcie-root-port,id=rp9,bus=far,slot=9,chassis=9
    -device virtio-blk-pci,bus=rp9,drive=d1,disable-legacy=on)
  image d1 disk.img
}

guest() {
  address=$(disk)
  echo "device-node $(cat "$pci/devices/$address/numa_node")"
  vblk info "pci:$address" --json >/tmp/info
  vblk bench "pci:$address" --rw randread --runtime 20s >/tmp/bench 2>&1 &
  both() { [ "$(grep -c vblk-dma "/proc/$!/numa_maps")" -ge 2 ]; }
  until_true both
  grep vblk-dma /proc/$!/numa_maps | sed 's/^/map /'
  echo "arenas $(grep -c vblk-dma /proc/$!/numa_maps)"
  echo "elsewhere $(grep vblk-dma /proc/$!/numa_maps | grep -vc ' N1=' || true)"
  echo "near $(grep vblk-dma /proc/$!/numa_maps | grep -c ' N0=' || true)"
  kill $!
  wait $! || true
  exercise "pci:$address"
}

prove() {
  equal "the device's node" 1 "$(said device-node)"
  equal "arenas not on node 1" 0 "$(said elsewhere)"
  equal "arenas with pages on node 0" 0 "$(said near)"
  [ "$(said arenas)" -ge 2 ] || wrong "only $(said arenas) arenas were mapped"
  prove_exercise
}
