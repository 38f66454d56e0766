# What the guest halves of the rows share. busybox sh.
pci=/sys/bus/pci

fail() {
  echo "guest: $*"
  exit 1
}

expect() { # STATUS COMMAND...: the command must end with that status
  want=$1
  shift
  got=0
  "$@" || got=$?
  [ "$got" = "$want" ] || fail "status $got, not $want: $*"
}

# The command must end with that status and say that, in one line.
refused() { # STATUS TEXT COMMAND...
  want=$1 text=$2
  shift 2
  expect "$want" "$@" >/tmp/refusal 2>&1
  cat /tmp/refusal
  grep -q -- "$text" /tmp/refusal || fail "no '$text': $*"
  [ "$(grep -c . /tmp/refusal)" = 1 ] || fail "more than a line: $*"
  echo "refused as it should be: $text"
}

# What `vblk doctor` says, in /tmp/report, and its status.
examine() { # STATUS COMMAND...
  expect "$@" >/tmp/report 2>&1
  cat /tmp/report
}

# A row of the report: how it came out, its id, its message and its remedy.
finding() { # STATUS ID TEXT [REMEDY]
  grep -A1 "^  $1 *$2  .*$3" /tmp/report >/tmp/finding || fail "doctor has no $1 $2 with '$3'"
  [ -z "${4:-}" ] || grep -q -- "-> .*$4" /tmp/finding || fail "$2: no remedy with '$4'"
  echo "found $2 $1"
}

# The bus address of the Nth virtio-blk function (the first unless given), modern or transitional,
# whatever driver it has. With a pcie-root-port a disk the order is that of the ports.
disk() {
  n=${1:-1}
  for d in "$pci"/devices/*; do
    [ "$(cat "$d/vendor")" = 0x1af4 ] || continue
    case $(cat "$d/device") in 0x1042 | 0x1001) ;; *) continue ;; esac
    n=$((n - 1))
    [ "$n" -gt 0 ] || {
      basename "$d"
      return 0
    }
  done
  return 1
}

driver_of() {
  if [ -e "$pci/devices/$1/driver" ]; then
    basename "$(readlink "$pci/devices/$1/driver")"
  else
    echo none
  fi
}

# The kernel's name for the disk: it appears after the probe, not with it.
block_node() {
  for _ in $(seq 50); do
    for b in "$pci/devices/$1"/virtio*/block/*; do
      [ -e "$b" ] && [ -b "/dev/$(basename "$b")" ] && {
        basename "$b"
        return 0
      }
    done
    usleep 200000
  done
  return 1
}

unbind() {
  [ "$(driver_of "$1")" = none ] || echo "$1" >"$pci/devices/$1/driver/unbind"
}

# The write to drivers_probe succeeds even where the driver refuses the function: look.
bind_to() { # ADDRESS DRIVER
  unbind "$1"
  echo "$2" >"$pci/devices/$1/driver_override"
  echo "$1" >"$pci/drivers_probe"
  [ "$(driver_of "$1")" = "$2" ] || {
    dmesg | tail -3
    fail "$1 is with $(driver_of "$1"), not with $2"
  }
}

give_back() { # ADDRESS: to the kernel's own driver; prints the block node
  unbind "$1"
  echo >"$pci/devices/$1/driver_override"
  echo "$1" >"$pci/drivers_probe"
  block_node "$1"
}

load_virtio() { modprobe virtio_pci && modprobe virtio_blk; }
load_vfio() { modprobe vfio-pci && modprobe vfio_iommu_type1; }
load_uio() { modprobe uio_pci_generic; }
# The stock vfio.ko has no such mode; noiommu.sh makes one that does.
load_noiommu() { insmod /t/vfio-noiommu.ko enable_unsafe_noiommu_mode=1 && modprobe vfio-pci; }

# Waits until COMMAND succeeds, for a minute at most.
until_true() {
  for _ in $(seq 300); do
    "$@" && return 0
    usleep 200000
  done
  fail "did not come true: $*"
}

qmp() { echo "@@QMP $*"; }

# The whole disk read, two pieces written (one in whole blocks, one at an odd place), flushed, and the
# whole disk read again, each by a process of its own: what the host half `prove_exercise` judges.
exercise() { # DEVICE
  vblk info -v "$1"
  echo "digest-before $(vblk read "$1" - | sha256sum | cut -d' ' -f1)"
  vblk write --yes "$1" /t/blocks --offset 1MiB
  vblk write --yes "$1" /t/odd --offset 5000001
  vblk flush "$1"
  echo "digest-after $(vblk read "$1" - | sha256sum | cut -d' ' -f1)"
}
