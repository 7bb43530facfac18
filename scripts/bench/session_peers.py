"""Runs the script of scripts/bench/sessions, without its delays, on other orchestrators with durable
state in SQLite: see scripts/bench/session_peers."""

import argparse
import asyncio
import json
import logging
import os
import tempfile
import time
from importlib.metadata import version

REASONING = (
    "The question needs two facts that the tools can give; both are asked for at the same time, "
    "and what they say decides the next step. Nothing known so far makes either of them "
    "unnecessary, and neither depends on the other."
)
FACT = (
    "The entry was found. It has a name, a place and a date, and three remarks that somebody wrote "
    "by hand; the second remark contradicts the first, the third says why. Whoever reads this "
    "should look at the date before anything else, for the place has changed twice since."
)


def calls_of(session, step):
    return [{"session": session, "step": step, "call": call} for call in range(2)]


def answer_to(arguments):
    return f"{FACT} asked for: {json.dumps(arguments, separators=(',', ':'))}"


class LangGraph:
    """A graph of two nodes, model and tools, whose state is written before the next node runs
    (durability "sync")."""

    name = "LangGraph"
    packages = ["langgraph", "langgraph-checkpoint-sqlite"]

    async def run(self, folder, synchronous, sessions, at_once, steps):
        import aiosqlite
        from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
        from langgraph.graph import END, START, MessagesState, StateGraph

        async def model(state, config):
            session = config["configurable"]["thread_id"]
            step = sum(1 for m in state["messages"] if m.type == "ai")
            if step == steps:
                return {"messages": [AIMessage("done")]}
            calls = [
                {"name": "lookup", "args": args, "id": f"{step}-{args['call']}"}
                for args in calls_of(int(session), step)
            ]
            return {"messages": [AIMessage(REASONING, tool_calls=calls)]}

        async def look_up(call):
            return ToolMessage(answer_to(call["args"]), tool_call_id=call["id"])

        async def tools(state):
            calls = state["messages"][-1].tool_calls
            return {"messages": await asyncio.gather(*(look_up(call) for call in calls))}

        graph = StateGraph(MessagesState)
        graph.add_node("model", model)
        graph.add_node("tools", tools)
        graph.add_edge(START, "model")
        graph.add_conditional_edges(
            "model", lambda state: "tools" if state["messages"][-1].tool_calls else END
        )
        graph.add_edge("tools", "model")
        async with aiosqlite.connect(os.path.join(folder, "langgraph.db")) as connection:
            saver = AsyncSqliteSaver(connection)
            await saver.setup()
            await connection.execute(f"PRAGMA synchronous={synchronous}")
            app = graph.compile(checkpointer=saver)

            async def session(number):
                config = {"configurable": {"thread_id": str(number)}, "recursion_limit": 1000}
                words = {"messages": [HumanMessage(f"question {number}")]}
                end = await app.ainvoke(words, config, durability="sync")
                assert end["messages"][-1].content == "done"
                assert len(end["messages"]) == 2 + 3 * steps

            return await timed(session, sessions, at_once)


class Dbos:
    """A workflow whose model requests and tool calls are steps: the outcome of each is written
    before the next begins. Its database is put into WAL mode, which is faster than its default."""

    name = "DBOS"
    packages = ["dbos"]

    async def run(self, folder, synchronous, sessions, at_once, steps):
        import sqlalchemy
        from dbos import DBOS
        from sqlalchemy import event

        def set_up(connection, _record):
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={synchronous}")

        event.listen(sqlalchemy.Engine, "connect", set_up)
        path = os.path.join(folder, "dbos.db")
        DBOS(config={"name": "load", "system_database_url": f"sqlite:///{path}",
                     "log_level": "ERROR", "run_admin_server": False})

        @DBOS.step()
        async def model(session, step):
            if step == steps:
                return {"content": "done", "calls": []}
            return {"reasoning": REASONING, "calls": calls_of(session, step)}

        @DBOS.step()
        async def look_up(arguments):
            return answer_to(arguments)

        @DBOS.workflow()
        async def turn(session):
            messages = [f"question {session}"]
            step = 0
            while True:
                answer = await model(session, step)
                messages.append(answer)
                if not answer["calls"]:
                    return len(messages)
                messages += await asyncio.gather(*(look_up(args) for args in answer["calls"]))
                step += 1

        DBOS.launch()
        try:

            async def session(number):
                handle = await DBOS.start_workflow_async(turn, number)
                assert await handle.get_result() == 2 + 3 * steps

            return await timed(session, sessions, at_once)
        finally:
            DBOS.destroy()
            event.remove(sqlalchemy.Engine, "connect", set_up)


async def timed(session, sessions, at_once):
    """Seconds for all sessions, `at_once` of them side by side."""
    numbers = iter(range(sessions))

    async def some():
        for number in numbers:
            await session(number)

    begin = time.monotonic()
    await asyncio.gather(*(some() for _ in range(at_once)))
    return time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", required=True, choices=["langgraph", "dbos"])
    parser.add_argument("--synchronous", required=True, choices=["full", "normal"])
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--at-once", type=int, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--dir", default=".")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    peer = LangGraph() if options.peer == "langgraph" else Dbos()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        seconds = asyncio.run(
            peer.run(folder, options.synchronous, options.sessions, options.at_once, options.steps)
        )
    steps = options.sessions * options.steps
    print(json.dumps({
        "who": " + ".join(f"{name} {version(name)}" for name in peer.packages),
        "at_once": options.at_once,
        "synchronous": options.synchronous,
        "steps": steps,
        "steps_per_s": round(steps / seconds, 1),
    }), flush=True)


if __name__ == "__main__":
    main()
