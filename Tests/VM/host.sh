# What the host halves of the rows share: sourced by run.sh, in the row's own folder.

# A 16 MiB disk, every byte of which follows from its offset; what the guest must see is before.img.
make_disk() { # [NAME [SIZE]]
  local name=${1:-disk} size=${2:-16M}
  [ -s "$cache/pattern-$size.img" ] || {
    "$here/pattern.py" "$cache/pattern-$size.part" --size "$size"
    mv "$cache/pattern-$size.part" "$cache/pattern-$size.img"
  }
  cp "$cache/pattern-$size.img" "$name.img"
}

# Bytes of another seed for OFFSET, in the guest as /t/NAME.
payload() { # NAME OFFSET SIZE [SEED]
  mkdir -p files
  "$here/pattern.py" "files/$1" --offset "$2" --size "$3" --seed "${4:-1}"
}

# Puts the bytes of files/NAME at OFFSET of an image, as the guest is to do.
splice() { # IMAGE NAME OFFSET
  dd if="files/$2" of="$1" bs=64k seek="$3" oflag=seek_bytes conv=notrunc status=none
}

# A root port a disk: without one there is no working FLR, no hot-unplug, and no stable address.
ports=0
virtio_disk() { # BLOCKDEV-NODE [PROPERTY,...]
  ports=$((ports + 1))
  qemu+=(-device "pcie-root-port,id=rp$ports,slot=$ports,chassis=$ports"
    -device "virtio-blk-pci,bus=rp$ports,id=vb$ports,drive=$1,disable-legacy=on${2:+,$2}")
}

image() { # NODE FILE [PROPERTY,...]
  qemu+=(-blockdev "driver=file,filename=$2,node-name=$1,locking=off${3:+,$3}")
}

# The same, but 100 requests a second: a driver finds nothing done yet, and can sleep.
slow_image() { # NODE FILE
  image "$1-fast" "$2"
  qemu+=(-object "throttle-group,id=$1-group,x-iops-total=100"
    -blockdev "driver=throttle,node-name=$1,throttle-group=$1-group,file=$1-fast")
}

# Must come before the devices. 48 bits of address; the default of 39 would do too.
intel_iommu() {
  append="intel_iommu=on $append"
  qemu+=(-device intel-iommu,intremap=on,caching-mode=on,aw-bits=48,device-iotlb=on)
}

# What a disk behind the IOMMU needs: without it, virtio passes the IOMMU by.
behind=iommu_platform=on,ats=on

# What the guest printed as "KEY VALUE".
said() { sed -n "s/^$1 //p" "$log" | tail -1; }

digest() { sha256sum "$1" | cut -d' ' -f1; }

wrong() {
  echo "proof: $*" | tee -a "$log"
  return 1
}

equal() { # WHAT EXPECTED FOUND
  [ "$2" = "$3" ] || wrong "$1 is '$3', not '$2'"
}

same_image() { # FOUND EXPECTED
  cmp "$1" "$2" >>"$log" 2>&1 || wrong "$1 is not byte for byte $2: $(cmp "$1" "$2" 2>&1)"
}

contains() { # TEXT: in the log
  grep -qF -- "$1" "$log" || wrong "the log has no '$1'"
}

# What `exercise` in the guest wants: a disk, and two pieces to write on it.
prepare_exercise() {
  make_disk
  cp disk.img before.img
  payload blocks 1048576 3145728
  payload odd 5000001 100001 2
  cp disk.img after.img
  splice after.img blocks 1048576
  splice after.img odd 5000001
}

prove_exercise() {
  equal "what was read" "$(digest before.img)" "$(said digest-before)"
  equal "what was read after the writes" "$(digest after.img)" "$(said digest-after)"
  same_image disk.img after.img
}

# What `vm-guest fill ADDRESS SEED OFFSET LENGTH QUEUES` must have left where it was cut off: what was
# acknowledged and flushed is there, nothing outside the range has changed.
written() { # IMAGE BEFORE SEED OFFSET LENGTH QUEUES
  "$here/written.py" "$@" "$log" >>"$log" 2>&1 || wrong "$(tail -1 "$log")"
}
