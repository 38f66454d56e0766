#!/usr/bin/env bash
# Plants the bugs of *.mutants in a copy of the tree, all in one build, each behind a number that
# VBLK_MUTANT chooses when a test runs; the shipped sources stay as they are. Each must be killed by
# the suites that it names: a test fails, the process dies, or it does not end in time.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=$PWD/.build-mutants
tree=$scratch/tree
seconds=${MUTANT_SECONDS:-120}
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

run() { # number, filter, seconds: the log's name; fails where a test does
  VBLK_MUTANT=$1 timeout --kill-after=5 "$3" swift test --skip-build --disable-xctest \
    --package-path "$tree" --scratch-path "$scratch/build" --filter "$2" \
    >"$scratch/run.log" 2>&1 </dev/null
}

filters=$(cut -f2 "$scratch/list" | tr '|' '\n' | sort -u | paste -sd'|')
run 0 "($suites).*($filters)" 900 || {
  grep -m 10 '✘' "$scratch/run.log" >&2
  echo "mutants: the suites fail without any planted bug" >&2
  exit 1
}

killed=0 total=0 survivors=()
printf '%4s  %-62s  %s\n' no. 'planted bug' 'killed by'
while IFS=$'\t' read -r number by name; do
  [ -z "${ONLY:-}" ] || [[ " $ONLY " == *" $number "* ]] || continue
  total=$((total + 1))
  status=0
  run "$number" "$by" "$seconds" || status=$?
  killer=
  case $status in
  0) ;;
  124 | 137) killer="no end within $seconds s: $by" ;;
  *)
    killer=$(grep -m1 -oE '✘ Test "[^"]*"|✘ Test [A-Za-z]+\(' "$scratch/run.log" |
      sed 's/^✘ Test //' || true)
    trap=$(grep -m1 -oE 'Fatal error: .*|Fatal access conflict' "$scratch/run.log" || true)
    [ -n "$killer" ] || killer="$by: ${trap:-died with $status}"
    ;;
  esac
  if [ -n "$killer" ]; then killed=$((killed + 1)); else
    killer='SURVIVES'
    survivors+=("$number $name")
  fi
  printf '%4d  %-62s  %s\n' "$number" "${name:0:62}" "${killer:0:90}"
done <"$scratch/list"
[ ${#survivors[@]} -eq 0 ] || printf 'mutants: survives: %s\n' "${survivors[@]}"
echo "mutants: $killed of $total killed"
[ ${#survivors[@]} -eq 0 ] && [ "$total" -ge 1 ]
