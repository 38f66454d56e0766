#!/usr/bin/env python3
"""written.py IMAGE BEFORE SEED OFFSET LENGTH QUEUES LOG: what a load that was cut off may have left.

The load is vm-guest's fill: queue Q writes blocks Q, Q + QUEUES, ... of the range, and a line
"flushed Q N" in LOG says that its first N are durable. Those must hold the new data. The other sectors of
the range are old or new, each whole; everything outside the range is as it was in BEFORE.
"""
import re
import sys

from pattern import pattern, size

BLOCK, SECTOR = 4096, 512


def main() -> int:
    image, before = (open(path, "rb").read() for path in sys.argv[1:3])
    seed = int(sys.argv[3])
    offset, length = size(sys.argv[4]), size(sys.argv[5])
    queues = int(sys.argv[6])
    log = open(sys.argv[7], errors="replace").read()
    durable = {q: 0 for q in range(queues)}
    for queue, count in re.findall(r"^flushed (\d+) (\d+)$", log, re.M):
        durable[int(queue)] = max(durable[int(queue)], int(count))
    if not all(durable.values()):
        sys.exit(f"written.py: a queue has flushed nothing: {durable}")
    end = offset + length
    if image[:offset] != before[:offset] or image[end:] != before[end:]:
        sys.exit("written.py: something outside the range has changed")
    counts = {"durable": 0, "new": 0, "old": 0}
    for block in range(length // BLOCK):
        at = offset + block * BLOCK
        new = pattern(seed, at, BLOCK)
        is_durable = block // queues < durable[block % queues]
        for start in range(0, BLOCK, SECTOR):
            found = image[at + start : at + start + SECTOR]
            if found == new[start : start + SECTOR]:
                counts["durable" if is_durable else "new"] += 1
            elif found == before[at + start : at + start + SECTOR] and not is_durable:
                counts["old"] += 1
            else:
                kind = "durable" if is_durable else "neither old nor new"
                sys.exit(f"written.py: the sector at {at + start} is lost or torn ({kind})")
    print(f"sectors: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
