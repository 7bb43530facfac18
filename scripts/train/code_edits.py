"""Rewrites of single lines that mend common slips, for Python, Lua and C++.

`rewrites(lines, number, language)` gives (new text, why) for the line with that number, likely ones
first. Nothing here knows the right program: a rewrite is a guess that the tests judge.
"""

import itertools
import re

COMPARISONS = ["<", "<=", ">", ">=", "==", "!="]
CALLS = {"min": ["max"], "max": ["min"], "extend": ["append"], "append": ["extend"]}
WORDS = {"and": "or", "or": "and", "True": "False", "False": "True", "true": "false",
         "false": "true", "break": "continue", "continue": "break", "&&": "||", "||": "&&"}
ARITHMETIC = {"+": ["-", "*"], "-": ["+"], "*": ["+", "//"], "/": ["//", "%"], "//": ["/", "%"],
              "%": ["//", "/"]}
KEYWORDS = set(
    "and break continue def do else elif elseif end false False for function if in is local nil None"
    " not or pass repeat return then true True while until const auto int double inline".split()
)
TOKEN = re.compile(r"\s+|[A-Za-z_][\w.]*|\d+(?:\.\d+)?|\"[^\"]*\"|[<>=!~]=|//|&&|\|\||\S")


def tokens_of(text):
    return TOKEN.findall(text)


def replaced(tokens, index, *new):
    return "".join(tokens[:index] + list(new) + tokens[index + 1 :])


def names_near(lines, number):
    """Names that are read or written in the function around a line, nearest first."""
    found = {}
    for distance, i in sorted((abs(i - number), i) for i in range(len(lines))):
        if distance > 12:
            break
        for token in tokens_of(lines[i]):
            if re.fullmatch(r"[A-Za-z_]\w*", token) and token not in KEYWORDS:
                found.setdefault(token, distance)
    return sorted(found, key=found.get)


def comparisons(tokens, language):
    unequal = "~=" if language == "lua" else "!="
    for i, token in enumerate(tokens):
        token = "!=" if token == "~=" else token
        if token not in COMPARISONS or "".join(tokens[:i]).strip() in ("template",):
            continue
        near = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}[token]
        for other in [near] + [c for c in COMPARISONS if c not in (token, near)]:
            yield replaced(tokens, i, unequal if other == "!=" else other), "the comparison is wrong"


def numbers(tokens, language):
    for i, token in enumerate(tokens):
        if token.isdigit():
            for value in (int(token) - 1, int(token) + 1, int(token) * 10, int(token) // 10):
                if value >= 0:
                    yield replaced(tokens, i, str(value)), f"{token} should be {value}"


def bounds(tokens, language):
    text = "".join(tokens)
    for ending in (" - 1", " + 1"):
        for match in re.finditer(re.escape(ending), text):
            yield text[: match.start()] + text[match.end() :], "it is one off"
    for i, token in enumerate(tokens):
        if re.fullmatch(r"[A-Za-z_]\w*|\)", token) and token not in KEYWORDS:
            rest = "".join(tokens[i + 1 :])
            if rest.lstrip()[:1] in (")", ",", "]", ":", "") or rest.startswith(" do"):
                for ending in (" - 1", " + 1"):
                    yield replaced(tokens, i, token, ending), "it is one off"


def operators(tokens, language):
    for i, token in enumerate(tokens):
        for other in ARITHMETIC.get(token, []):
            if language == "cpp" and other == "//":
                continue
            yield replaced(tokens, i, other), f"{token} should be {other}"
        if token == "=" and re.match(r"\s*[\w.]+ $", "".join(tokens[:i])):
            if language != "lua":
                for sign in ("+=", "-="):
                    yield replaced(tokens, i, sign), "it has to be added up"
            else:
                name = "".join(tokens[:i]).strip()
                yield replaced(tokens, i, f"= {name} +"), "it has to be added up"
        if token in ("+", "-", "*", "/", "//") and i + 1 < len(tokens) and tokens[i + 1] == "=":
            for sign in ("+", "-", "*"):
                if sign != token:
                    yield replaced(tokens, i, sign), f"{token}= should be {sign}="
            yield replaced(tokens, i, ""), f"{token}= should be ="


def words(tokens, language):
    for i, token in enumerate(tokens):
        if token in WORDS:
            yield replaced(tokens, i, WORDS[token]), f"{token} should be {WORDS[token]}"
        short = token.split(".")[-1]
        for other in CALLS.get(short, []):
            new = token[: len(token) - len(short)] + other
            yield replaced(tokens, i, new), f"{token} should be {new}"
        if token == "not":
            yield replaced(tokens, i, "").replace("  ", " "), "the condition is the wrong way round"
    text = "".join(tokens)
    match = re.match(r"(\s*(?:if|elif|while) )(.*?)(:| then.*)$", text)
    if match:
        yield f"{match[1]}not {match[2]}{match[3]}", "the condition is the wrong way round"


def swaps(tokens, language):
    text = "".join(tokens)
    for match in re.finditer(r"\(([^(),]+), ([^(),]+)\)", text):
        yield (f"{text[:match.start()]}({match[2]}, {match[1]}){text[match.end():]}",
               "the arguments are swapped")
    for match in re.finditer(r"([\w.\[\]]+) (-|/|//|%|<|>|\?|:) ([\w.\[\]]+)", text):
        yield (f"{text[:match.start()]}{match[3]} {match[2]} {match[1]}{text[match.end():]}",
               "the operands are swapped")


def returns(tokens, language):
    text = "".join(tokens)
    indent = text[: len(text) - len(text.lstrip())]
    stripped = text.strip()
    if language == "python" and stripped and not re.match(r"\w+ |\w+:|[\w.\[\]]+ [-+*/]?=", stripped):
        yield f"{indent}return {stripped}", "the value is not returned"


def variables(tokens, language, near):
    for i, token in enumerate(tokens):
        if not re.fullmatch(r"[A-Za-z_]\w*", token) or token in KEYWORDS:
            continue
        for name in near[:14]:
            if name != token:
                yield replaced(tokens, i, name), f"{token} should be {name}"
        if token == near[0]:
            continue


def slices(tokens, language):
    text = "".join(tokens)
    for match in re.finditer(r"\[(\w+:|:[-\w]+|\w+ ?: ?\w+)\]", text):
        yield text[: match.start()] + text[match.end() :], "a part is cut off"
    for i, token in enumerate(tokens):
        if token.isdigit() and i > 1 and tokens[i - 1] == "-" and tokens[i - 2] == "[":
            yield replaced(tokens, i, str(int(token) + 1)), "the index is wrong"


def rewrites(lines, number, language):
    """Of line `number` (from 0): (new text, why), each new text once, likely kinds first."""
    tokens = tokens_of(lines[number])
    kinds = [returns, comparisons, bounds, words, numbers, operators, swaps, slices]
    found = [kind(tokens, language) for kind in kinds]
    found.append(variables(tokens, language, names_near(lines, number)))
    seen = {lines[number]}
    for text, why in itertools.chain(*found):
        if text not in seen:
            seen.add(text)
            yield text, why
