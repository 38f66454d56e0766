# An error of the image at one sector reaches the command as an I/O error (74) and passes; a slow and a
# throttled disk are slow, and right.
prepare() {
  make_disk
  cp disk.img before.img
  append="hugepages=64"
  image f1 disk.img
  qemu+=(-blockdev '{"driver":"blkdebug","node-name":"d1","image":"f1","inject-error":[{"event":"none","iotype":"read","errno":5,"sector":16384,"once":true},{"event":"none","iotype":"write","errno":28,"sector":24576,"once":true}]}')
  virtio_disk d1 rerror=report,werror=report
  qemu+=(-blockdev '{"driver":"null-co","node-name":"d2","size":16777216,"latency-ns":50000000,"read-zeroes":true}')
  virtio_disk d2
  cp before.img slow.img
  image f3 slow.img
  qemu+=(-object throttle-group,id=group,x-bps-total=2097152
    -blockdev driver=throttle,node-name=d3,throttle-group=group,file=f3)
  virtio_disk d3
}

guest() {
  faulty=pci:$(disk 1)
  expect 74 vblk read "$faulty" /tmp/out --offset 8MiB --length 4KiB
  expect 0 vblk read "$faulty" /tmp/out --offset 8MiB --length 4KiB
  echo "passed $(sha256sum </tmp/out | cut -d' ' -f1)"
  dd if=/dev/zero of=/tmp/zeroes bs=4096 count=1
  expect 74 vblk write --yes "$faulty" /tmp/zeroes --offset 12MiB
  echo "whole $(vblk read "$faulty" - | sha256sum | cut -d' ' -f1)"
  vblk bench "pci:$(disk 2)" --iodepth 1 --runtime 3s --json >/tmp/bench
  echo "slow-iops $(sed -n 's/.*"iops": *\([0-9]*\).*/\1/p' /tmp/bench | head -1)"
  start=$(date +%s)
  echo "throttled $(vblk read "pci:$(disk 3)" - | sha256sum | cut -d' ' -f1)"
  echo "seconds $(($(date +%s) - start))"
}

prove() {
  local piece
  piece=$(dd if=before.img bs=4096 skip=2048 count=1 status=none | sha256sum | cut -d' ' -f1)
  equal "the block that failed once" "$piece" "$(said passed)"
  equal "the disk after a write that failed" "$(digest before.img)" "$(said whole)"
  same_image disk.img before.img
  [ "$(said slow-iops)" -ge 1 ] && [ "$(said slow-iops)" -le 20 ] ||
    wrong "50 ms a request, and $(said slow-iops) requests a second"
  equal "what the throttled disk gave" "$(digest before.img)" "$(said throttled)"
  [ "$(said seconds)" -ge 4 ] || wrong "16 MiB at 2 MiB/s took $(said seconds) s"
}
