#!/usr/bin/env python3
"""The figures of docs/PERFORMANCE.md: the library beside a ring in C, in one run, interleaved.

Usage: bench.py VBLK OUT [--quick] [TABLE ...]

Every sample of ours stands beside one of the floor's, taken right after it, and between two readings
of the round trip of a cache line. All samples go to OUT/bench.json; each table is printed, and drawn
as OUT/NAME.svg and OUT/NAME.png where matplotlib is there.
"""

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
FORMATS = {"split-direct": "indirect=off", "split-indirect": "", "packed-direct": "packed,indirect=off",
           "packed-indirect": "packed"}


class Bench:
    def __init__(self, vblk, out, quick):
        self.vblk, self.out = vblk, out
        self.seconds = 0.3 if quick else 1.0
        self.samples = 3 if quick else 5
        self.tables = []
        os.makedirs(out, exist_ok=True)
        self.floor_binary = self.compile("floor", "-fno-strict-aliasing")
        self.roundtrip_binary = self.compile("roundtrip")

    def compile(self, name, *flags):
        binary = os.path.join(self.out, name)
        run(["gcc", "-O2", *flags, "-pthread", "-o", binary, f"{HERE}/Floor/{name}.c"])
        return binary

    # -- one sample

    def ours(self, device, *options, seconds=None):
        """IOPS and median latency (ns) of `vblk bench`."""
        said = run([self.vblk, "bench", device, "--json", "--runtime",
                    f"{int((seconds or self.seconds) * 1000)}ms", *map(str, options)])
        report = json.loads(said)
        direction = report.get("read") or report["write"]
        return direction["iops"], direction["clat_ns"]["percentile"]["50.000000"]

    def floor(self, fmt, validated, mode, depth, *more):
        words = run([self.floor_binary, fmt, str(int(validated)), mode, str(depth),
                     str(self.seconds), *more]).split()
        return float(words[0]), float(words[1]) if len(words) > 1 else None

    def roundtrip(self):
        return float(run([self.roundtrip_binary]))

    def paired(self, **sides):
        """Samples of each side, taken in turn; and the round trips around them."""
        taken = {name: [] for name in sides}
        trips = [self.roundtrip()]
        for _ in range(self.samples):
            for name, sample in sides.items():
                taken[name].append(sample())
            trips.append(self.roundtrip())
        return taken, trips

    # -- tables

    def add(self, name, title, columns, rows, samples, x=None, log=True):
        """A table; `x` names the column that a plot goes along, or None for bars."""
        self.tables.append({"name": name, "title": title, "columns": columns, "rows": rows,
                            "samples": samples, "x": x, "log": log})
        print(f"\n{title}")
        widths = [max(len(str(c)), *(len(text(r[i])) for r in rows)) + 2
                  for i, c in enumerate(columns)]
        print("".join(str(c).rjust(w) for c, w in zip(columns, widths)))
        for row in rows:
            print("".join(text(v).rjust(w) for v, w in zip(row, widths)), flush=True)

    def in_process(self):
        rows, kept = [], {}
        for fmt, options in FORMATS.items():
            device = ",".join(filter(None, ["emu:256M,null", options]))
            taken, trips = self.paired(
                vblk=lambda: self.ours(device, "--iodepth", 32)[0],
                validated=lambda: self.floor(fmt, True, "inline", 32)[0],
                trusting=lambda: self.floor(fmt, False, "inline", 32)[0])
            kept[fmt] = {**taken, "roundtrip_ns": trips}
            ours, floor, trusting = (median(taken[k]) for k in ("vblk", "validated", "trusting"))
            rows.append([fmt, mega(ours), mega(floor), mega(trusting), round(ours / floor, 2)])
        self.add("in-process", "4 KiB random reads, batch 32, null store, one thread (M IOPS)",
                 ["format", "vblk", "C validated", "C trusting", "ratio"], rows, kept)
        return rows

    def threaded(self):
        rows, kept = [], {}
        for depth in (1, 32, 128):
            taken, trips = self.paired(
                vblk=lambda: self.ours("emu:256M,null,threaded", "--iodepth", depth),
                validated=lambda: self.floor("split-indirect", True, "threaded", depth))
            kept[depth] = {**taken, "roundtrip_ns": trips}
            ours = median(s[0] for s in taken["vblk"])
            floor = median(s[0] for s in taken["validated"])
            p50 = [median(s[1] for s in taken[k]) if taken[k][0][1] else None
                   for k in ("vblk", "validated")]
            ratio = round(p50[0] / p50[1], 2) if p50[1] else "-"
            rows.append([depth, mega(ours), mega(floor), round(ours / floor, 2), p50[0],
                         p50[1] or "-", ratio, round(median(trips), 1)])
        self.add("threaded", "Driver and device on two threads, split indirect, null store",
                 ["depth", "vblk M", "C M", "ratio", "p50 ns", "C p50 ns", "p50 ratio",
                  "line ns"], rows, kept)
        return rows

    def against(self, name, title, axis, values, sample):
        rows, kept = [], {}
        for value in values:
            iops = [sample(value)[0] for _ in range(self.samples)]
            kept[value] = iops
            rows.append([value, mega(median(iops)), round(1e9 / median(iops), 1)])
        self.add(name, title, [axis, "M IOPS", "ns an I/O"], rows, kept, x=axis)

    def depth(self):
        self.against(
            "depth", "Against depth: 4 KiB random reads, inline, null store", "depth",
            [2 ** n for n in range(11)],
            lambda d: self.ours("emu:256M,null,queue-size=1024", "--iodepth", d))

    def block_size(self):
        self.against(
            "block-size", "Against block size: random reads, depth 32, inline, null store", "bytes",
            [512 << n for n in range(12)],
            lambda b: self.ours("emu:1G,null", "--iodepth", 32, "--bs", b))

    def ring_size(self):
        self.against(
            "ring-size", "Against ring size: 4 KiB random reads, inline, null store", "entries",
            [16 << n for n in range(12)],
            lambda n: self.ours(f"emu:256M,null,queue-size={n}", "--iodepth", min(n, 32)))

    def queues(self):
        self.against(
            "queues", "Against queues, a thread each: 4 KiB random reads, null store", "queues",
            [1, 2, 4, 8, 16],
            lambda n: self.ours(f"emu:256M,null,queues={n}", "--iodepth", 32, "--numjobs", n,
                                "--queues", n))

    def copy(self):
        """`vblk copy` and `compare` of a full image beside dd and cmp, with the same block size."""
        mebibytes = 256 if self.samples == 3 else 1024
        rows, kept = [], {}
        with tempfile.TemporaryDirectory(dir=self.out) as scratch:
            a, b = f"{scratch}/a.img", f"{scratch}/b.img"
            run(["dd", "if=/dev/urandom", f"of={a}", "bs=1M", f"count={mebibytes}", "status=none"])
            sides = {
                "vblk copy": [self.vblk, "copy", f"emu:{a}", f"emu:{b}"],
                "dd bs=1M": ["dd", f"if={a}", f"of={b}", "bs=1M", "status=none"],
                "qemu-img convert": ["qemu-img", "convert", "-O", "raw", a, b],
                "vblk compare": [self.vblk, "compare", f"emu:{a}", f"emu:{b}"],
                "cmp": ["cmp", a, b],
                "qemu-img compare": ["qemu-img", "compare", "-f", "raw", "-F", "raw", a, b],
            }
            for name, command in sides.items():
                if not run(["sh", "-c", f"command -v {command[0]} || true"]):
                    continue
                kept[name] = [self.seconds_of(command, b if "comp" not in name and name != "cmp"
                                              else None) for _ in range(self.samples)]
                rows.append([name, round(median(kept[name]), 3),
                             round(mebibytes / median(kept[name]))])
        self.add("copy", f"A full image of {mebibytes} MiB, warm", ["command", "seconds", "MiB/s"],
                 rows, kept)

    def seconds_of(self, command, target):
        if target and os.path.exists(target):
            os.remove(target)
        began = datetime.datetime.now()
        run(command)
        return (datetime.datetime.now() - began).total_seconds()

    # -- results

    def write(self):
        machine = {"processor": processor(), "cores": os.cpu_count(), "kernel": platform.release(),
                   "date": datetime.date.today().isoformat(), "command": " ".join(sys.argv)}
        with open(f"{self.out}/bench.json", "w") as file:
            json.dump({"machine": machine, "tables": self.tables}, file, indent=1)
        try:
            import matplotlib
        except ImportError:
            print("\nno plots: python3-matplotlib is not installed", file=sys.stderr)
            return
        matplotlib.use("Agg")
        for table in self.tables:
            draw(table, self.out)


