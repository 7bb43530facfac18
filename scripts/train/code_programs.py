"""Random small programs in Python and Lua, to learn from how lines of code are changed.

They look like programs and mean nothing: statements and expressions are drawn. None of the
programs of `ponder eval codefix` (tools/library/codefix) is used here.
"""

WORDS = """
    account age amount angle apple area average bag balance bar base basket best bill blue board
    boat book border bottom box branch bread brick bridge buffer build bus button cache call
    camera candle cap car card cargo case cell chain chair chapter chart check circle class
    clock cloud coach code coin color column cost count cover crop cup current cut cycle data
    deck delay delta depth desk digit dish door draft drive drop dust edge engine entry error
    event extra face factor farm fast field figure file film final first fish flag flat floor
    flow folder foot force frame front fruit fuel game gap garden gate gift glass goal gold
    grain graph green grid group guest half hand head heat height hill hour house ice inner
    input iron item job join key kind label lake lamp last layer leaf left length lesson level
    library limit line link list load local lock loop lot low mail main map mark market mass
    match max meal middle mile milk minute mode month motor move name narrow near new night node
    noise north note novel number ocean offer office old open orange order outer output oven
    pack page pair panel paper parcel part pass path pause peak pen phase piece pipe pixel place
    plan plant plate point pool port post pound power price prize profit pulse queue quick rain
    range rank rate ratio raw real record red region rent result rice right ring river road rock
    room root rope round route row rule run sale salt sample sand scale scene school score
    screen sea seat second seed segment sense series share sheet shelf shift ship shirt shoe
    shop short side signal size sky slot slow small snow soil song sound south space speed split
    spot square stack staff stage stair start state station steel step stone stop store storm
    story street string student style sugar sum sun surface table tail tall target task tax team
    text theme thread ticket tide tile time tiny title token tool top total tower town track
    trade train tree trip truck turn unit upper user value vector view village visit voice
    volume wage wall warm waste watch water wave weak weather week weight wheel white wide wind
    window wing winter wire wood word work worker year yellow zone
""".split()
SHORT = ["i", "j", "k", "n", "x", "y", "a", "b", "c", "v", "s", "t", "p", "q", "m", "d"]
PURPOSES = ["gives the", "finds every", "counts each", "sums the", "checks a", "lists all the",
            "joins", "sorts", "says whether there is a", "keeps the largest"]
OPENINGS = ["{} gives wrong results.", "Something is wrong with {}.", "{} is broken.",
            "{} does not do what it should.", "Results of {} are off.", "There is a bug in {}."]
CLOSINGS = ["Some tests fail. Find the bug and fix it; the tests are right.", "Please fix it.",
            "The tests show it. Please fix it.", "Have a look at the failing tests.",
            "Please fix the code so that all tests pass. Do not change the tests."]


SUFFIXES = ["s", "s", "s", "ed", "ing", "er", "al", "als", "ings", "ers", "ly", "able", "ion"]


class Names:
    """Names that are new to the program; many are no words, so that they are copied, not known."""

    def __init__(self, rng):
        self.rng, self.used = rng, set()

    def word(self):
        rng, draw = self.rng, self.rng.random()
        if draw < 0.3:
            return rng.choice(WORDS)
        if draw < 0.5:
            return rng.choice(WORDS) + rng.choice(SUFFIXES)
        first, last = rng.choice(WORDS), rng.choice(WORDS)
        blend = first[: rng.randint(2, 4)] + last[-rng.randint(2, 4):]
        return blend + (rng.choice(SUFFIXES) if rng.random() < 0.2 else "")

    def draw(self, parts=(1, 1, 1, 1, 1, 2, 2)):
        while True:
            name = "_".join(self.word() for _ in range(self.rng.choice(parts)))
            if self.rng.random() < 0.1:
                name = name[: self.rng.randint(3, 6)].rstrip("_")
            if name not in self.used:
                self.used.add(name)
                return name


