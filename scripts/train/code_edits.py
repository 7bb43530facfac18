"""Changes of single lines that mend common slips, for Python and Lua.

`likely(line, names, language)` and `further(...)` give changes as pairs: the old text, which stands
in the line, and the new one for its place (`try_lines` tries each at every place where the old text
stands as whole tokens; `results` does the same). Nothing here knows the right program: a change is a
guess that the tests judge.
"""

import re

NEAR = {"<": ["<="], "<=": ["<"], ">": [">="], ">=": [">"], "==": ["!="], "!=": ["=="]}
TURNED = {"<": [">", ">="], "<=": [">=", ">", "=="], ">": ["<", "<="], ">=": ["<=", "<", "=="]}
ARITHMETIC = {"+": ["-", "*"], "-": ["+", "*"], "*": ["+"], "/": ["//"], "//": ["/", "%"],
              "%": ["//", "/"]}
UPDATES = {"+=": ["=", "-="], "-=": ["+=", "="], "*=": ["+=", "="]}
WORDS = {"and": "or", "or": "and", "True": "False", "False": "True", "true": "false",
         "false": "true", "break": "continue", "continue": "break", "min": "max", "max": "min",
         "append": "extend", "extend": "append"}
KEYWORDS = set(
    "and break continue def do else elseif elif end false False for function if in is local nil"
    " None not or pass repeat return then true True while until ipairs pairs range len math"
    " table string"
    " min max append extend sorted sum set list dict floor sort insert concat unpack".split()
)
STATEMENTS = {"def", "for", "while", "if", "elif", "else", "return", "break", "continue", "pass"}
TOKEN = re.compile(r"\s+|[A-Za-z_]\w*|\d+(?:\.\d+)?|\"[^\"]*\"|[<>=!~]=|[-+*/]=|//|\S")
OPERAND = r"[\w.#]+(?:\[[^\]]*\]|\([^()]*\))*"
CHANGES_MAX = 40
OPERATORS = "<>=!~+-*/%&|^"


def tokens_of(text):
    return TOKEN.findall(text)


def is_name(token):
    return re.fullmatch(r"[A-Za-z_]\w*", token) is not None and token not in KEYWORDS


def kind(character):
    """What the tool takes for one token: words, or operators, side by side."""
    if character.isalnum() or character == "_":
        return "word"
    return "operator" if character in OPERATORS else None


def continues(before, after):
    """Whether two characters side by side belong to one token."""
    return kind(before) is not None and kind(before) == kind(after)


def results(line, old, new):
    """The lines that a change gives, as the tool tries them: one for each place."""
    for at in range(len(line) - len(old) + 1):
        end = at + len(old)
        if line[at:end] != old or (at and continues(line[at - 1], old[0])):
            continue
        if end < len(line) and continues(old[-1], line[end]):
            continue
        after = line[end:].removeprefix(" ") if not new else line[end:]
        yield (line[:at] + new + after).strip()


class Line:
    """A line by its tokens; `at[i]` is where the i-th begins."""

    def __init__(self, line, names, language):
        self.text, self.names = line.strip(), names
        self.is_lua = language == "lua"
        self.nothing, self.yes, self.no, self.empty = (
            ("nil", "true", "false", "{}") if self.is_lua else ("None", "True", "False", "[]"))
        self.tokens = tokens_of(self.text)
        self.at = [0]
        for token in self.tokens:
            self.at.append(self.at[-1] + len(token))

    def rest(self, i):
        return self.text[self.at[i]:]

    def before(self, i):
        return self.text[:self.at[i]]

    def changes(self, rules):
        """The changes of all rules, from left to right, each once."""
        seen = {}
        for i, token in enumerate(self.tokens):
            if token.isspace():
                continue
            for rule in rules:
                for old, new in rule(self, i, token):
                    if old != new:
                        seen.setdefault((old, new), None)
        return list(seen)[:CHANGES_MAX]


def spelled(line, operator):
    return "~=" if operator == "!=" and line.is_lua else operator


def compare(line, table, token):
    token = "!=" if token == "~=" else token
    return [(spelled(line, token), spelled(line, other)) for other in table.get(token, [])]


def near(line, i, token):
    return compare(line, NEAR, token)


def turned(line, i, token):
    return compare(line, TURNED, token)


def numbers(line, i, token):
    if token.isdigit():
        value = int(token)
        for new in [1 - value] if value < 2 else [value - 1, value + 1]:
            yield token, str(new)


def without_one(line, i, token):
    if match := re.match(r"([-+]) 1\b", line.rest(i)):
        if i and line.tokens[i - 1] == " ":
            yield match[0], ""
            yield match[0], f"{'+' if match[1] == '-' else '-'} 1"


def arithmetic(line, i, token):
    if i and line.tokens[i - 1] == " " and line.rest(i)[len(token):][:1] == " ":
        for other in ARITHMETIC.get(token, []):
            yield token, other


def updates(line, i, token):
    """x = y -> x = x + y; what was to be added up is only set."""
    target = re.search(r"(?:^|then )([\w.]+(?:\[[^\]]*\])?) $", line.before(i))
    if token == "=" and target:
        yield "=", f"= {target[1]} +" if line.is_lua else "+="
    for other in UPDATES.get(token, []):
        yield token, other


