#!/usr/bin/env python3
"""Writes training conversations as JSON lines: real tasks, real tools, the expert's reasoning.
Every trajectory is put to the environment's own verifier.

Example: generate.py --count 15000 --seed 1 --out conversations.jsonl
"""

import argparse
import json
import multiprocessing
import random
import sys

import dialogue
import slips
from expert import Conversation, Planner
from follow_up import FollowUp
from harness import Environment, Session, to_python

FIRST_EVALUATION_SEED = 1_000_000
MIX = {
    "one_day": 18,
    "two_day": 14,
    "three_day": 13,
    "conditional": 12,
    "total_budget": 12,
    "repair": 11,
    "impossible": 7,
    "tool_error": 7,
    "dialogue": 6,
    "slip": 6,
}
SEEDS_PER_DATABASE = 10


class Generator:
    def __init__(self, size="S"):
        self.env = Environment("travel")
        self.tools = self.env.tool_schemas()
        self.size = size
        self.database_seed, self.db = None, None

    def database(self, seed):
        if seed // SEEDS_PER_DATABASE != self.database_seed:
            self.database_seed = seed // SEEDS_PER_DATABASE
            base = FIRST_EVALUATION_SEED if seed >= FIRST_EVALUATION_SEED else 0
            self.db = self.env.database(
                base + self.database_seed % FIRST_EVALUATION_SEED, self.size
            )
        return self.db

    def conversation(self, kind, seed):
        if kind == "dialogue":
            return self.dialogue(seed)
        return self.slip(seed) if kind == "slip" else self.trip(kind, seed)

    def slip(self, seed):
        """A trip on which the expert errs once; the checker says so and the plan is mended."""
        rng = random.Random(f"slip {seed}")
        kind = rng.choices(["one_day", "two_day", "three_day"], [50, 35, 15])[0]
        for _ in range(10):
            clumsy = rng.choice(slips.PLANNERS)
            conversation = self.trip(kind, seed, lambda task, talk: clumsy(task, talk, rng))
            if slips.is_mended(conversation["messages"]):
                return {**conversation, "kind": "slip"}
        raise AssertionError(f"slip {seed}: no mistake that the checker sees")

    def trip(self, kind, seed, planner=Planner):
        """The conversation of one task, or an error if the expert's trajectory does not verify."""
        db = self.database(seed)
        lua_task = self.env.lua_env.task(seed, db, kind)
        task = to_python(lua_task)
        session = Session(self.env, db, lua_task)
        talk = Conversation(session, self.env.instructions, self.tools, task["text"])
        solved = planner(task, talk).solve()
        self.verify(kind, seed, lua_task, session, solved)
        return {"kind": kind, "seed": seed, "messages": talk.messages}

    def dialogue(self, seed):
        """Small talk, a refusal, a question, or a trip with one or two follow-ups."""
        rng = random.Random(f"dialogue {seed}")
        form = rng.choices(
            ["small_talk", "refuse", "unknown_city", "question", "follow_up"], [12, 10, 5, 30, 43]
        )[0]
        if form == "follow_up":
            return self.follow_up(seed, rng)
        db = self.database(seed)
        session = Session(self.env, db, self.env.lua.table())
        question = dialogue.Question(self, rng)
        ask, reply = {
            "small_talk": (dialogue.small_talk_text, dialogue.small_talk),
            "refuse": (dialogue.refuse_text, dialogue.refuse),
            "unknown_city": (dialogue.unknown_city_text, dialogue.unknown_city),
            "question": (question.ask, question.reply),
        }[form]
        text = ask(rng)
        talk = Conversation(session, self.env.instructions, self.tools, dialogue.vary(text, rng))
        reply(talk, text, rng)
        return {"kind": "dialogue", "seed": seed, "messages": talk.messages}

    def follow_up(self, seed, rng):
        db = self.database(seed)
        kind = rng.choices(["one_day", "two_day"], [70, 30])[0]
        lua_task = self.env.lua_env.task(seed, db, kind)
        task = to_python(lua_task)
        session = Session(self.env, db, lua_task)
        talk = Conversation(session, self.env.instructions, self.tools, task["text"])
        planner = Planner(task, talk)
        solved = planner.solve()
        for _ in range(rng.randint(1, 2)):
            FollowUp(planner, talk, rng).run()
        self.verify(kind, seed, lua_task, session, solved)
        return {"kind": "dialogue", "seed": seed, "messages": talk.messages}

    def verify(self, kind, seed, task, session, solved):
        submitted = session.submitted
        if kind == "impossible":
            assert not solved and submitted is None, f"{kind} {seed}: submitted an impossible trip"
            assert not isinstance(
                self.env.lua_env.solve(task, session.db), type(task)
            ), f"{kind} {seed}: is possible"
            return
        assert solved and submitted is not None, f"{kind} {seed}: the expert gave up"
        verdict = self.env.lua_env.verify(task, submitted, session.db)
        assert verdict.ok, f"{kind} {seed}: {to_python(verdict.violations)}"


_generator = None


def _start(size):
    global _generator
    _generator = Generator(size)


def _work(job):
    kind, seed = job
    try:
        return json.dumps(_generator.conversation(kind, seed), ensure_ascii=False)
    except AssertionError as error:
        return str(error)


def jobs(count, first_seed, kinds):
    """(kind, seed) pairs, kinds drawn in the proportions of the mix."""
    names = [kind for kind in MIX if kind in kinds]
    weights = [MIX[kind] for kind in names]
    rng = random.Random(first_seed)
    return [(rng.choices(names, weights)[0], first_seed + i) for i in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument(
        "--seed", type=int, default=1, help="first task seed; evaluation seeds start at 1,000,000"
    )
    parser.add_argument("--out", required=True)
    parser.add_argument("--kinds", nargs="+", default=list(MIX), choices=list(MIX))
    parser.add_argument("--size", default="S", choices=["S", "M", "L"])
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    dropped = 0
    with multiprocessing.Pool(args.processes, _start, [args.size]) as pool, open(
        args.out, "w"
    ) as out:
        for line in pool.imap(_work, jobs(args.count, args.seed, args.kinds), chunksize=50):
            if line.startswith("{"):
                out.write(line + "\n")
            else:
                dropped += 1
                print("dropped:", line, file=sys.stderr)
    print(f"{args.count - dropped} conversations written, {dropped} dropped", file=sys.stderr)


if __name__ == "__main__":
    main()