class Function:
    """Draws one function; `scope` has the names that may be read."""

    def __init__(self, program, name):
        self.program, self.name = program, name
        self.rng, self.lua = program.rng, program.language == "lua"
        self.scope = [self.fresh() for _ in range(self.rng.choice([1, 1, 2, 2, 2, 3]))]
        self.parameters = list(self.scope)
        self.lines = []

    def fresh(self, short=0.15):
        rng = self.rng
        free = [name for name in SHORT if name not in getattr(self, "scope", [])]
        return rng.choice(free) if rng.random() < short else self.program.names.draw()

    def put(self, depth, text):
        self.lines.append(("  " if self.lua else "    ") * depth + text)

    def pick(self, *options):
        return self.rng.choice(options)

    def name_in_scope(self):
        # The latest names are the likeliest.
        return self.rng.choice(self.scope[-4:] if self.rng.random() < 0.7 else self.scope)

    def number(self):
        rng = self.rng
        return str(rng.choice([0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 7, 10, 12, 20, 50, 60, 100, 100, 365,
                               rng.randint(0, 99), rng.randint(100, 9999)]))

    def text(self):
        return '"' + self.pick(" ", ",", "", "-", "(", ")", "/", "ok", "A", "B", *WORDS[:40]) + '"'

    def size_of(self, name):
        return f"#{name}" if self.lua else f"len({name})"

    def element(self, name):
        last = f"#{name}" if self.lua else "-1"
        return self.pick(f"{name}[{self.name_in_scope()}]", f"{name}[{self.name_in_scope()}]",
                         f"{name}[1]", f"{name}[{0 if not self.lua else 2}]", f"{name}[{last}]",
                         f"{name}[i][j]", f"{name}[i - 1]", f"{name}[i + 1]")

    def atom(self):
        draw, name = self.rng.random(), self.name_in_scope()
        if draw < 0.5:
            return name
        if draw < 0.68:
            return self.number()
        if draw < 0.83:
            return self.element(name)
        if draw < 0.91:
            return self.size_of(name)
        if draw < 0.95:
            return self.call()
        return self.text() if draw < 0.97 else f"{name}.{self.pick(*WORDS)}"

    def call(self):
        kind = self.rng.randrange(4)
        first, second = self.name_in_scope(), self.pick(self.name_in_scope(), self.number())
        if kind < 2:
            prefix = "math." if self.lua else ""
            if kind:
                return f"{prefix}{self.pick('max', 'min')}({first}, {second})"
            return f"{prefix}{self.pick('abs', 'floor', 'sum', 'sorted')}({first})"
        prefix = f"{self.program.module}." if self.lua else ""
        arguments = self.pick(first, f"{first}, {second}")
        return f"{prefix}{self.rng.choice(self.program.functions)}({arguments})"

    def expression(self):
        draw = self.rng.random()
        if draw < 0.42:
            return self.atom()
        operator = self.pick("+", "+", "-", "-", "*", "/", "//", "%")
        if draw < 0.75:
            return f"{self.atom()} {operator} {self.pick(self.atom(), self.atom(), '1')}"
        if draw < 0.85:
            return f"({self.atom()} {self.pick('+', '-')} {self.atom()}) {operator} {self.atom()}"
        if draw < 0.93:
            last = f"{self.pick('+', '-', '*')} {self.atom()}"
            return f"{self.atom()} {operator} {self.atom()} {last}"
        if self.lua:
            known = f"{self.element(self.name_in_scope())} or {self.pick('0', '1', '{}')}"
            return f"({known}) + {self.atom()}"
        return self.sliced()

    def sliced(self):
        a, b = self.name_in_scope(), self.name_in_scope()
        both = f"[{b} : {b} + {self.name_in_scope()}]"
        return a + self.pick("[1:]", "[:-1]", f"[:{b}]", f"[{b}:]", both)

    def comparison(self):
        operator = self.pick("<", "<=", ">", ">=", "==", "~=" if self.lua else "!=")
        if self.rng.random() < 0.12:
            return f"{self.atom()} % {self.pick(self.atom(), '2', '4', '100')} {operator} 0"
        left = self.pick(self.atom(), self.atom(), self.atom(), self.expression())
        return f"{left} {operator} {self.pick(self.atom(), self.atom(), self.expression())}"

    def condition(self):
        draw = self.rng.random()
        if draw < 0.62:
            return self.comparison()
        if draw < 0.72:
            return self.pick("not ", "") + self.name_in_scope()
        first = self.pick(self.comparison(), self.comparison(), "not " + self.name_in_scope(),
                          self.name_in_scope())
        return f"{first} {self.pick('and', 'or')} {self.comparison()}"

    def literal(self):
        nothing, yes, no, empty = (("nil", "true", "false", "{}") if self.lua
                                   else ("None", "True", "False", "[]"))
        return self.pick("0", "0", "1", nothing, yes, no, empty, self.text(), self.number())

    def value(self):
        return self.pick(self.expression(), self.expression(), self.expression(), self.literal())

    def assign(self, depth):
        if self.rng.random() < 0.12:
            names = [self.fresh(), self.fresh()]
            self.put(depth, f"{'local ' * self.lua}{', '.join(names)} = "
                            f"{self.pick(self.atom(), '0')}, {self.pick(self.atom(), '0')}")
            self.scope += names
            return
        name = self.fresh()
        start = self.pick("0", "0", "1", self.literal(), self.expression(), self.expression())
        self.put(depth, f"{'local ' * self.lua}{name} = {start}")
        self.scope.append(name)

    def simple(self):
        """One statement without a block."""
        name, rng = self.name_in_scope(), self.rng
        draw = rng.random()
        if draw < 0.35:
            operator = self.pick("+", "+", "+", "-", "*")
            if self.lua or rng.random() < 0.3:
                return f"{name} = {name} {operator} {self.expression()}"
            return f"{name} {operator}= {self.expression()}"
        if draw < 0.55:
            return f"{name} = {self.value()}"
        if draw < 0.68:
            target = f"{name}[{self.pick(self.name_in_scope(), self.number())}]"
            return f"{target} = {self.value()}"
        if draw < 0.86:
            if self.lua:
                return self.pick(f"{name}[#{name} + 1] = {self.value()}",
                                 f"table.insert({name}, {self.value()})")
            pair = f"[{self.atom()}, {self.atom()}]"
            added = self.pick(self.value(), pair)
            return f"{name}.{self.pick('append', 'append', 'extend')}({added})"
        if draw < 0.94:
            other = self.name_in_scope()
            first = self.pick(other, self.atom())
            return f"{name}, {other} = {first}, {self.pick(name, self.value())}"
        return f"{name} = {self.call()}"

    def leave(self):
        draw = self.rng.random()
        if draw < 0.65:
            return f"return {self.value()}"
        if draw < 0.75:
            return "return " + self.condition()
        return "break" if self.lua else self.pick("break", "continue", "pass")

    def branch(self, depth):
        if self.lua and self.rng.random() < 0.5:
            inner = self.pick(self.simple(), self.leave())
            self.put(depth, f"if {self.condition()} then {inner} end")
            return
        self.put(depth, f"if {self.condition()}" + (" then" if self.lua else ":"))
        self.block(depth + 1, small=True)
        if self.rng.random() < 0.3:
            if self.rng.random() < 0.4:
                word = "elseif" if self.lua else "elif"
                self.put(depth, f"{word} {self.condition()}" + (" then" if self.lua else ":"))
            else:
                self.put(depth, "else" if self.lua else "else:")
            self.block(depth + 1, small=True)
        if self.lua:
            self.put(depth, "end")

    def loop(self, depth):
        rng, old, name = self.rng, list(self.scope), self.name_in_scope()
        draw, bound = rng.random(), self.pick(self.size_of(name), self.atom(), self.expression())
        if draw < 0.15:
            head = f"while {self.condition()}"
        elif draw < 0.55:
            x = self.fresh(0.4)
            y = self.fresh(0.3)
            source = self.pick(name, name, self.element(name) if self.lua else self.sliced())
            if self.lua:
                x = self.pick("_", "_", "i", x)
                head = f"for {x}, {y} in {self.pick('ipairs', 'ipairs', 'pairs')}({source})"
                self.scope += [n for n in (x, y) if n != "_"]
            elif rng.random() < 0.25:
                source = self.pick(source, f"enumerate({name})", f"{name}.items()")
                head = f"for {x}, {y} in {source}"
                self.scope += [x, y]
            else:
                head = f"for {x} in {source}"
                self.scope.append(x)
        else:
            i = self.pick("i", "i", "j", "k", self.fresh())
            self.scope.append(i)
            start = self.pick("1", "1", "0", "2", self.atom(), f"{name} + 1")
            if self.lua:
                step = self.pick("", "", "", "", ", -1", f", {self.atom()}")
                head = f"for {i} = {start}, {bound}{step}"
            else:
                span = self.pick(bound, bound, f"{start}, {bound}", f"{start}, {bound} + 1",
                                 f"0, {bound}, {self.atom()}")
                head = f"for {i} in range({span})"
        self.put(depth, head + (" do" if self.lua else ":"))
        self.block(depth + 1)
        if self.lua:
            self.put(depth, "end")
        self.scope = old

    def block(self, depth, small=False):
        old = list(self.scope)
        for n in range(self.pick(1, 1, 1, 2) if small else self.pick(1, 2, 2, 3)):
            draw = self.rng.random()
            if depth < 3 and draw < 0.3 and not small:
                self.branch(depth)
            elif depth < 3 and draw < 0.36:
                self.loop(depth)
            elif draw < 0.45:
                self.assign(depth)
            elif draw < 0.9:
                self.put(depth, self.simple())
            else:
                self.put(depth, self.leave())
                break
        self.scope = old

    def write(self):
        defaults = list(self.parameters)
        for i in range(1, len(defaults)):
            if not self.lua and self.rng.random() < 0.2:
                defaults[i] += f"={self.literal()}"
        head = f"{self.program.module}.{self.name}" if self.lua else self.name
        self.put(0, f"{'function' if self.lua else 'def'} {head}({', '.join(defaults)})"
                    + ("" if self.lua else ":"))
        if self.rng.random() < 0.25:
            self.branch(1)
        for _ in range(self.pick(0, 1, 1, 1, 2)):
            self.assign(1)
        for _ in range(self.pick(0, 1, 1, 1, 2)):
            self.pick(self.loop, self.loop, self.branch)(1)
        if self.rng.random() < 0.3:
            self.put(1, self.simple())
        self.put(1, f"return {self.pick(self.name_in_scope(), self.value(), self.condition())}")
        if self.lua:
            self.put(0, "end")
        return self.lines