def words(line, i, token):
    if token in WORDS:
        yield token, WORDS[token]
    if token == "not":
        yield "not", ""


def returned(line, i, token):
    """What a line that gives nothing, or the wrong thing, may have to return."""
    if i:
        return
    if line.text in ("pass", "return nil", "return None", "return"):
        for value in [*line.names[::-1], "0", line.yes, line.no, line.empty]:
            yield line.text, f"return {value}"
    elif (not line.is_lua and token not in STATEMENTS
          and not re.search(r" [-+*/]?= ", line.text)):
        yield token, f"return {token}"


LIKELY = [returned, near, without_one, arithmetic, numbers, updates, words]


def conditions(line, i, token):
    if token in ("if", "elif", "elseif", "while", "return"):
        if not line.rest(i).startswith(f"{token} not "):
            yield token, f"{token} not"
    if token in ("if", "elif", "elseif", "while"):
        for name in line.names:
            yield token, f"{token} {name} and"
            yield token, f"{token} not {name} or"


def kept(line, i, token):
    """return x -> best = x, and the other way round."""
    if token == "return" and re.fullmatch(r"return \w+(?: end)?", line.rest(i)):
        for name in line.names:
            yield "return", f"{name} ="
    if not i and (match := re.match(r"\w+ [-+*]?= ", line.text)):
        yield match[0].rstrip(), "return"


def swaps(line, i, token):
    if i and (is_name(line.tokens[i - 1]) or line.tokens[i - 1] in ".)]#"):
        return
    if match := re.match(rf"({OPERAND})(,| -| //?| %| [<>]=?) ({OPERAND})", line.rest(i)):
        yield match[0], f"{match[3]}{match[2]} {match[1]}"


def variables(line, i, token):
    if not is_name(token) or token not in line.names or (i and line.tokens[i - 1] == "."):
        return
    for name in line.names:
        yield token, name
    if i:
        factor = re.match(r"\w+ [*/%]", line.rest(i))
        yield token, f"({token} - 1)" if factor else f"{token} - 1"
        yield token, f"({token} + 1)" if factor else f"{token} + 1"


def one_more(line, i, token):
    if token in (")", "]") and re.match(r".(?:\)|\]|:|,|$| do\b| then\b)", line.rest(i)):
        yield token, f"{token} - 1"
        yield token, f"{token} + 1"


def slices(line, i, token):
    if match := re.match(r"\[(\d+:|:-?\w+|-?\w+:)\]", line.rest(i)):
        part = match[1]
        yield match[0], ""
        yield match[0], f"[{part[1:]}:]" if part.startswith(":") else f"[:{part[:-1]}]"
    if match := re.match(r"\[(\w+) ?: ?(\w+)\]", line.rest(i)):
        yield match[0], f"[{match[1]} : {match[1]} + {match[2]}]"
    if not line.is_lua and (match := re.match(r"\[(\w+)\]", line.rest(i))) and i:
        yield match[0], f"[:{match[1]}]"


def indices(line, i, token):
    """[i][j] -> [j][i]; x[1] -> x[i], or the last, or another name; x[i] -> (x[i] or 0)."""
    if match := re.match(r"\[(\w+)\]\[(\w+)\]", line.rest(i)):
        yield match[0], f"[{match[2]}][{match[1]}]"
    match = re.match(r"(\w+)\[(\w+)\]", line.rest(i)) if is_name(token) else None
    if match and match[2].isdigit():
        last = [f"#{match[1]}", f"#{match[1]} + 1"] if line.is_lua else ["-1"]
        for index in [*last, *(name for name in ("i", "j") if name in line.names)]:
            yield f"[{match[2]}]", f"[{index}]"
        for value in [*line.names, "0"]:
            yield match[0], value
    elif match:
        yield match[0], f"({match[0]} or 0)" if line.is_lua else f"{match[1]}.get({match[2]}, 0)"


def more_numbers(line, i, token):
    if token in ("0", "1"):
        yield token, "2"
        if "= " in line.before(i) or "return " in line.before(i):
            yield token, line.nothing
    elif token.isdigit():
        yield token, token + "0"
        if token.endswith("0"):
            yield token, token[:-1]
            yield token, str(int(token) - 10)
            yield token, str(int(token) + 10)
    elif token in (line.nothing, '""'):
        yield token, "0"
        yield token, line.empty
        if token == '""':
            yield token, line.nothing
        for name in line.names:
            yield token, name
    elif line.rest(i) == "{}" and (match := re.match(r"(\w+) = ", line.text)):
        yield "{}", f"{match[1]} or {{}}"
    if token.isdigit() and re.fullmatch(r"(?:local )?\w+ = ", line.before(i)):
        for name in line.names[:2]:
            yield token, name


FURTHER = [conditions, kept, turned, swaps, indices, slices, variables, one_more, more_numbers]


def likely(line, names, language):
    return Line(line, names, language).changes(LIKELY)


def further(line, names, language):
    line = Line(line, names, language)
    return line.changes(FURTHER) or [(line.tokens[0], f"return {line.tokens[0]}")]
