#!/usr/bin/env bash
# Writes the documentation of each library product as a static site: OUTPUT/TARGET. A link that leads
# nowhere is an error.
set -euo pipefail
output=$(realpath -m "${1:?usage: Docs/build.sh OUTPUT}")
cd "$(dirname "$0")"

for target in VBlk VBlkDriver VBlkEmu; do
  mkdir -p "$output/$target"
  swift package --allow-writing-to-directory "$output/$target" generate-documentation \
    --target "$target" --transform-for-static-hosting --hosting-base-path "vblk/$target" \
    --output-path "$output/$target" --warnings-as-errors </dev/null
done
echo "docs: $output"
