"""Planners that err once on purpose: the checker says so, and the plan is mended.

A model that makes such a mistake of its own has then seen the way out. The message that errs is
marked `"learn": false`; nobody shall learn the mistake itself.
"""

import re

from expert import Planner

WIDER = {  # how far a misread limit is off, always to the side that lets too much through
    "hotel_max": (100, 200, 300),
    "restaurant_max": (30, 60, 90),
    "ticket_max": (30, 60, 90),
    "hotel_rating_min": (-0.5, -1.0),
    "restaurant_rating_min": (-0.5, -1.0),
}


class MisjudgingPlanner(Planner):
    """Takes the first misfit of one scan as if it were within the limits."""

    def __init__(self, task, conversation, rng):
        self.place = (rng.randint(1, task["days"]), rng.choice(["Hotel", "Meals", "Sight"]))
        super().__init__(task, conversation)

    def judge(self, head, item, limits):
        fits, why = limits.judge(item)
        if fits or self.place != (len(self.lines) + 1, head):
            return fits, why
        self.place = None
        self.talk.unlearned = True
        return True, why.rsplit(" ", 1)[0] + " ok"


class MiscopyingPlanner(Planner):
    """Writes one name of one day with a wrong word."""

    def __init__(self, task, conversation, rng):
        self.place, self.rng = (rng.randint(1, task["days"]), rng.randint(1, 4)), rng
        super().__init__(task, conversation)

    def write_line(self, parts):
        if self.place and self.place[0] == len(self.lines) + 1:
            words = parts[self.place[1]].split()
            others = [w for part in parts[1:] for w in part.split() if w not in words]
            words[self.rng.randrange(len(words))] = self.rng.choice(others)
            parts[self.place[1]] = " ".join(words)
            self.place = None
            self.talk.unlearned = True
        return super().write_line(parts)


class MisreadingPlanner(Planner):
    """Reads one limit too wide, until the checker names the right one."""

    def __init__(self, task, conversation, rng):
        super().__init__(task, conversation)
        self.right = self.c
        name = rng.choice([n for n in WIDER if n in self.c] or [None])
        if name:
            self.read_limits({**self.c, name: round(self.c[name] + rng.choice(WIDER[name]), 1)})
            self.talk.unlearned = True

    def mend(self, violation):
        self.read_limits(self.right)
        return super().mend(violation)


PLANNERS = [MisjudgingPlanner, MiscopyingPlanner, MisreadingPlanner]


def is_mended(messages):
    """Whether a mistake was made, noticed and mended."""
    wrong = any(m.get("learn") is False for m in messages)
    noticed = any(m["role"] == "tool" and m["content"].startswith("violation") for m in messages)
    submitted = re.match(r"Your \d-day trip is ready", messages[-1]["content"])
    return bool(wrong and noticed and submitted)