def draw(table, out):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(figsize=(7, 4))
    rows, columns = table["rows"], table["columns"]
    if table["x"]:
        axes.plot([r[0] for r in rows], [r[1] for r in rows], marker="o")
        axes.set_xscale("log", base=2)
        axes.set_xlabel(columns[0])
        axes.set_ylabel(columns[1])
        axes.set_ylim(bottom=0)
    else:
        series = [i for i, c in enumerate(columns) if i and all(isinstance(r[i], (int, float))
                                                               for r in rows) and "ratio" not in c]
        series = [i for i in series if columns[i] not in ("p50 ns", "line ns", "seconds")] or series
        width = 0.8 / max(len(series), 1)
        for place, i in enumerate(series):
            axes.bar([n + place * width for n in range(len(rows))], [r[i] for r in rows], width,
                     label=columns[i])
        axes.set_xticks([n + 0.4 - width / 2 for n in range(len(rows))], [str(r[0]) for r in rows])
        axes.legend()
    axes.set_title(table["title"], fontsize=10)
    figure.tight_layout()
    for suffix in ("svg", "png"):
        figure.savefig(f"{out}/{table['name']}.{suffix}", dpi=120)
    plt.close(figure)


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({result.returncode}):\n{result.stderr}")
    return result.stdout


def processor():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")),
                    platform.machine())


def median(values):
    return statistics.median(values)


def mega(value):
    return round(value / 1e6, 2)


def text(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


TABLES = ["in-process", "threaded", "depth", "block-size", "ring-size", "queues", "copy"]


def main():
    words = [w for w in sys.argv[1:] if w != "--quick"]
    if len(words) < 2 or any(w not in TABLES for w in words[2:]):
        sys.exit(f"usage: bench.py VBLK OUT [--quick] [{' | '.join(TABLES)} ...]")
    bench = Bench(words[0], words[1], "--quick" in sys.argv)
    result = {}
    for name in words[2:] or TABLES:
        result[name] = getattr(bench, name.replace("-", "_"))()
    bench.write()
    if "in-process" in result and "threaded" in result:
        one = next(r for r in result["in-process"] if r[0] == "split-indirect")
        two = result["threaded"][0]
        print(f"\nin-process: one-thread {one[1]} M IOPS, ratio {one[4]}; "
              f"two-thread QD1 p50 ratio {two[6]}")


if __name__ == "__main__":
    main()
