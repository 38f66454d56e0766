#!/usr/bin/env python3
"""pattern.py FILE [--size 16M] [--offset 0] [--seed 0]: bytes that follow from their offset.

The 8-byte little-endian word at offset o is splitmix64(o ^ (seed << 48)), so no two sectors of a
disk are alike, and a block at the wrong place shows. A whole disk has seed 0; what a row writes
has another one, so that old and new data differ at every offset. --offset makes what belongs there.
"""
import argparse
import array

MASK = (1 << 64) - 1


def word(seed: int, offset: int) -> int:
    z = ((offset ^ (seed << 48)) + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def pattern(seed: int, offset: int, length: int) -> bytes:
    """The bytes [offset, offset + length) of the disk with this seed."""
    start = offset & ~7
    words = array.array("Q", [word(seed, o) for o in range(start, offset + length, 8)])
    return words.tobytes()[offset - start : offset - start + length]


def size(text: str) -> int:
    """4096, 4k, 16M, 1G."""
    unit = {"k": 10, "m": 20, "g": 30}.get(text[-1].lower())
    return int(text, 0) if unit is None else int(text[:-1], 0) << unit


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--size", type=size, default="16M")
    parser.add_argument("--offset", type=size, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with open(given.file, "wb") as out:
        for done in range(0, given.size, 1 << 20):
            out.write(pattern(given.seed, given.offset + done, min(1 << 20, given.size - done)))
