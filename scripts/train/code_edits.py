"""Rewrites of single lines that mend common slips, for Python and Lua.

`likely(line, names, language)` and `further(...)` give the new texts of a line. Nothing here knows
the right program: a rewrite is a guess that the tests judge.
"""

import os
import re

NEAR = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
TURNED = {"<": [">", ">="], "<=": [">=", ">"], ">": ["<", "<="], ">=": ["<=", "<"],
          "==": [], "!=": []}
WORDS = {"and": "or", "or": "and", "True": "False", "False": "True", "true": "false",
         "false": "true", "break": "continue", "continue": "break", "min": "max", "max": "min",
         "append": "extend", "extend": "append"}
ARITHMETIC = {"+": ["-", "*"], "-": ["+", "*"], "*": ["+"], "/": ["//"], "//": ["/", "%"],
              "%": ["//", "/"]}
KEYWORDS = set(
    "and break continue def do else elseif elif end false False for function if in is local nil"
    " None not or pass repeat return then true True while until ipairs pairs range len math"
    " table string"
    " min max append extend sorted sum set list dict floor sort insert concat unpack".split()
)
STATEMENTS = {"def", "for", "while", "if", "elif", "else", "return", "break", "continue", "pass"}
TOKEN = re.compile(r"\s+|[A-Za-z_]\w*|\d+(?:\.\d+)?|\"[^\"]*\"|[<>=!~]=|//|\S")
TEXTS_MAX = 24


def tokens_of(text):
    return TOKEN.findall(text)


def is_name(token):
    return re.fullmatch(r"[A-Za-z_]\w*", token) is not None and token not in KEYWORDS


def with_token(tokens, index, *new):
    return "".join(tokens[:index] + list(new) + tokens[index + 1:])


def comparisons(tokens, language, table):
    unequal = "~=" if language == "lua" else "!="
    for i, token in enumerate(tokens):
        token = "!=" if token == "~=" else token
        others = table.get(token, [])
        for other in [others] if isinstance(others, str) else others:
            yield with_token(tokens, i, unequal if other == "!=" else other)


def numbers(tokens):
    for i, token in enumerate(tokens):
        if token.isdigit():
            value = int(token)
            for new in [1 - value] if value < 2 else [value - 1, value + 1]:
                yield with_token(tokens, i, str(new))


def more_numbers(tokens, language):
    nothing = "nil" if language == "lua" else "None"
    for i, token in enumerate(tokens):
        if token in ("0", "1"):
            yield with_token(tokens, i, str(int(token) + 1 if token == "1" else 2))
            if "=" in tokens[:i] or "return" in tokens[:i]:
                yield with_token(tokens, i, nothing)
        elif token.isdigit():
            yield with_token(tokens, i, token + "0")
            if token.endswith("0"):
                yield with_token(tokens, i, token[:-1])
        elif token in ("nil", "None", '""'):
            yield with_token(tokens, i, "0")
            yield with_token(tokens, i, "{}" if language == "lua" else "[]")
            if token == '""':
                yield with_token(tokens, i, nothing)


def without_one(tokens):
    text = "".join(tokens)
    for match in re.finditer(r" [-+] 1\b", text):
        yield text[: match.start()] + text[match.end():]
        sign = "+" if match[0][1] == "-" else "-"
        yield text[: match.start()] + f" {sign} 1" + text[match.end():]


def one_more(tokens):
    for i, token in enumerate(tokens):
        rest = "".join(tokens[i + 1:])
        closes = re.match(r"\)|\]|:|,|$| do\b| then\b| %| \*| //", rest)
        if (is_name(token) or token in "])") and closes and i > 1:
            yield with_token(tokens, i, token, " - 1")
            yield with_token(tokens, i, token, " + 1")


def operators(tokens, language):
    for i, token in enumerate(tokens):
        spaced = 0 < i < len(tokens) - 1 and tokens[i - 1] == " " and tokens[i + 1] in (" ", "=")
        for other in ARITHMETIC.get(token, []) if spaced else []:
            yield with_token(tokens, i, other)


def updates(tokens, language):
    """x = y -> x += y, and x = x + y; what was to be added up is only set."""
    text = "".join(tokens)
    match = re.match(r"(.*?)([\w.\[\]#]+) = ([^=].*?)( end)?$", text)
    if match and not match[1].strip().startswith(("local", "for", "def", "function")):
        head, name, value, tail = match[1], match[2], match[3], match[4] or ""
        if language == "python":
            yield f"{head}{name} += {value}"
        else:
            yield f"{head}{name} = {name} + {value}{tail}"
    for match in re.finditer(r" ([-+*])= ", text):
        yield text[: match.start()] + " = " + text[match.end():]


def words(tokens):
    for i, token in enumerate(tokens):
        if token in WORDS:
            yield with_token(tokens, i, WORDS[token])
        if token == "not" and "not in" not in "".join(tokens[i:i + 3]):
            yield "".join(tokens[:i] + tokens[i + 2:])


