#!/usr/bin/env python3
"""The checklist of virtio rules: row, clause, tests, defect, result.

Tests carry the rows that they hold in their names ("row 45: …", "rows 53-55: …"). This script finds
them in the sources, runs them, runs the wrong mini-driver against the watchdog (defects of drivers)
and each row's tests against the emulator with that row's mistake (defects of devices). It fails
where a row has no passing test and no reason, a test of a rule suite names no row, a test names a
row that isn't there, or a defect is not noticed.
"""
import collections
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.join(ROOT, ".build", "debug", "vblkPackageTests.xctest")
Test = collections.namedtuple("Test", "identity name suite rows")
Row = collections.namedtuple("Row", "number clause rule defects reason")


def read_rows():
    rows = {}
    for line in open(os.path.join(ROOT, "Tests", "Checklist", "rows.txt"), encoding="utf-8"):
        if line.startswith("#") or not line.strip():
            continue
        fields = [field.strip() for field in line.split(" | ")]
        number = int(fields[0])
        defects = [] if fields[3] in ("-", "unseen", "driver") else fields[3].split(", ")
        rows[number] = Row(number, fields[1], fields[2], fields[3] if not defects else defects,
                           fields[4] if len(fields) > 4 else None)
    return rows


def rows_in(name):
    """The rows that a test's name carries: "row 5", "rows 6, 7, 9", "rows 53-55"."""
    found = set()
    for text in re.findall(r"\brows? ((?:\d+(?:-\d+)?(?:, | and )?)+)", name):
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
            found.update(range(int(first), int(last or first) + 1))
    return found


def read_tests():
    """Every test with a name: device rows in the emulator's tests, driver rows in the driver's. The
    suites of hostile devices and drivers have numbers of their own, below 68."""
    tests = []
    for target, lowest, highest in (("VBlkDriverTests", 1, 67), ("VBlkEmuTests", 68, 119)):
        folder = os.path.join(ROOT, "Tests", target)
        for file in sorted(os.listdir(folder)):
            text = open(os.path.join(folder, file), encoding="utf-8").read()
            suite, suite_type = "", ""
            pattern = (r'@Suite\(\s*"((?:[^"\\]|\\.)*)"[^{]*?\b(?:struct|class)\s+(\w+)'
                       r'|@Test\(\s*"((?:[^"\\]|\\.)*)".*?\bfunc\s+(\w+)')
            for match in re.finditer(pattern, text, re.S):
                if match.group(1) is not None:
                    suite, suite_type = match.group(1), match.group(2)
                    continue
                name = match.group(3).replace('\\"', '"')
                rows = set()
                if not suite.startswith("Hostile devices"):
                    rows = {row for row in rows_in(name) if row <= highest or target == "VBlkEmuTests"}
                    rows = {row for row in rows if row >= lowest}
                tests.append(Test(f"{target}.{suite_type}/{match.group(4)}", name, suite, rows))
    return tests


def run(filters, defect=None, tables=False, seconds=900):
    """Runs the tests of these identities; the names that passed and failed, and what was printed."""
    environment = dict(os.environ)
    if defect:
        environment["VBLK_DEFECT"] = defect
    if tables:
        environment["VBLK_TABLES"] = "1"
    pattern = "|".join(re.escape(each) + r"\(" for each in sorted(filters))
    command = [BINARY, "--testing-library", "swift-testing", "--filter", pattern]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds)
        output, status = done.stdout.decode("utf-8", "replace"), done.returncode
    except subprocess.TimeoutExpired as late:
        output, status = (late.stdout or b"").decode("utf-8", "replace"), -1
    output = re.sub(r"\x1b\[[0-9;]*m", "", output)
    passed, failed = set(), set()
    for mark, name in re.findall(r'^(✔|✘|.) +Test "(.*)"(?: with \d+ test cases)? (?:passed|failed)',
                                 output, re.M):
        (failed if mark == "✘" else passed).add(name)
    return passed - failed, failed, output, status


def main():
    rows, tests = read_rows(), read_tests()
    faults = []
    for test in tests:
        named = rows_in(test.name) or re.search(r"\b[TP]\d\d", test.name)
        if test.suite.startswith("Driver rules") and not named:
            faults.append(f'the test "{test.name}" names no row')
        faults += [f'the test "{test.name}" names row {row}, which is none'
                   for row in test.rows if row not in rows]
    of_row = {number: [test for test in tests if number in test.rows] for number in rows}

    everything = {test.identity for group in of_row.values() for test in group}
    passed, _, output, _ = run(everything)
    _, _, table, _ = run({"VBlkEmuTests.WatchdogTests/table"}, tables=True)
    named, wrong = collections.Counter(), collections.Counter()
    for row, seen in re.findall(r"^\| (\d+) \|.*\| ([\d, ]*) \| [^|]* \|$", table, re.M):
        wrong[int(row)] += 1
        named[int(row)] += seen.strip() == row

    covered = failing = noticed = 0
    for number, row in sorted(rows.items()):
        group = of_row[number]
        bad = [test.name for test in group if test.name not in passed]
        if not group:
            result = f"no test: {row.reason}" if row.reason else "NO TEST"
            failing += row.reason is None
        elif bad:
            result, failing = "FAILED: " + "; ".join(bad), failing + 1
        else:
            result, covered = "ok", covered + 1
        defect = "none can be made" if row.defects == "unseen" else "-"
        if wrong[number]:
            defect = f"{named[number]} of {wrong[number]} wrong drivers named"
            noticed += named[number]
            if named[number] < wrong[number]:
                faults.append(f"row {number}: a wrong driver is not named")
        elif row.defects == "driver":
            faults.append(f"row {number}: no wrong driver breaks it")
        elif isinstance(row.defects, list) and group:
            notices = []
            for each in row.defects:
                failed = run({test.identity for test in group}, defect=each, seconds=120)
                seen = bool(failed[1]) or failed[3] not in (0, 1)
                noticed += seen
                notices.append(f"{each} {'noticed' if seen else 'NOT NOTICED'}")
                if not seen:
                    faults.append(f"row {number}: {each} is not noticed by its tests")
            defect = ", ".join(notices)
        names = "; ".join(test.name for test in group)
        print(f"{number} | {row.clause} | {row.rule} | {names} | {defect} | {result}")
    print("120-130 | vhost-user | - | no test: there is no vhost-user endpoint yet")
    if failing:
        print("\n".join(line for line in output.splitlines() if "✘" in line), file=sys.stderr)
    for fault in faults:
        print(f"checklist: {fault}", file=sys.stderr)
    print(f"checklist: {len(rows)} rows, {covered} covered, {failing} failing, "
          f"{noticed} defects noticed")
    return 1 if failing or faults else 0


if __name__ == "__main__":
    sys.exit(main())
