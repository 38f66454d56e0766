#!/usr/bin/env bash
# The driver and the emulated device on two threads, beside a ring program in C that does the same
# requests without a driver around it: 4 KiB random reads, 32 in flight, nothing moved. Alternated
# in one run, often: the machine's caches are now near and now far, for seconds at a time, so that a
# sample is compared with the one beside it. Prints all samples, the medians, and the ratio of the
# median pair. Fails below half of C.
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
ratios=($(paste <(printf '%s\n' "${ours[@]}") <(printf '%s\n' "${floor[@]}") |
  awk '{ printf "%.2f\n", $1 / $2 }'))
echo "ratio of each pair: ${ratios[*]}"
c=$(printf '%s\n' "${floor[@]}" | median)
v=$(printf '%s\n' "${ours[@]}" | median)
r=$(printf '%s\n' "${ratios[@]}" | median)
awk -v c="$c" -v v="$v" -v r="$r" 'BEGIN {
  printf "threaded: C ring %.1f M/s, vblk %.1f M/s, ratio of the median pair %.2f\n",
    c / 1e6, v / 1e6, r
  exit !(r >= 0.5) }'
