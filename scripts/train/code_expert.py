"""The expert that fixes one wrong line: a policy over what the conversation says so far.

`ponder fix` names a suspicious line after the other, and once more those whose changes failed, with
the names that its function uses. The expert hands `try_lines` changes of the line that is next: at
first likely ones, the second time further ones with these names (code_edits.py). It sees neither tests nor a reference patch.
"""

import json
import re

import code_edits

HEAD = re.compile(r"(?:local )?(?:def|function) (?:\w+[.:])?(\w+)\((.*)\)")
NEXT = re.compile(r"^next(, tried once)?: (\S+) \d+: (.*)$(?:\nnames: (.*)$)?", re.M)


class Expert:
    """Says what comes next in a conversation; all it knows is in the messages."""

    def next(self, messages):
        last = messages[-1]["content"]
        found = list(NEXT.finditer(last))
        if not found:
            passed = re.match(r"the tests pass .* line (\d+)", last)
            return {"reasoning_content": "The tests pass." if passed else "Nothing is left to try.",
                    "content": f"Line {passed[1]} was wrong." if passed else
                    "I did not find the bug."}
        is_again, path, text, names = found[-1].groups()
        language = "python" if path.endswith(".py") else "lua"
        names = names.split(", ") if names else []
        changes = [] if is_again else code_edits.likely(text, names, language)
        thought = "Likely changes."
        if not changes:
            changes = code_edits.further(text, names, language)
            thought = "Further changes."
        # With a blank before it a word has the same tokens as inside a line.
        changes = "\n".join(f" {old} => {new}".rstrip() for old, new in changes)
        return call(thought, "try_lines", {"changes": changes})


def call(reasoning, name, arguments):
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {
        "reasoning_content": reasoning,
        "content": "",
        "tool_calls": [{"type": "function", "function": function}],
    }
