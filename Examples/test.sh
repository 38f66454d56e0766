#!/usr/bin/env bash
# Builds and runs each example; one that fails, or says nothing, fails.
set -euo pipefail
cd "$(dirname "$0")"
built=$(swift build --scratch-path .build 2>&1 </dev/null) || { echo "$built" >&2; exit 1; }
bin=$(swift build --scratch-path .build --show-bin-path)
ran=0
for example in ReadSector WriteAndFlush KeepFull OwnPages DriverLibrary; do
  lines=$(wc -l <"Sources/$example/main.swift")
  [ "$lines" -lt 60 ] || { echo "examples: $example has $lines lines, 60 or more" >&2; exit 1; }
  said=$(timeout 60 "$bin/$example")
  [ -n "$said" ] || { echo "examples: $example said nothing" >&2; exit 1; }
  printf '%s: %s\n' "$example" "${said//$'\n'/; }"
  ran=$((ran + 1))
done
echo "examples: $ran built and run"
