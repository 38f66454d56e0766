#!/usr/bin/env bash
# Plants the bugs of *.mutants in a copy of the tree, all in one build, each behind a number that
# VBLK_MUTANT chooses when a test runs; the shipped sources stay as they are. Each must be killed by
# the suites that it names: a test fails, the process dies, or it does not end.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=$PWD/.build-mutants
tree=$scratch/tree
seconds=${MUTANT_SECONDS:-60}
suites='VBlkDriverTests|VBlkSimTests|DMAPoolTests'

mkdir -p "$tree" "$scratch/new"
rm -rf "${scratch:?}/new"
mkdir -p "$scratch/new"
git ls-files -z Sources Tests Package.swift Package.resolved docs |
  xargs -0 sh -c 'for file; do [ ! -e "$file" ] || printf "%s\0" "$file"; done' sh |
  tar --null -T - -cf - | tar -xf - -C "$scratch/new"
perl Tests/Mutants/plant.pl Tests/Mutants "$scratch/new" >"$scratch/list"
sed -i 's/  .treatAllWarnings(as: .error),//' "$scratch/new/Package.swift"
cat >>"$scratch/new/Sources/CHostIO/include/chio_process.h" <<'END'

#include <stdbool.h>
#include <stdlib.h>
static inline bool chio_planted(int number) {
  static int chosen = -1;
  if (chosen < 0) {
    const char *text = getenv("VBLK_MUTANT");
    chosen = text ? atoi(text) : 0;
  }
  return chosen == number;
}
END
# Only what has changed is copied, so that a second run builds little.
(cd "$scratch/new" && find . \( -type f -o -type l \) -print0) | while IFS= read -r -d '' file; do
  cmp -s "$scratch/new/$file" "$tree/$file" || {
    mkdir -p "$(dirname "$tree/$file")"
    cp -P "$scratch/new/$file" "$tree/$file"
  }
done
(cd "$tree" && find Sources Tests -type f -print0) | while IFS= read -r -d '' file; do
  [ -e "$scratch/new/$file" ] || rm "$tree/$file"
done
echo "mutants: building $(wc -l <"$scratch/list") planted bugs"
swift build --build-tests --package-path "$tree" --scratch-path "$scratch/build" >"$scratch/build.log" 2>&1 </dev/null || {
  grep -m 20 'error:' "$scratch/build.log" >&2 || tail -20 "$scratch/build.log" >&2
  exit 1
}

tests=$(echo "$scratch"/build/debug/*.xctest)
results=$scratch/results

# Runs the suites of a filter with a bug planted, and stops at the first issue: whoever has found
# one has killed it. The test process itself is run, so that none is left behind.
run() { # number, filter, seconds of processor time, log: fails where a test does
  local status=0 process watched=0
  # What spins is ended by the processor time it takes, so that a busy machine kills nothing; what
  # stands still, by the clock.
  (
    ulimit -t "$3"
    VBLK_MUTANT=$1 exec timeout --kill-after=5 $((5 * $3)) "$tests" \
      --testing-library swift-testing --filter "$2"
  ) >"$4" 2>&1 </dev/null &
  process=$!
  while kill -0 "$process" 2>/dev/null; do
    sleep 0.2
    if [ "$1" -gt 0 ] && grep -qE '✘.* Test .*recorded an issue' "$4"; then
      watched=1
      kill -KILL "$(ps -o pid= --ppid "$process" | tr -d ' ')" 2>/dev/null || true
      break
    fi
  done
  { wait "$process" || status=$?; } 2>/dev/null
  [ "$watched" -eq 0 ] || status=1
  return "$status"
}

judge() { # number, suites, name: a line of the table, and the file $results/number
  local number=$1 by=$2 name=$3 log=$scratch/run-$1.log status=0 killer= trap=
  run "$number" "($suites).*($by)" "$seconds" "$log" || status=$?
  case $status in
  0) ;;
  69) name="$name: no test is called $by" ;;
  124 | 137 | 152) killer="no end: $by" ;;
  *)
    killer=$(sed 's/\x1b\[[0-9;]*m//g' "$log" |
      grep -m1 -oE '✘ Test ("[^"]*"|[A-Za-z]+\()' | sed 's/^✘ Test //' || true)
    trap=$(grep -m1 -oE 'Fatal error: .*|Fatal access conflict' "$log" || true)
    [ -n "$killer" ] || killer="$by: ${trap:-died with $status}"
    ;;
  esac
  if [ -n "$killer" ]; then echo killed >"$results/$number"; else
    killer=SURVIVES
    echo "$name" >"$results/$number"
  fi
  rm -f "$log"
  printf '%4d  %-62s  %s\n' "$number" "${name:0:62}" "${killer:0:90}"
}

filters=$(cut -f2 "$scratch/list" | tr '|' '\n' | sort -u | paste -sd'|')
run 0 "($suites).*($filters)" 900 "$scratch/run.log" || {
  grep -m 10 '✘' "$scratch/run.log" >&2 || tail -5 "$scratch/run.log" >&2
  echo "mutants: the suites fail without any planted bug" >&2
  exit 1
}

rm -rf "$results"
mkdir -p "$results"
printf '%4s  %-62s  %s\n' no. 'planted bug' 'killed by'
while IFS=$'\t' read -r number by name; do
  [ -z "${ONLY:-}" ] || [[ " $ONLY " == *" $number "* ]] || continue
  while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-$(nproc)}" ]; do wait -n || true; done
  judge "$number" "$by" "$name" &
done <"$scratch/list"
wait
total=$(find "$results" -type f | wc -l)
killed=$(grep -lx killed -r "$results" | wc -l)
for result in $(find "$results" -type f -printf '%f\n' | sort -n); do
  grep -vx killed "$results/$result" | sed "s/^/mutants: survives: $result /" || true
done
echo "mutants: $killed of $total killed"
[ "$killed" -eq "$total" ] && [ "$total" -ge 1 ]
