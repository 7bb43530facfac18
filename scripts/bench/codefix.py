#!/usr/bin/env python3
"""Runs `ponder eval codefix` for Lua and Python and prints what was solved per class of bugs."""

import argparse
import collections
import json
import math
import os
import pathlib
import subprocess
import tempfile

PONDER = "build/release/ponder"
LANGUAGES = ("lua", "python")


def interval(solved, total):
    """Wilson's, of 95%, in percent."""
    z, share = 1.96, solved / total
    middle = share + z * z / total / 2
    reach = z * math.sqrt(share * (1 - share) / total + z * z / total / total / 4)
    scale = 100 / (1 + z * z / total)
    return (middle - reach) * scale, (middle + reach) * scale


def is_single_line(patch):
    """Does the right fix replace one line by one line?"""
    lines = patch.read_text().splitlines()
    gone = [line for line in lines if line.startswith("-") and not line.startswith("---")]
    come = [line for line in lines if line.startswith("+") and not line.startswith("+++")]
    return len(gone) == 1 and len(come) == 1


def ponder(folder, *arguments):
    environment = dict(os.environ, PONDER_SESSIONS=str(folder / "sessions.db"))
    done = subprocess.run([PONDER, "eval", "codefix", *arguments], env=environment, check=True,
                          stdout=subprocess.PIPE, text=True)
    return done.stdout


def measure(language, count, seed):
    """Solved and all tasks by class, and of those with a single line: {class: [4 counts]}."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        which = ("--language", language, "--count", str(count), "--seed", str(seed))
        ponder(folder, *which, "--export", str(folder / "tasks"))
        single = {int(task.name): is_single_line(task / "reference.patch")
                  for task in (folder / "tasks").iterdir() if task.is_dir()}
        report = json.loads(ponder(folder, *which, "--json"))
    counts = collections.defaultdict(lambda: [0, 0, 0, 0])
    for case in report["cases"]:
        for kind in (case["kind"], "all"):
            row = counts[kind]
            row[0] += case["solved"]
            row[1] += 1
            row[2] += case["solved"] and single[case["task_seed"]]
            row[3] += single[case["task_seed"]]
    return counts


def cell(solved, total, is_sum):
    if total == 0:
        return ""
    text = f"{solved} of {total}"
    if is_sum:
        low, high = interval(solved, total)
        text += f", {100 * solved / total:.1f}% [{low:.1f}, {high:.1f}]"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=9000000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {language: measure(language, options.count, options.seed) for language in LANGUAGES}
    if options.json:
        print(json.dumps({"seed": options.seed, "count": options.count, "classes": found}))
        return
    print("| class | Lua | of a single line | Python | of a single line |\n|---|---|---|---|---|")
    for kind in sorted({kind for counts in found.values() for kind in counts}):
        cells = []
        for language in LANGUAGES:
            row = found[language][kind]
            cells += [cell(*row[:2], kind == "all"), cell(*row[2:], kind == "all")]
        print(f"| {kind} | " + " | ".join(cells) + " |")


main()
