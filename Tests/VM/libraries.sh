#!/usr/bin/env bash
# libraries.sh FOLDER ELF...: copies the shared libraries that the files need, and the loader.
set -euo pipefail
folder=$1
shift
mkdir -p "$folder"
for elf in "$@"; do
  needed=$(ldd "$elf" 2>/dev/null) || continue # a static program needs none
  if grep -q 'not found' <<<"$needed"; then
    echo "libraries.sh: $elf: $(grep 'not found' <<<"$needed")" >&2
    exit 1
  fi
  awk '/=> \// { print $3 } /^\t\/.*ld-linux/ { print $1 }' <<<"$needed" | while read -r file; do
    cp -Lu "$file" "$folder/"
  done
done
