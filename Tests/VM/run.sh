#!/usr/bin/env bash
# run.sh [--gate | --list] [ROW...]: boots a guest for each row of rows/list, proves what it did from
# the host's side, and prints row, result, seconds. A boot that times out says so and is retried once.
#
#   VM_VBLK    the command to test, build/vblk unless given
#   VM_GUEST   the program of Tests/VM/Guest, built here unless given
#   VM_CACHE   the cache, .build-vm unless given
#   VM_LOGS    where each row's log goes, build/vm/logs unless given: the guest's console, QMP, proofs
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
export VM_CACHE=${VM_CACHE:-$root/.build-vm}
vblk=$(realpath "${VM_VBLK:-$root/build/vblk}")

chosen=()
only_gate=
for argument in "$@"; do
  case $argument in
    --gate) only_gate=yes ;;
    --list)
      cat "$here/rows/list"
      exit 0
      ;;
    -*)
      echo "run.sh: $argument: known are --gate and --list" >&2
      exit 64
      ;;
    *) chosen+=("$argument") ;;
  esac
done

# The rows to run, in the order of the list.
names=() titles=()
while read -r mark name title; do
  case $mark in '' | '#'*) continue ;; esac
  [ -z "$only_gate" ] || [ "$mark" = '*' ] || continue
  if [ ${#chosen[@]} -gt 0 ]; then
    case " ${chosen[*]} " in *" $name "*) ;; *) continue ;; esac
  fi
  names+=("$name")
  titles+=("$title")
done <"$here/rows/list"
[ ${#names[@]} -gt 0 ] || { echo "run.sh: no such row: ${chosen[*]}" >&2; exit 64; }

"$here/setup.sh"
cache=$(cd "$VM_CACHE" && pwd)
logs=${VM_LOGS:-$root/build/vm/logs}
mkdir -p "$logs"
logs=$(cd "$logs" && pwd)

# The guest's program, built where a row that is to run calls it.
guest_program() {
  local name
  for name in "${names[@]}"; do
    grep -q vm-guest "$here/rows/$name.sh" || continue
    [ -z "${VM_GUEST:-}" ] || { realpath "$VM_GUEST"; return; }
    local build=(swift build -q -c release --static-swift-stdlib --package-path "$here/Guest"
      --scratch-path "$cache/swift")
    "${build[@]}" >&2
    echo "$("${build[@]}" --show-bin-path)/VMGuest"
    return
  done
}

# One archive with the programs and their libraries, for all rows.
pack() {
  local folder guest
  folder=$(mktemp -d "$cache/pack.XXXXXX")
  mkdir -p "$folder/t/bin" "$folder/t/lib"
  strip -s -o "$folder/t/bin/vblk" "$vblk"
  local programs=("$vblk")
  guest=$(guest_program)
  if [ -n "$guest" ]; then
    strip -s -o "$folder/t/bin/vm-guest" "$guest"
    programs+=("$guest")
  fi
  "$here/libraries.sh" "$folder/t/lib" "${programs[@]}"
  (cd "$folder" && find t | cpio -o -H newc --quiet) >"$cache/programs.cpio"
  rm -rf "$folder"
}
pack

# A row: variables and functions of its own, in a shell of its own and an empty folder.
row() { # NAME
  local name=$1 folder attempt status
  log=$logs/$name.log
  folder=$cache/row.$name
  . "$here/host.sh"
  . "$here/rows/$name.sh"
  mkdir -p "$folder/files"
  cd "$folder"
  if declare -F needs >/dev/null; then needs; fi
  for attempt in 1 2; do
    rm -rf "${folder:?}"/*
    mkdir files
    qemu=() append='' ports=0
    prepare
    { echo '. /t/lib.sh'; echo 'set -e'; declare -f guest; echo guest; } >"$name"
    status=0
    VM_CACHE=${boot_cache:-$cache} VM_FILES=$cache/programs.cpio VM_FOLDER=files VM_APPEND=$append VM_LOG=$log \
      VM_SMP=${smp:-2} VM_MEMORY=${memory:-1024} VM_TIMEOUT=${timeout:-240} \
      "$here/qmp.py" "$folder/qmp" "$here/boot.sh" "$name" "${qemu[@]}" \
      -qmp "unix:$folder/qmp,server=on,wait=off" >"$folder/output" 2>&1 || status=$?
    cp "$folder/output" "$log"
    [ "$status" -eq 124 ] || break
    [ "$attempt" -eq 2 ] ||
      echo "  $name: the boot timed out after ${timeout:-240} s; trying once more"
  done
  if [ "$status" -ne 0 ]; then
    echo "  $name: the guest ended with $status"
    return 1
  fi
  prove # under set -e: each line of it counts
  rm -rf "$folder"
}

passed=0 failed=() skipped=0 start=$SECONDS
for index in "${!names[@]}"; do
  name=${names[index]}
  began=$SECONDS
  result=pass
  # set -e holds inside: the row runs in a shell of its own that nothing tests.
  set +e
  (
    set -e
    row "$name"
  ) </dev/null
  status=$?
  set -e
  case $status in
    0) passed=$((passed + 1)) ;;
    77)
      result=skip
      skipped=$((skipped + 1))
      ;;
    *)
      result=FAIL
      failed+=("$name")
      echo "  the last lines of $logs/$name.log:"
      tail -25 "$logs/$name.log" | sed 's/^/  | /'
      ;;
  esac
  printf '%-22s %-5s %4d s  %s\n' "$name" "$result" $((SECONDS - began)) "${titles[index]}"
done

echo "logs: $logs"
echo "test-vm: $passed passed, ${#failed[@]} failed, $skipped skipped, $((SECONDS - start)) s"
[ ${#failed[@]} -eq 0 ] || exit 1
