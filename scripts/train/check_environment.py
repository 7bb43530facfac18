#!/usr/bin/env python3
"""Checks the travel environment and its expert against each other; says what it checked.

    check_environment.py [--count 2000] [--seed 500000]

For `count` tasks of every kind, in training worlds and in evaluation worlds: the expert's plan
verifies (or the solver proves that there is none), the request's words mean the task, the artefacts
come out the same twice. For a few of them the solver is compared with trying every plan.
"""

import argparse
import itertools
import json
import multiprocessing

from generate import FIRST_EVALUATION_SEED, MIX, Generator
from harness import to_python

TASK_KINDS = [kind for kind in MIX if kind not in ("dialogue", "slip")]
SAME = ("days", "origin", "cities", "start_date", "constraints", "draft")
TRIED_EVERY = 40  # one task in so many is solved by brute force


def check_words(generator, task, db):
    drawn = to_python(task)
    read = to_python(generator.env.lua_env.parse_request(task.text, db))
    assert not read["not_understood"], f"{drawn['text']!r}: {read['not_understood']}"
    for field in SAME:
        same = (drawn.get(field) or None) == (read.get(field) or None)
        assert same, f"{drawn['text']!r}: {field}"


def check_artefacts(generator, task, db):
    lua = generator.env.lua_env
    plan, _ = lua.solve(task, db)
    files = [to_python(lua.artefacts(task, plan, db, None)) for _ in range(2)]
    assert files[0] == files[1]
    days = json.loads(files[0]["itinerary.json"])
    assert len(days) == task.days and json.loads(files[0]["proof.json"])["ok"]


def every_last_day(generator, task, db, plan):
    """The least cost of a right plan that is `plan` but for the places of its last day."""
    sql, last = db.sql, to_python(plan)[-1]
    tables = ("hotels", "restaurants", "attractions", "restaurants")
    fields = ("hotel", "afternoon_restaurant", "afternoon_attraction", "evening_restaurant")
    lists = [to_python(sql(f"SELECT name FROM {t} WHERE city = ?", last["city"])) for t in tables]
    best = None
    for places in itertools.product(*lists):
        for field, place in zip(fields, places):
            plan[task.days][field] = place["name"]
        verdict = generator.env.lua_env.verify(task, plan, db)
        if verdict.ok and (best is None or verdict.total < best):
            best = verdict.total
    return best


def check_solver(generator, task, db):
    plan, cost = generator.env.lua_env.solve(task, db)
    best = every_last_day(generator, task, db, plan)
    assert best == cost, f"{task.id}: the solver says {cost}, trying every plan {best}"


def check(job):
    kind, seed = job
    generator = check.generator = getattr(check, "generator", None) or Generator()
    try:
        generator.trip(kind, seed)
        db = generator.database(seed)
        task = generator.env.lua_env.task(seed, db, kind)
        check_words(generator, task, db)
        if kind != "impossible":
            check_artefacts(generator, task, db)
            if seed % TRIED_EVERY == 0:
                check_solver(generator, task, db)
    except AssertionError as error:
        return f"{kind} {seed}: {error}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="tasks of every kind")
    parser.add_argument("--seed", type=int, default=500_000)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    seeds = range(args.seed, args.seed + args.count)
    jobs = [
        (kind, seed + (FIRST_EVALUATION_SEED if seed % 20 >= 10 else 0))
        for seed in seeds
        for kind in TASK_KINDS
    ]
    with multiprocessing.Pool(args.processes) as pool:
        results = pool.imap_unordered(check, jobs, 16 * len(TASK_KINDS))
        faults = [fault for fault in results if fault]
    for fault in faults[:20]:
        print("FAIL", fault)
    print(f"{len(jobs)} tasks of {len(TASK_KINDS)} kinds checked, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
