#!/usr/bin/env python3
"""Lays out QuixBugs' Python programs as tasks for `ponder eval fix`, with a script that solves
them by the corrections that QuixBugs brings. Says nothing about a model: it tries the machinery.

usage: quixbugs.py CHECKOUT OUT PYTEST
    CHECKOUT  a clone of https://github.com/jkoppel/QuixBugs
    PYTEST    the folder that pytest and pytest-timeout were installed to
"""

import difflib
import json
import pathlib
import shutil
import sys

TESTS = "python_testcases"


def program_names(checkout):
    """Those with a test, a wrong and a right version."""
    for test in sorted((checkout / TESTS).glob("test_*.py")):
        name = test.stem.removeprefix("test_")
        wrong = checkout / "python_programs" / f"{name}.py"
        right = checkout / "correct_python_programs" / f"{name}.py"
        if wrong.exists() and right.exists():
            yield name, wrong, right


def lay_out(checkout, name, wrong, folder):
    repo = folder / "repo"
    for part in ("python_programs", TESTS, "json_testcases"):
        (repo / part).mkdir(parents=True)
    shutil.copy(checkout / "conftest.py", repo)
    shutil.copy(wrong, repo / "python_programs")
    node = checkout / "python_programs" / "node.py"
    if node.exists():
        shutil.copy(node, repo / "python_programs")
    for helper in ("load_testdata.py", "node.py", f"test_{name}.py"):
        shutil.copy(checkout / TESTS / helper, repo / TESTS)
    cases = checkout / "json_testcases" / f"{name}.json"
    if cases.exists():
        shutil.copy(cases, repo / "json_testcases")


def patch_of(name, wrong, right):
    """All that differs between the versions, comments included: the judge is to drop what is not
    needed."""
    old, new = ([line + "\n" for line in file.read_text().splitlines()] for file in (wrong, right))
    path = f"python_programs/{name}.py"
    return "".join(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}"))


def main():
    checkout, out, pytest = map(pathlib.Path, sys.argv[1:])
    script = []
    for name, wrong, right in program_names(checkout):
        folder = out / name
        lay_out(checkout, name, wrong, folder)
        path = folder / "repo" / "python_programs" / f"{name}.py"
        text = path.read_text()
        path.write_text(text if text.endswith("\n") else text + "\n")
        about = {
            "id": f"quixbugs {name}",
            "test": f"PYTHONPATH={pytest} python3 -m pytest --timeout 2 {TESTS}/test_{name}.py",
            "language": "python",
            "class": name,
            "seconds": 60,
        }
        (folder / "task.json").write_text(json.dumps(about, indent=1))
        (folder / "issue.md").write_text(
            f"`python_programs/{name}.py` has a bug on one line. Its tests show it. "
            f"(quixbugs {name})\n"
        )
        patch = patch_of(name, wrong, right)
        (folder / "reference.patch").write_text(patch)
        call = {"name": "apply_patch", "arguments": {"patch": patch}}
        script += [
            {"when": f"(quixbugs {name})", "calls": [call]},
            {"when": f"(quixbugs {name})", "content": "Fixed."},
        ]
    lines = [json.dumps(step) for step in script]
    (out / "solutions.jsonl").write_text("\n".join(lines) + "\n")
    print(f"{len(lines) // 2} tasks in {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
