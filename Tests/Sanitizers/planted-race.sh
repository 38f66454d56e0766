#!/usr/bin/env bash
# Proves that the thread sanitizer would see a race in a port's rings: runs, in the scratch path given,
# the test that reads a completion without order Q, and fails unless the sanitizer reports it.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=$1
log=$(mktemp)
trap 'rm -f "$log"' EXIT

VBLK_PLANTED_RACE=1 timeout 300 swift test --disable-xctest --scratch-path "$scratch" -c release \
  --sanitize=thread -Xcc -fsanitize=thread --skip-build --filter PlantedRaceTests \
  </dev/null >"$log" 2>&1 && status=0 || status=$?
if [ "$status" -eq 0 ] || ! grep -q 'ThreadSanitizer: data race' "$log"; then
  tail -20 "$log" >&2
  echo "planted race: the thread sanitizer has not seen it (exit $status)" >&2
  exit 1
fi
echo "planted race: seen"
