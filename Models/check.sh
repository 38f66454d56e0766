#!/usr/bin/env bash
# Runs every case of Models/cases through spin, exhaustively: each clean case must have no error,
# each planted defect must be found. Fails too where a step's name is gone from model or code.
set -euo pipefail
cd "$(dirname "$0")"
sources=${SOURCES:-../Sources} # the code that is modelled
only=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "models: $*" >&2
  exit 1
}

# The names: a model's "steps:" lines, its inlines, and the code's functions are the same; what is
# the device's or the caller's own stands on an "own:" line.
names_of() { sed -n "s/^ \* $1: *//p" "$2.pml" | tr ' ' '\n' | sed '/^$/d'; }
check_names() {
  local model=$1 name
  for name in $(names_of steps "$model"); do
    grep -Eq "^(inline|proctype|active proctype) $name\(|^#define $name\b" "$model.pml" ||
      fail "$model.pml has no step $name any more"
    grep -rEq "(func|var) $name\b" --include='*.swift' $sources/VBlkDriver ||
      fail "the code has no step $name any more, which $model.pml models"
  done
  for name in $(sed -n 's/^inline \([A-Za-z]*\)(.*/\1/p' "$model.pml"); do
    names_of steps "$model" | grep -qx "$name" || names_of own "$model" | grep -qx "$name" ||
      fail "$model.pml: $name is neither on a steps: nor on an own: line"
  done
}

run_case() { # model, mode (safety, liveness), flags: sets states, seconds, found
  local model=$1 mode=$2 start
  shift 2
  local compile=("$optimize" -w -DCOLLAPSE -DVECTORSZ=2048) search=(-m1000000 -w24)
  case $mode in
  safety) compile+=(-DSAFETY) ;;
  liveness) compile+=(-DNFAIR=3) search+=(-a -f) ;;
  *) fail "mode $mode of $model is none" ;;
  esac
  # A model without properties of its own has no claim to turn off.
  if [ "$mode" = safety ] && grep -q '^ltl ' "$model.pml"; then search+=(-noclaim) compile+=(-DNOCLAIM); fi
  rm -rf "${work:?}"/*
  cp ./*.pml "$work"
  (
    cd "$work"
    spin -a "$@" "$model.pml" >spin.log 2>&1 </dev/null || { cat spin.log >&2; exit 1; }
    gcc "${compile[@]}" -o pan pan.c || exit 1
  ) || fail "$model $* does not compile"
  start=$(date +%s%N)
  (cd "$work" && timeout 600 ./pan "${search[@]}" >pan.log 2>&1 </dev/null) || true
  seconds=$(awk -v a="$start" -v b="$(date +%s%N)" 'BEGIN { printf "%.1f", (b - a) / 1e9 }')
  grep -q 'errors: ' "$work/pan.log" || { cat "$work/pan.log" >&2; fail "$model $*: no result"; }
  if grep -Eq 'max search depth too small|Search not completed' "$work/pan.log" &&
    ! grep -q '^pan:1:' "$work/pan.log"; then
    cat "$work/pan.log" >&2
    fail "$model $*: not exhaustive"
  fi
  states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$work/pan.log")
  found=$(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' "$work/pan.log" | head -1 | cut -c1-60)
}

named=
clean=0 defects=0 found_defects=0 missed=()
printf '%-9s %-32s %-9s %12s %7s  %s\n' model case mode states seconds result
while read -r model kind name mode flags; do
  case $model in '' | '#'*) continue ;; esac
  [ -z "$only" ] || [ "$only" = "$model" ] || continue
  case " $named " in *" $model "*) ;; *) check_names "$model" && named="$named $model" ;; esac
  read -ra flags <<<"$flags"
  [ "$kind" = clean ] || flags+=("-D$name")
  # A defect is found soon: there the compiler takes longer than the search.
  optimize=-O1
  [ "$kind" = clean ] || optimize=-O0
  run_case "$model" "$mode" ${flags[@]+"${flags[@]}"}
  case $kind in
  clean)
    result=clean
    if [ -z "$found" ]; then clean=$((clean + 1)); else
      result="ERROR: $found"
      missed+=("$model $name")
    fi
    ;;
  defect)
    defects=$((defects + 1))
    if [ -n "$found" ]; then
      found_defects=$((found_defects + 1))
      result="found: $found"
    else
      result="NOT FOUND"
      missed+=("$model $name")
    fi
    ;;
  *) fail "kind $kind is none" ;;
  esac
  printf '%-9s %-32s %-9s %12s %7s  %s\n' "$model" "$name" "$mode" "$states" "$seconds" "$result"
done < <(cat cases && { [ ! -e $sources/VBlkDriver/Polling/PortRings.swift ] || cat cases-threads; })
if [ ${#missed[@]} -gt 0 ]; then printf 'models: FAILED: %s\n' "${missed[@]}"; fi
echo "models: $clean clean, $found_defects of $defects defects found"
[ ${#missed[@]} -eq 0 ]
