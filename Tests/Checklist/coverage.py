#!/usr/bin/env python3
"""Prints the lines reached per module, from llvm-cov's summary; fails below a module's floor. With
--files the files with lines that were not reached, too."""
import collections
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FLOORS = {"Virtio": 95, "DMAPool": 95, "VBlkDriver": 95}


def main():
    modules = collections.defaultdict(lambda: [0, 0])
    files = []
    for entry in json.load(open(sys.argv[1], encoding="utf-8"))["data"][0]["files"]:
        path = os.path.relpath(entry["filename"], ROOT)
        if not path.startswith("Sources/"):
            continue
        lines = entry["summary"]["lines"]
        module = path.split("/")[1]
        modules[module][0] += lines["count"]
        modules[module][1] += lines["covered"]
        files.append((lines["count"] - lines["covered"], path, lines["percent"]))
    print("| module | lines | reached | % | floor |\n|---|---|---|---|---|")
    low = []
    for module, (count, covered) in sorted(modules.items()):
        percent = 100 * covered / count
        floor = FLOORS.get(module, 0)
        if percent < floor:
            low.append(module)
        print(f"| {module} | {count} | {covered} | {percent:.1f} | {floor or '-'} |")
    if "--files" in sys.argv:
        for missed, path, percent in sorted(files, reverse=True)[:40]:
            if missed:
                print(f"{missed} lines not reached of {path} ({percent:.1f} %)")
    for module in low:
        print(f"coverage: {module} is below its floor", file=sys.stderr)
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
