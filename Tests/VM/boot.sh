#!/usr/bin/env bash
# boot.sh SCRIPT [QEMU ARGUMENT...]: boots a guest under TCG, runs SCRIPT in it, exits as it did.
#
# Status: SCRIPT's (0-126); 124 time limit; 125 the guest never reported.
#   VM_FILES    cpio archives that go into the guest after base.cpio (paths begin with t/)
#   VM_FOLDER   a folder whose content goes to the guest's /t
#   VM_APPEND   the kernel's command line, e.g. "intel_iommu=on hugepages=64"
#   VM_LOG      the log, CACHE/logs/NAME.log unless given
#   VM_TIMEOUT  seconds, 240: a boot takes 3, and more than 30 on a busy machine
#   VM_CACHE, VM_SMP (2), VM_MEMORY (1024 MiB)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "${VM_CACHE:-$here/../../.build-vm}" && pwd)
[ -s "$cache/vmlinux" ] && [ -s "$cache/base.cpio" ] || {
  echo "boot.sh: run setup.sh first (cache: $cache)" >&2
  exit 69
}
script=$1
shift
name=$(basename "$script")
log=${VM_LOG:-$cache/logs/$name.log}
mkdir -p "$(dirname "$log")"

work=$(mktemp -d "$cache/boot.XXXXXX")
vm=
cleanup() {
  if [ -n "$vm" ]; then
    kill -KILL "$vm" 2>/dev/null || true
    wait "$vm" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# An initramfs may be several archives, one after another; later files win.
mkdir "$work/t"
[ -z "${VM_FOLDER:-}" ] || cp -a "$VM_FOLDER/." "$work/t/"
cp "$here/guest/lib.sh" "$work/t/lib.sh"
cp "$script" "$work/t/$name"
(cd "$work" && find t | cpio -o -H newc --quiet) >"$work/t.cpio"
# shellcheck disable=SC2086 # a list
cat "$cache/base.cpio" ${VM_FILES:-} "$work/t.cpio" >"$work/initrd"

# No KVM: nested machines often show one that doesn't work, and TCG is the same everywhere.
# no_timer_check: on a busy host no timer tick comes in time, and the kernel would panic over it.
# Under setpriv, so that nothing is left where this script is killed.
exec 3> >(sed -u 's/\r$//' | tee "$log")
tee=$!
setpriv --pdeathsig KILL timeout --foreground -s KILL "${VM_TIMEOUT:-240}" \
  setpriv --pdeathsig KILL qemu-system-x86_64 \
  -machine q35 -accel tcg,thread=multi -cpu max -smp "${VM_SMP:-2}" -m "${VM_MEMORY:-1024}" \
  -nodefaults -no-user-config -display none -no-reboot -serial stdio \
  -device isa-debug-exit,iobase=0xf4,iosize=0x4 \
  -kernel "$cache/vmlinux" -initrd "$work/initrd" \
  -append "console=ttyS0 panic=-1 quiet no_timer_check t=$name ${VM_APPEND:-}" \
  "$@" </dev/null >&3 2>&1 &
vm=$!
status=0
wait "$vm" || status=$?
vm=
exec 3>&-
wait "$tee" || true

# Both witnesses must agree: QEMU also exits with 1 ("the guest said 0") over a bad argument.
said=$(sed -n 's/^@@EXIT rc=\([0-9]*\)$/\1/p' "$log" | tail -1)
if [ -n "$said" ] && [ "$status" -eq $((said * 2 + 1)) ]; then exit "$said"; fi
if [ "$status" -eq 137 ]; then
  echo "boot.sh: $name: no end after ${VM_TIMEOUT:-240} s; the log is $log" >&2
  exit 124
fi
echo "boot.sh: $name: QEMU ended with $status, the guest said '${said:-nothing}'; log $log" >&2
exit 125
