#!/usr/bin/env bash
# The driver and the emulated device on two threads, beside a ring program in C that does the same
# requests without a driver around it: 4 KiB random reads, 32 in flight, nothing moved. Alternated
# in one run, often, for the machine's caches are now near and now far; prints all samples, the
# medians and their ratio. Fails below half of C.
set -euo pipefail
cd "$(dirname "$0")"
vblk=$1
pairs=${2:-15}
mkdir -p .build
gcc -O2 -Wall -Wextra -pthread -o .build/ring Floor/ring.c

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

ours=() floor=()
for _ in $(seq "$pairs"); do
  floor+=("$(.build/ring 32 1)")
  ours+=("$("$vblk" bench emu:256M,null,threaded --rw randread --bs 4k --iodepth 32 --runtime 1s \
    --json | sed 's/.*"iops":\([0-9]*\).*/\1/')")
done
echo "C ring, requests/s: ${floor[*]}"
echo "vblk,   requests/s: ${ours[*]}"
c=$(printf '%s\n' "${floor[@]}" | median)
v=$(printf '%s\n' "${ours[@]}" | median)
awk -v c="$c" -v v="$v" 'BEGIN {
  printf "threaded: C ring %.1f M/s, vblk %.1f M/s, ratio %.2f\n", c / 1e6, v / 1e6, v / c
  exit !(v / c >= 0.5) }'
