"""Conversations besides tasks: small talk, refusals, and questions for one tool."""

ABOUT = (
    "I plan trips of one to three days: I read hotels, restaurants, attractions, trains and "
    "weather, check the plan and submit it."
)

SMALL_TALK = [
    (
        "A greeting.",
        "Hello! Where would you like to travel?",
        [
            "Hello",
            "Hi",
            "Hi there",
            "Good morning",
            "Good evening",
            "Hello, are you there?",
            "Hey",
            "Good day",
        ],
    ),
    (
        "Thanks.",
        "You are welcome. Have a good trip!",
        [
            "Thanks",
            "Thank you",
            "Thank you very much",
            "Great, thanks",
            "Thanks for your help",
            "That was helpful, thanks",
        ],
    ),
    (
        "A goodbye.",
        "Goodbye, and have a good trip!",
        ["Bye", "Goodbye", "See you", "Good night", "Bye for now"],
    ),
    (
        "How I am.",
        "I am well, thank you. Where would you like to travel?",
        ["How are you?", "How are you today?", "How is it going?", "Are you well?"],
    ),
    (
        "What I can do.",
        ABOUT,
        [
            "What can you do?",
            "Who are you?",
            "What are you?",
            "Help",
            "How can you help me?",
            "What do you do?",
            "Tell me about yourself",
            "What is this?",
            "How does this work?",
            "What are your tools?",
        ],
    ),
    (
        "No limits were given.",
        "Tell me where you start or which cities you want to see, for how many days, and your "
        "limits.",
        [
            "Plan a trip",
            "I want to travel",
            "Make me a plan",
            "I need a holiday",
            "Can you plan a trip for me?",
            "Where should I go?",
            "Plan something nice",
        ],
    ),
]

OFF_TOPIC = [
    "Write a poem about the sea",
    "What is 12 times 7?",
    "Fix my code",
    "Who won the match?",
    "Tell me a joke",
    "Translate this into French",
    "What is the meaning of life?",
    "Write an email to my boss",
    "How do I bake bread?",
    "What is the capital of France?",
    "Sort this list for me",
    "Explain quantum physics",
    "Sing a song",
    "What is the price of gold?",
    "Give me medical advice",
    "Who is the president?",
    "Do my homework",
    "Write a story about a dragon",
    "Book a flight to the moon",
    "What time is it?",
    "Play a game with me",
    "Which phone should I buy?",
    "Draw a cat",
    "Summarize this book",
    "How old is the universe?",
    "Write a program in Python",
    "Tell me the news",
    "Is my password safe?",
    "Recommend a film",
    "Solve this equation",
]
REFUSAL = "I can only plan trips and answer questions about them. Where would you like to travel?"

KINDS = {"hotel": "hotels", "restaurant": "restaurants", "attraction": "attractions"}


def small_talk(talk, text, _rng):
    reason, answer, _ = next(entry for entry in SMALL_TALK if text in entry[2])
    talk.answer(reason, answer)


def small_talk_text(rng):
    return rng.choice(rng.choice(SMALL_TALK)[2])


def vary(text, rng):
    """Small differences of form that should not matter."""
    if text[-1] not in ".?!" and rng.random() < 0.4:
        text += rng.choice(".!")
    if rng.random() < 0.15:
        text = text[0].lower() + text[1:]
    return text


def refuse_text(rng):
    return rng.choice(OFF_TOPIC)


def refuse(talk, _text, _rng):
    talk.answer("Not about trips.", REFUSAL)


FAR_CITIES = [
    "Paris",
    "London",
    "Tokyo",
    "Rome",
    "Berlin",
    "Madrid",
    "Sydney",
    "Moscow",
    "Cairo",
    "Delhi",
    "Seoul",
    "Vienna",
    "Prague",
    "Oslo",
    "Lisbon",
    "Dublin",
    "Boston",
    "Chicago",
    "Toronto",
    "Bangkok",
]


def unknown_city_text(rng):
    text = rng.choice(
        [
            "Plan one day in {c}.",
            "One day in {c}, please.",
            "Plan a one-day trip to {c}.",
            "I want to see {c} in one day.",
            "Help me plan one day in {c}.",
            "A day in {c}.",
        ]
    )
    limits = rng.choice(
        ["", " Hotel at most {p}.", " Hotels up to {p} a night.", " Tickets up to {p}."]
    )
    return (text + limits).format(c=rng.choice(FAR_CITIES), p=rng.randint(10, 60) * 10)


def unknown_city(talk, text, _rng):
    """The lists of a city that the tools do not know; said plainly."""
    city = next(c for c in FAR_CITIES if c in text)
    calls = [
        (f"get_all_{kind}_by_city", {"city": city})
        for kind in ("hotels", "restaurants", "attractions")
    ]
    words = [word for word in ("hotel", "ticket") if word in text.lower()]
    limits = f"{words[0]} {''.join(c for c in text if c.isdigit())}" if words else "none"
    talk.call(f"1 day in {city}. Limits: {limits}. Day 1 of 1: {city}.", calls)
    talk.answer(
        f"Unknown city {city}.", f"This trip is not possible: I do not know the city {city}."
    )


