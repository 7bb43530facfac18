"""The expert that fixes one wrong line: a policy over what the tools have answered so far.

It runs the tests, reads the program and its tests, finds the line by trying rewrites
(code_edits.py) against the visible tests in a folder of its own, edits it with the real tool and
runs the tests again. It never sees a reference patch or a hidden test.
"""

import json
import pathlib
import re
import subprocess
import tempfile

from code_edits import rewrites
from harness import LIBRARY, _SANDBOX, _read_module  # the generator's own modules

from lupa import lua54

TRIES_MAX = 1500
SECONDS_MAX = 4


def support_files(language):
    """The files that every task of the language has, as the generator writes them."""
    lua = lua54.LuaRuntime(register_eval=False)
    require = lua.execute(_SANDBOX, _read_module)
    return dict(require("codefix.languages")[language].support_files().items())


SUPPORT = {}


class Trial:
    """A folder with the program and its tests, in which candidates are tried."""

    def __init__(self, language, source, test_path, test_text):
        self.folder = tempfile.TemporaryDirectory(prefix="code-expert-")
        self.root = pathlib.Path(self.folder.name)
        if language not in SUPPORT:
            SUPPORT[language] = support_files(language)
        for path, text in {**SUPPORT[language], test_path: test_text}.items():
            self.path(path).write_text(text)
        self.source = self.path(source)
        self.command = {
            "python": "python3 -S -m unittest discover -f tests",
            "lua": "sh tests/run.sh",
        }[language]

    def path(self, name):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def passes(self, lines):
        self.source.write_text("\n".join(lines) + "\n")
        try:
            done = subprocess.run(
                ["sh", "-c", self.command],
                cwd=self.root,
                env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS_MAX,
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def listing(result):
    """The lines of a file out of what `read` says: numbers, a tab, the text."""
    return [m[1] for m in re.finditer(r"^ *\d+\t(.*)$", result, re.M)]


def failing(result):
    """The names of the failing tests, without their modules."""
    return [m[1] for m in re.finditer(r"^failed: (.+?)(?: \(.*)?$", result, re.M)]


def function_of(test_name):
    """mean 2 -> mean; test_mean_2 -> mean."""
    return re.sub(r"[ _]\d+$", "", test_name.removeprefix("test_"))


def span_of(lines, function):
    """The lines of a function: from its head to the next one's."""
    heads = [i for i, line in enumerate(lines) if re.match(r"(def |function |local function )", line)]
    for head, end in zip(heads, heads[1:] + [len(lines)]):
        if re.search(rf"\b{re.escape(function)}\(", lines[head]):
            return list(range(head, end))
    return []


def order_of(lines, functions):
    """Line numbers to try, those of failing functions first."""
    first = [i for name in dict.fromkeys(functions) for i in span_of(lines, name)]
    return list(dict.fromkeys(first + list(range(len(lines)))))


def find_fix(language, source, lines, test_path, test_lines, functions):
    """(line number, new text, why) of the first rewrite that makes the visible tests pass."""
    trial = Trial(language, source, test_path, "\n".join(test_lines) + "\n")
    tries = 0
    for number in order_of(lines, functions):
        for text, why in rewrites(lines, number, language):
            tries += 1
            if tries > TRIES_MAX:
                return None
            if trial.passes(lines[:number] + [text] + lines[number + 1 :]):
                return number, text, why
    return None


def unique_edit(lines, number, text):
    """The arguments old and new of `edit`: the line, with lines before it while it is not unique."""
    whole = "\n".join(lines)
    first = number
    while first > 0 and whole.count("\n".join(lines[first : number + 1])) > 1:
        first -= 1
    head = lines[first:number]
    return "\n".join(head + [lines[number]]), "\n".join(head + [text])


class Expert:
    """Says what comes next in a conversation; all it knows is in the messages."""

    def next(self, messages):
        user = next(m["content"] for m in messages if m["role"] == "user")
        results = [m["content"] for m in messages if m["role"] == "tool"]
        source = re.search(r"`(src/[\w.]+)`", user)[1]
        module = pathlib.Path(source).stem
        language = "python" if source.endswith(".py") else "lua"
        test_path = f"tests/test_{module}.py" if language == "python" else f"tests/{module}_test.lua"
        if len(results) == 0:
            return self.call("Run the tests.", "run_tests", {})
        names = failing(results[0])
        if len(results) == 1:
            shown = ", ".join(names[:3]) or "something"
            return self.call(f"Failing: {shown}. Read {source}.", "read", {"path": source})
        if len(results) == 2:
            return self.call("Read its tests.", "read", {"path": test_path})
        lines = listing(results[1])
        if len(results) == 3:
            functions = [function_of(name) for name in names]
            found = find_fix(language, source, lines, test_path, listing(results[2]), functions)
            if found is None:
                return {"content": "I did not find the bug."}
            number, text, why = found
            old, new = unique_edit(lines, number, text)
            reasoning = (
                f"`{functions[0] if functions else module}` is wrong. Line {number + 1}: "
                f"`{lines[number].strip()}`: {why}. It should be `{text.strip()}`."
            )
            return self.call(reasoning, "edit", {"path": source, "old": old, "new": new})
        if len(results) == 4:
            return self.call("Run the tests again.", "run_tests", {})
        passed = re.match(r"\d+ passed, 0 failed", results[4])
        return {
            "reasoning_content": "All pass." if passed else "Some still fail.",
            "content": f"Fixed a wrong line in {source}." if passed else "I did not find the bug.",
        }

    @staticmethod
    def call(reasoning, name, arguments):
        function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
        return {
            "reasoning_content": reasoning,
            "content": "",
            "tool_calls": [{"type": "function", "function": function}],
        }


assert LIBRARY.is_dir(), f"{LIBRARY} is not there"