class Program:
    """A module of some functions: `lines`, `module`, `functions`, and the `issue` about it."""

    def __init__(self, rng, language):
        self.rng, self.language, self.names = rng, language, Names(rng)
        self.module = self.names.draw((1, 1, 1, 2))
        self.functions = [self.names.draw() for _ in range(rng.choice([2, 3, 3, 3, 4]))]
        lua = language == "lua"
        folder = rng.choice(["src", "src", "lib", "app"])
        self.path = f"{folder}/{self.module}.{'lua' if lua else 'py'}"
        self.lines = [f"local {self.module} = {{}}", ""] if lua else []
        if rng.random() < 0.3:
            constant = rng.choice(WORDS).upper()
            value = rng.choice([5, 10, 50, 100, 365, 5000])
            self.lines += [f"{'local ' * lua}{constant} = {value}", ""]
            self.lines += [] if lua else [""]
        for n, name in enumerate(self.functions):
            self.lines += ["", ""] if n and not lua else [""] if n else []
            self.lines += Function(self, name).write()
        self.lines += ["", f"return {self.module}"] if lua else []
        purposes = []
        for name in self.functions:
            what = " ".join(rng.sample(WORDS, rng.randint(2, 6)))
            purposes.append(f"`{name}` {rng.choice(PURPOSES)} {what}")
        self.issue = (f"{rng.choice(OPENINGS).format(f'`{self.path}`')} {', '.join(purposes)}. "
                      f"{rng.choice(CLOSINGS)}")

    def failing(self):
        """Names of tests that fail, as their runner gives them."""
        rng, names = self.rng, []
        wrong = rng.choice(self.functions)
        chosen = [n for n in self.functions if n == wrong or rng.random() < 0.12]
        for name in chosen:
            numbers = sorted(rng.sample(range(1, 7), rng.randint(1, 4)))
            case = f"test_{self.module}.{self.module.title()}Test"
            names += [f"{name} {n}" if self.language == "lua" else
                      f"test_{name}_{n} ({case}.test_{name}_{n})" for n in numbers]
        return sorted(names)[:10]
