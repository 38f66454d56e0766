#!/usr/bin/env python3
"""Instructions of the driver per operation, by form of the API and ring format.

Each is counted by callgrind as a run of 2N rounds less a run of N, so that start-up cancels; full
validation and counters are on. Taken off: the device's work, and for batches the client's own share
(the same loop on a queue that does nothing). Beside them, a ring in C of the same shape.

Fails where a count is beyond its limit, or has moved by more than 3 % from what is recorded, in
either direction; and where the runtime was called at all in the steady state.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

FORMATS = ["split-direct", "split-indirect", "packed-direct", "packed-indirect"]
FORMS = ["read", "write", "next", "single", "sync", "empty-poll", "empty-next", "readv", "dio",
         "bounce"]
WORK = {"read": "workRead", "write": "workWrite", "next": "workNext", "single": "workSingle",
        "sync": "workSync", "empty-poll": "workEmptyPoll", "empty-next": "workEmptyNext",
        "readv": "workVectored", "dio": "workRead", "bounce": "workSingle", "stub": "5Probe4work"}
ROUNDS = {"single": 2000, "sync": 2000, "readv": 1000, "bounce": 1000, "empty-poll": 40,
          "empty-next": 40}
BATCHED = {"read", "write", "next"}
# Their requests take the device's general walker, which allocates: the two can't be told apart.
WALKED = {"readv", "bounce"}
# Instructions of the retains, or the releases, of one tick.
TICK_COST = 44
DEVICE = r"EmulatedFunctionC3PCI11PCIFunctionAadEP5write"
RUNTIME = re.compile(r":(swift_(?:retain|release|beginAccess|allocObject)|malloc)(?: |$)")
COST = re.compile(r"^\s*([\d,]+) ")


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def costs(out, inclusive):
    text = run(["callgrind_annotate", "--auto=no", "--threshold=100",
                f"--inclusive={'yes' if inclusive else 'no'}", out])
    lines = []
    for line in text.splitlines():
        found = COST.match(line)
        if found:
            lines.append((int(found.group(1).replace(",", "")), line))
    return lines


def count(probe, scratch, fmt, form, rounds):
    """Operations, and the costs by function, inclusive and own, of one run."""
    out = os.path.join(scratch, f"{fmt}.{form}.{rounds}")
    said = run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "-q", probe, fmt,
                form, str(rounds)])
    operations = int(said.split()[0])
    calls = {m.group(1): cost for cost, line in costs(out, False) if (m := RUNTIME.search(line))}
    return operations, costs(out, True), calls


def largest(lines, pattern):
    name = re.compile(pattern)
    return max((cost for cost, line in lines if name.search(line)), default=0)


class Measured:
    """A form on a format: the difference of its two runs."""

    def __init__(self, probe, scratch, fmt, form):
        rounds = ROUNDS.get(form, 200)
        one, two = (count(probe, scratch, fmt, form, n) for n in (rounds, 2 * rounds))
        self.operations = two[0] - one[0]
        self.one, self.two = one[1], two[1]
        self.work = self.per_operation(WORK[form]) - self.per_operation(DEVICE)
        self.runtime = {name: (one[2].get(name, 0), two[2].get(name, 0))
                        for name in set(one[2]) | set(two[2]) if self.is_called(
                            name, two[2].get(name, 0) - one[2].get(name, 0))}

    def is_called(self, name, difference):
        """Whether a runtime function was called but for ticks. A tick, at most one in 1024 polls,
        reads the device's status, which retains and releases; a call a batch would be 200 of them."""
        ticks = 1 + self.operations // 1024
        allowed = ticks * TICK_COST if name in ("swift_retain", "swift_release") else 0
        return abs(difference) > allowed

    def per_operation(self, pattern):
        return (largest(self.two, pattern) - largest(self.one, pattern)) / self.operations


def limits():
    table = {}
    with open("instruction-limits") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                form, fmt, limit, goal, recorded = line.split()
                table[form, fmt] = (float(limit), float(goal), float(recorded))
    return table


def floor(scratch):
    """Instructions per read of the C floor, by format: without validation, and with."""
    binary = os.path.join(scratch, "floor")
    run(["gcc", "-O2", "-fno-strict-aliasing", "-pthread", "-o", binary, "Floor/floor.c"])
    counted = {}
    for fmt in FORMATS:
        for validated in ("0", "1"):
            runs = []
            for rounds in (200, 400):
                out = f"{binary}.{fmt}.{validated}.{rounds}"
                run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "-q", binary,
                     fmt, validated, "count", str(rounds)])
                lines = costs(out, True)
                runs.append(largest(lines, r":driver_round_") - largest(lines, r":device_serve")
                            - largest(lines, r":client_round"))
            counted[fmt, validated] = (runs[1] - runs[0]) / (200 * 32)
    return counted


def build():
    # The plan of an earlier build may not know of files that are new in the library.
    try:
        os.remove(".build/release.yaml")
    except FileNotFoundError:
        pass
    swift = os.environ.get("SWIFT", "swift")
    command = [swift, "build", "-c", "release", "--product", "Probe", "--scratch-path", ".build"]
    run(command)
    return os.path.join(run(command[:4] + ["--scratch-path", ".build", "--show-bin-path"]).strip(),
                        "Probe")


def main():
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    probe = build()
    bounds = limits()
    failures = []
    with tempfile.TemporaryDirectory() as scratch, \
            concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = {(form, fmt): pool.submit(Measured, probe, scratch, fmt, form)
                for form in FORMS for fmt in FORMATS}
        client = pool.submit(Measured, probe, scratch, "stub", "stub").result().work
        c = floor(scratch)
        measured = {key: job.result() for key, job in jobs.items()}

    def driver(form, fmt):
        return measured[form, fmt].work - (client if form in BATCHED else 0)

    print(f"client's own share of a batched operation, taken off: {client:.1f}")
    print(f"{'form':11}{'format':17}{'driver':>8}{'limit':>8}{'goal':>8}{'recorded':>10}")
    for form in FORMS:
        for fmt in FORMATS:
            value = driver(form, fmt)
            limit, goal, recorded = bounds.get((form, fmt), (0, 0, 0))
            print(f"{form:11}{fmt:17}{value:8.1f}{limit:8.0f}{goal:8.0f}{recorded:10.1f}")
            name = f"{form} on {fmt}"
            if value > limit:
                failures.append(f"{name}: {value:.1f} instructions, more than {limit:.0f}")
            if abs(value - recorded) > 0.03 * recorded:
                failures.append(f"{name}: {value:.1f} instructions, {recorded:.1f} recorded: "
                                "record it with its reason")
            runtime = {} if form in WALKED else measured[form, fmt].runtime
            for function, calls in runtime.items():
                failures.append(f"{name}: {function} was called in the steady state: {calls}")
    print("a ring in C, per 4 KiB read, without validation and with: "
          + " ".join(f"{fmt} {c[fmt, '0']:.1f} {c[fmt, '1']:.1f}" for fmt in FORMATS))
    for failure in failures:
        print(failure, file=sys.stderr)
    print("instructions per 4 KiB read: "
          + " ".join(f"{fmt} {driver('read', fmt):.1f}" for fmt in FORMATS))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
