#!/usr/bin/env python3
"""Writes conversations of fixing code as JSON lines, in the form of generate.py.

The expert (code_expert.py) works on random programs (code_programs.py) that nobody runs: which of
its changes makes the tests pass is drawn. `--system` are conversations that `ponder eval codefix`
had, in Lua and in Python, from which instructions and tools are taken (code_endpoint.py).

Example: generate_code.py --system played.jsonl --count 4000 --seed 1 --out code.jsonl
"""

import argparse
import json
import random
import re

import code_edits
from code_expert import HEAD, Expert
from code_programs import Program

TRIES_MAX = 100
TESTS = {"lua": "sh tests/run.sh", "python": "python3 -m unittest discover -v tests"}
NAMES_MAX = 12
NO_NAMES = set(
    "_ and break continue def do elif else elseif end false False for function if in is local nil"
    " None not or pass return then true True while".split()
)
SKIPPED = {"end", "else", "else:"}
SHOWN_MAX = 2000  # characters of texts in a conversation


class DrawnTests:
    """Names suspicious lines and answers calls, as `ponder fix` does; one drawn change of one drawn
    line is right."""

    def __init__(self, program, rng):
        self.program, self.rng = program, rng
        self.left = SHOWN_MAX * rng.random() ** 1.5  # characters of wrong changes before it
        self.failing = program.failing()
        self.rounds = [(n, "") for n in self.suspects()]
        self.rounds += [(n, ", tried once") for n, _ in self.rounds]

    def span(self, function):
        lines = self.program.lines
        first = next(i for i, line in enumerate(lines)
                     if (head := HEAD.match(line)) and head[1] == function)
        last = first + 1
        while last < len(lines) and (not lines[last] or lines[last][0].isspace()):
            last += 1
        return [n for n in range(first, last + 1) if n < len(lines) and lines[n].strip()
                and (n < last or lines[n] == "end")]

    def spans(self):
        names = (re.sub(r"_\d+$", "", name.split()[0].removeprefix("test_"))
                 for name in self.failing)
        return [self.span(name) for name in dict.fromkeys(names)]

    def suspects(self):
        for span in self.spans():
            for n in span:
                text = self.program.lines[n].strip()
                if text not in SKIPPED and (n != span[0] or "=" in text):
                    yield n

    def next(self):
        if not self.rounds:
            return ""
        n, again = self.rounds[0]
        names = ", ".join(self.names_near(n))
        return (f"next{again}: {self.program.path} {n + 1}: {self.program.lines[n].strip()}\n"
                + (f"names: {names}\n" if names else ""))

    def names_near(self, n):
        """The names that the line's function uses, as `ponder fix` finds them."""
        lines = next(span for span in self.spans() if n in span)
        text = "\n".join(re.sub(r"(['\"]).*?\1", r"\1\1", self.program.lines[i]) for i in lines)
        found = re.findall(r"(?<![\w.])[A-Za-z_]\w*\b(?![.(])", text)
        return list(dict.fromkeys(n for n in found if n not in NO_NAMES))[:NAMES_MAX]

    def request(self, seed):
        program = self.program
        fails = "".join(f"fails: {name}\n" for name in self.failing)
        shown = [n for span in self.spans() for n in span]
        rows = "".join(f"{n + 1}: {program.lines[n].strip()}\n" for n in shown)
        return (f"{program.issue}\n\n(codefix {seed})\n\n"
                f"Tests: {TESTS[program.language]}\n{fails}\n"
                f"Suspicious lines of {program.path}:\n{rows}{self.next()}")

    def answer(self, call):
        arguments = json.loads(call["arguments"])
        line = self.rounds[0][0]
        tries = self.tries(self.program.lines[line].strip(), arguments["changes"])
        self.left -= len(arguments["changes"])
        if self.left <= 0:
            text = self.rng.choice(tries)
            return f"the tests pass with line {line + 1}: {text}\n"
        self.rounds.pop(0)
        return f"the tests fail with each of {len(tries)} tries\n{self.next()}"

    def tries(self, line, changes):
        pairs = ((part.strip() for part in f"{change} ".split(" => ", 1))
                 for change in changes.split("\n"))
        texts = (text for old, new in pairs for text in code_edits.results(line, old, new))
        return list(dict.fromkeys(text for text in texts if text != line))[:TRIES_MAX]


def conversation(system, language, seed):
    rng = random.Random(seed)
    tests, expert = DrawnTests(Program(rng, language), rng), Expert()
    messages = [system, {"role": "user", "content": tests.request(seed)}]
    while True:
        message = {"role": "assistant", **expert.next(messages)}
        messages.append(message)
        if "tool_calls" not in message:
            return {"kind": f"code_{language}", "seed": seed, "messages": messages}
        answer = tests.answer(message["tool_calls"][0]["function"])
        messages.append({"role": "tool", "content": answer})


def systems(path):
    """language -> the system message of a conversation in the file."""
    found = {}
    with open(path) as file:
        for line in file:
            messages = json.loads(line)["messages"]
            language = "lua" if ".lua`" in messages[1]["content"] else "python"
            found.setdefault(language, messages[0])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--system", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    system = systems(args.system)
    with open(args.out, "w") as out:
        for seed in range(args.seed, args.seed + args.count):
            language = sorted(system)[seed % len(system)]
            line = conversation(system[language], language, seed)
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