def negations(tokens):
    for i, token in enumerate(tokens):
        if token in ("if", "elif", "elseif", "while", "return") and i + 2 < len(tokens):
            if tokens[i + 2] != "not":
                yield with_token(tokens, i, token, " not")


def swaps(tokens):
    text = "".join(tokens)
    operand = r"[\w.#]+(?:\[[^\]]*\]|\([^()]*\))*"
    for match in re.finditer(rf"({operand}), ({operand})", text):
        yield f"{text[:match.start()]}{match[2]}, {match[1]}{text[match.end():]}"
    for match in re.finditer(rf"({operand}) (-|/|//|%|<|>|<=|>=) ({operand})", text):
        yield f"{text[:match.start()]}{match[3]} {match[2]} {match[1]}{text[match.end():]}"


def is_expression(text):
    return tokens_of(text)[0] not in STATEMENTS and not re.search(r" [-+*/]?= ", text)


def returned(text, names, language):
    """What a line that gives nothing, or the wrong thing, may have to return."""
    indent = text[: len(text) - len(text.lstrip())]
    stripped = text.strip()
    values = ["0", "true", "false", "{}"] if language == "lua" else ["0", "True", "False", "[]"]
    if stripped in ("pass", "return nil", "return None", "return"):
        for value in names[::-1] + values:
            yield f"{indent}return {value}"
    elif language == "python" and is_expression(stripped):
        yield f"{indent}return {stripped}"
    if match := re.match(r"return (\w+)$", stripped):
        yield f"{indent}{names[-1] if names else match[1]} = {match[1]}"


def variables(tokens, names):
    for i, token in enumerate(tokens):
        if not is_name(token) or token not in names or (i and tokens[i - 1] == "."):
            continue
        for name in names:
            if name != token:
                yield with_token(tokens, i, name)


def indices(tokens, names, language):
    """[1] -> [i], or the last."""
    text = "".join(tokens)
    for match in re.finditer(r"(\w+)\[(\d+)\]", text):
        head, tail = text[: match.start()] + match[1], text[match.end():]
        for index in [f"#{match[1]}" if language == "lua" else "-1", "i", "j"]:
            if not index.isalpha() or index in names:
                yield f"{head}[{index}]{tail}"
    for match in re.finditer(r"\[(\w+)\]\[(\w+)\]", text):
        yield f"{text[:match.start()]}[{match[2]}][{match[1]}]{text[match.end():]}"


def guards(tokens, names):
    for i, token in enumerate(tokens):
        if token in ("if", "elif", "elseif", "while") and i + 2 < len(tokens):
            for name in names:
                yield with_token(tokens, i, token, f" {name} and")
                yield with_token(tokens, i, token, f" not {name} or")


def slices(tokens):
    text = "".join(tokens)
    for match in re.finditer(r"\[(\d+:|:-?\w+|-?\w+:)\]", text):
        yield text[: match.start()] + text[match.end():]
        part = match[1]
        turned = part[1:] + ":" if part.startswith(":") else ":" + part[:-1]
        yield f"{text[:match.start()]}[{turned}]{text[match.end():]}"
    for match in re.finditer(r"\[(\w+) ?: ?(\w+)\]", text):
        yield f"{text[:match.start()]}[{match[1]} : {match[1]} + {match[2]}]{text[match.end():]}"


def defaults(tokens, language):
    text = "".join(tokens)
    for match in re.finditer(r"(\w+\[\w+\])( [-+<>]=? )", text):
        if language == "lua":
            yield f"{text[:match.start()]}({match[1]} or 0){text[match.start(2):]}"


def beginnings(text, names):
    """x = 0 -> x = one of the parameters."""
    match = re.match(r"(\s*(?:local )?(\w+) = )\d$", text)
    for name in names[:2] if match else []:
        if name != match[2]:
            yield match[1] + name


def distinct(texts, but):
    seen = set(but)
    for text in texts:
        if text not in seen and text.strip():
            seen.add(text)
            yield text


def in_order(texts, line, known):
    """The texts that are new, those first that differ from the line further left."""
    kept = list(distinct(texts, known))[:TEXTS_MAX]
    known = tokens_of(line)
    return sorted(kept, key=lambda text: len(os.path.commonprefix([tokens_of(text), known])))


def likely(line, names, language):
    tokens = tokens_of(line)
    found = [*comparisons(tokens, language, NEAR), *without_one(tokens), *numbers(tokens),
             *operators(tokens, language), *updates(tokens, language), *words(tokens),
             *returned(line, names, language)]
    return in_order(found, line, [line])


def further(line, names, language):
    tokens = tokens_of(line)
    found = [*variables(tokens, names), *comparisons(tokens, language, TURNED), *swaps(tokens),
             *one_more(tokens), *slices(tokens), *indices(tokens, names, language),
             *more_numbers(tokens, language), *negations(tokens), *defaults(tokens, language),
             *beginnings(line, names), *guards(tokens, names)]
    return in_order(found, line, [line, *likely(line, names, language)])