class Question:
    """A question that one tool call answers; `ask` draws one, `reply` goes through with it."""

    def __init__(self, generator, rng):
        self.rng = rng
        self.sql = generator.db.sql
        self.city = rng.choice(self.column("SELECT name AS x FROM cities"))

    def column(self, query, *values):
        rows = self.sql(query, *values)
        return [rows[i + 1].x for i in range(len(rows))]

    def ask(self, _rng):
        self.form = self.rng.choice(
            ["cities", "list", "list", "city_of", "infos", "near", "weather", "ride"]
        )
        return getattr(self, "ask_" + self.form)()

    def place(self, kind):
        return self.rng.choice(
            self.column(f"SELECT name AS x FROM {KINDS[kind]} WHERE city = ?", self.city)
        )

    def ask_cities(self):
        self.calls, self.reason = [("get_all_cities", {})], "All cities."
        self.render = lambda result: f"I know these cities:{result}."
        return self.rng.choice(
            [
                "Which cities do you know?",
                "List all cities.",
                "Where can I travel?",
                "Show me the cities.",
                "What cities are there?",
            ]
        )

    def ask_list(self):
        kind = self.rng.choice(list(KINDS))
        self.calls = [(f"get_all_{KINDS[kind]}_by_city", {"city": self.city})]
        self.reason = f"{KINDS[kind].capitalize()} in {self.city}."
        unit = "ticket" if kind == "attraction" else "price"

        def render(result):
            rows = [row.split("|") for row in result.split("\n")]
            return (
                f"{KINDS[kind].capitalize()} in {self.city}, with {unit}:"
                + ",".join(f"{r[0]} {r[1]}" for r in rows)
                + "."
            )

        self.render = render
        return self.rng.choice(
            [
                "Which {k} are there in {c}?",
                "List the {k} of {c}.",
                "Show me {k} in {c}.",
                "What {k} does {c} have?",
            ]
        ).format(k=KINDS[kind], c=self.city)

    def ask_city_of(self):
        kind = self.rng.choice(list(KINDS))
        name = self.place(kind)
        self.calls, self.reason = [
            (f"get_city_by_{kind}", {"name": name})
        ], f"City of the {kind} {name}."
        self.render = lambda result: f"{name} is in{result}."
        return self.rng.choice(
            [
                "In which city is the {k} {n}?",
                "Where is the {k} {n}?",
                "Which city is the {k} {n} in?",
            ]
        ).format(k=kind, n=name)

    def ask_infos(self):
        kind, word, text = self.rng.choice(
            [
                ("attraction", "hours", "When is {n} open?"),
                ("attraction", "ticket", "What is the ticket of {n}?"),
                ("restaurant", "cuisine", "What food does {n} serve?"),
                ("hotel", "breakfast", "Does {n} have breakfast?"),
                ("hotel", "rating", "How is the hotel {n} rated?"),
                ("hotel", "price", "What does the hotel {n} cost?"),
                ("restaurant", "rating", "How is the restaurant {n} rated?"),
                ("city", "province", "Which province is {n} in?"),
            ]
        )
        name = self.city if kind == "city" else self.place(kind)
        self.calls = [(f"get_infos_by_{kind}", {"info_keywords": word, "name": name})]
        self.reason = f"{word.capitalize()} of the {kind} {name}."
        self.render = lambda result: f"{name}: {result}."
        return text.format(n=name)

    def ask_near(self):
        self.calls, self.reason = [
            ("get_inter_city_transport", {"city": self.city})
        ], f"Cities near {self.city}."

        def render(result):
            rows = [row.split("|") for row in result.split("\n")]
            return f"Near {self.city}:" + ",".join(f"{r[0]} {r[1]} km" for r in rows) + "."

        self.render = render
        return self.rng.choice(
            ["Which cities are near {c}?", "Where can I go from {c} by train?", "What is near {c}?"]
        ).format(c=self.city)

    def ask_weather(self):
        year, month, day = (self.rng.randint(*r) for r in ((2025, 2027), (1, 12), (1, 28)))
        date = f"{year}-{month:02d}-{day:02d}"
        self.calls = [("get_weather_by_city_date", {"city": self.city, "date": date})]
        self.reason = f"Weather in {self.city} on {date}."
        self.render = (
            lambda result: f"In {self.city} on {date}: {result.replace('|', ', ')} degrees."
        )
        return self.rng.choice(
            [
                "How is the weather in {c} on {d}?",
                "Will it rain in {c} on {d}?",
                "Weather in {c} on {d}?",
            ]
        ).format(c=self.city, d=date)

    def ask_ride(self):
        start, end = self.place("hotel"), self.place("attraction")
        self.calls = [("get_city_transport", {"city": self.city, "from": start, "to": end})]
        self.reason = f"From {start} to {end} in {self.city}."
        self.render = ride_words
        return f"How do I get from {start} to {end} in {self.city}?"

    def reply(self, talk, _text, _rng):
        result = talk.call(self.reason, self.calls)[0]
        talk.answer("Answer.", self.render(result))


def ride_words(result):
    _, km, minutes, price = result.split("|")
    return f"By taxi: {km} km, {minutes} minutes, {price} CNY."
