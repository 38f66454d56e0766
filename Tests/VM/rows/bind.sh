# The command alone takes a disk from Linux, drives it and gives it back: refused while it is mounted or
# swap or has a file system, then list, doctor, bind, info, bench, unbind. What bench counts is held
# against the device's own count (QMP).
prepare() {
  prepare_exercise
  append="hugepages=64"
  intel_iommu
  image d1 disk.img
  virtio_disk d1 "$behind"
  truncate -s 16M system.img
  PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F -L precious system.img
  image d2 system.img
  virtio_disk d2 "$behind"
}

guest() {
  load_virtio
  modprobe ext4
  address=$(disk 1) system=$(disk 2)
  node=/dev/$(block_node "$system")
  mount -t ext4 "$node" /mnt
  vblk list
  for flags in "" --force-data; do
    expect 73 vblk bind $flags "pci:$system" >/tmp/out 2>&1
    cat /tmp/out
    grep -q "/mnt" /tmp/out || fail "the mount point is not named"
  done
  umount /mnt
  expect 73 vblk bind "pci:$system" >/tmp/out 2>&1
  cat /tmp/out
  grep -q ext4 /tmp/out || fail "the file system is not named"
  [ "$(driver_of "$system")" = virtio-pci ] || fail "a refused bind changed the driver"
  vblk bind --force-data "pci:$system"
  vblk unbind "pci:$system"
  node=/dev/$(block_node "$system")
  mount -t ext4 -o ro "$node" /mnt
  umount /mnt
  mkswap "$node"
  swapon "$node"
  refused 73 "swap.*swapoff $node" vblk bind --force-data "pci:$system"
  swapoff "$node"

  # The lines of a dry run do in a shell what bind then does.
  vblk bind --dry-run "pci:$address" >/tmp/steps
  cat /tmp/steps
  [ "$(driver_of "$address")" = virtio-pci ] || fail "a dry run changed the driver"
  sh -e /tmp/steps
  [ "$(driver_of "$address")" = vfio-pci ] || fail "its lines bound to $(driver_of "$address")"
  vblk info "pci:$address" >/dev/null
  vblk unbind "pci:$address"
  block_node "$address"
  vblk bind "pci:$address"
  [ "$(driver_of "$address")" = vfio-pci ] || fail "bound to $(driver_of "$address")"
  vblk list
  vblk doctor "pci:$address" || echo "doctor ended with $?"
  exercise "pci:$address"
  qmp '{"execute":"query-blockstats","id":"before"}'
  vblk bench "pci:$address" --rw randread --runtime 3s --json >/tmp/bench
  cat /tmp/bench
  qmp '{"execute":"query-blockstats","id":"after"}'
  vblk unbind "pci:$address"
  node=/dev/$(block_node "$address")
  echo "linux-read $(sha256sum <"$node" | cut -d' ' -f1)"
}

prove() {
  prove_exercise
  equal "what Linux read after unbind" "$(digest after.img)" "$(said linux-read)"
  python3 - "$log" >>"$log" <<'PY' || wrong "bench and the device don't agree: see the log"
import json, re, sys
text = open(sys.argv[1], errors="replace").read()
bench = json.loads(re.search(r'^(\{"schema":"vblk.bench/1".*\})$', text, re.M).group(1))
read = bench["read"]
assert isinstance(read["iops"], (int, float)) and read["iops"] > 0, read["iops"]
counts = {}
for line in re.findall(r"^@@QMP< (\{.*\})$", text, re.M):
    reply = json.loads(line)
    for device in reply.get("return", []) if reply.get("id") else []:
        if device.get("qdev", "").find("vb1") >= 0:
            counts[reply["id"]] = device["stats"]["rd_operations"]
seen = counts["after"] - counts["before"]
print("bench says", read["total_ios"], "reads, the device", seen)
# QEMU may serve what bench no longer counts: the requests in flight when the time was over.
assert 0 <= seen - read["total_ios"] <= 64, (seen, read["total_ios"])
rate = read["total_ios"] / (bench["runtime_ns"] / 1e9)
assert abs(read["iops"] - rate) <= rate / 50, (read["iops"], rate)
PY
}
