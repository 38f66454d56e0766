#!/usr/bin/env bash
# Instructions of the driver per 4 KiB read: submit + kick + poll at batch 32, full validation and
# counters, counted by callgrind as a run of 2N batches less a run of N, so that start-up cancels.
# The device's work and the client's own share (a stub queue in the same loop) are taken off.
# Fails where a count is beyond its limit, or has moved by more than 3 % from what is recorded, in
# either direction; and where the runtime was called at all in the steady state.
set -euo pipefail
cd "$(dirname "$0")"
# The plan of an earlier build may not know of files that are new in the library.
rm -f .build/release.yaml
built=$(swift build -c release --product Probe --scratch-path .build 2>&1 </dev/null) ||
  { echo "$built" >&2; exit 1; }
probe=$(swift build -c release --scratch-path .build --show-bin-path)/Probe
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
batches=400
formats='split-direct split-indirect packed-direct packed-indirect'
depth=32

count() { # format, batches: leaves inclusive and self costs in $out
  valgrind --tool=callgrind --callgrind-out-file="$out/cg" "$probe" "$1" "$2" \
    >"$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
  callgrind_annotate --auto=no --inclusive=yes --threshold=100 "$out/cg" >"$out/$1.$2.inclusive"
  callgrind_annotate --auto=no --inclusive=no --threshold=100 "$out/cg" >"$out/$1.$2.self"
}

inclusive() { # format, batches, function: its largest inclusive cost, 0 if it was never called
  awk -v name="$3" '$0 ~ name { gsub(",", "", $1); if ($1 + 0 > most) most = $1 + 0 }
    END { printf "%d", most }' "$out/$1.$2.inclusive"
}

per_read() { # format, function: instructions a read
  local one two
  one=$(inclusive "$1" "$batches" "$2")
  two=$(inclusive "$1" $((2 * batches)) "$2")
  awk -v d=$((two - one)) -v n=$((batches * depth)) 'BEGIN { printf "%.1f", d / n }'
}

runtime_calls() { # format: runtime functions whose cost differs between the two runs
  for run in $batches $((2 * batches)); do
    awk '/:(swift_(retain|release|beginAccess|allocObject)|malloc)( |$)/ {
      gsub(",", "", $1); name = $0; sub(/^[^)]*\) */, "", name); print name, $1 }' \
      "$out/$1.$run.self" | sort >"$out/$run.calls"
  done
  diff "$out/$batches.calls" "$out/$((2 * batches)).calls" || true
}

for format in stub $formats; do
  count $format $batches
  count $format $((2 * batches))
done
client=$(awk -v s="$(per_read stub submitStub)" -v p="$(per_read stub pollStub)" \
  'BEGIN { printf "%.1f", s + p }')

status=0
printf '%-15s %8s %8s %8s %8s %8s %8s %8s\n' \
  format submit kick poll client driver limit recorded
line='instructions per 4 KiB read:'
for format in $formats; do
  submit=$(per_read $format submitBatch)
  kick=$(awk -v k="$(per_read $format kickBatch)" -v d="$(per_read $format 'DoorbellTarget.*write')" \
    'BEGIN { printf "%.1f", k - d }')
  poll=$(per_read $format pollBatch)
  total=$(awk -v s="$submit" -v k="$kick" -v p="$poll" -v c="$client" \
    'BEGIN { printf "%.1f", s + k + p - c }')
  read -r limit recorded < <(awk -v f=$format '$1 == f { print $2, $3 }' instruction-limits)
  printf '%-15s %8s %8s %8s %8s %8s %8s %8s\n' \
    $format "$submit" "$kick" "$poll" "$client" "$total" "$limit" "$recorded"
  line="$line $format $total"
  awk -v t="$total" -v l="$limit" 'BEGIN { exit !(t > l) }' && {
    echo "$format: $total instructions, more than the limit of $limit" >&2
    status=1
  }
  awk -v t="$total" -v r="$recorded" 'BEGIN { exit !(t > r * 1.03 || t < r * 0.97) }' && {
    echo "$format: $total instructions, $recorded recorded; record it with its reason" >&2
    status=1
  }
  calls=$(runtime_calls $format)
  [ -z "$calls" ] || {
    printf '%s: the runtime was called in the steady state:\n%s\n' $format "$calls" >&2
    status=1
  }
done
echo "$line"
exit $status
