"""The expert that fixes one wrong line: a policy over what the conversation says so far.

`ponder fix` names a suspicious line after the other, and once more those whose changes failed. The
expert hands `try_lines` changes of the line that is next: at first likely ones, the second time
further ones with the names in reach (code_edits.py). It sees neither tests nor a reference patch.
"""

import json
import re

import code_edits

HEAD = re.compile(r"(?:local )?(?:def|function) (?:\w+[.:])?(\w+)\((.*)\)")
NEXT = re.compile(r"^next(, tried once)?: (\S+) (\d+): (.*)$", re.M)


def rows(request):
    """number -> text of the lines that the request shows."""
    return {int(m[1]): m[2] for m in re.finditer(r"^(\d+): (.*)$", request, re.M)}


def names_in(texts):
    """Parameters and variables of a function, as they come up."""
    found = []
    for text in texts:
        head = HEAD.match(text)
        if head:
            found += [re.match(r"\s*(\w*)", parameter)[1] for parameter in head[2].split(",")]
        match = re.match(r"(?:local |for )?([\w, ]+?) (?:=|in) ", text)
        found += match[1].split(", ") if match else []
    wanted = (n for n in found if code_edits.is_name(n) and n != "_")
    return list(dict.fromkeys(wanted))


def names_near(shown, number):
    """The names of the function that a line belongs to."""
    heads = [n for n in shown if HEAD.match(shown[n])]
    first = max((n for n in heads if n <= number), default=0)
    after = min((n for n in heads if n > number), default=1 << 30)
    return names_in(shown[n] for n in sorted(shown) if first <= n < after)


class Expert:
    """Says what comes next in a conversation; all it knows is in the messages."""

    def next(self, messages):
        request = next(m["content"] for m in messages if m["role"] == "user")
        last = messages[-1]["content"]
        found = list(NEXT.finditer(last))
        if not found:
            passed = re.match(r"the tests pass .* line (\d+)", last)
            return {"reasoning_content": "The tests pass." if passed else "Nothing is left to try.",
                    "content": f"Line {passed[1]} was wrong." if passed else
                    "I did not find the bug."}
        is_again, path, number, text = found[-1].groups()
        language = "python" if path.endswith(".py") else "lua"
        names = names_near(rows(request), int(number))
        changes = [] if is_again else code_edits.likely(text, names, language)
        thought = "Likely changes."
        if not changes:
            changes = code_edits.further(text, names, language)
            thought = f"Names: {', '.join(names)}"
        # With a blank before it a word has the same tokens as inside a line.
        changes = "\n".join(f" {old} => {new}".rstrip() for old, new in changes)
        arguments = {"path": path, "line": int(number), "changes": changes}
        return call(thought, "try_lines", arguments)


def call(reasoning, name, arguments):
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {
        "reasoning_content": reasoning,
        "content": "",
        "tool_calls": [{"type": "function", "function": function}],
    }
