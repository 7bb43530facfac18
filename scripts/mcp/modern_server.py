"""A server of protocol 2026-07-28 on the official Python SDK, for scripts/mcp_servers.

usage: modern_server.py stdio
       modern_server.py PORT      Streamable HTTP on 127.0.0.1
"""
import sys
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel, Field

server = MCPServer("modern", version="1")


class Guest(BaseModel):
    name: str = Field(description="Who comes?")
    plates: int = 2


async def guest() -> Elicit[Guest]:
    return Elicit("Who is invited?", Guest)


@server.tool()
async def invite(dish: str, guest: Annotated[Guest, Resolve(guest)]) -> str:
    """Invites somebody, after asking whom."""
    return f"{guest.plates} plates of {dish} for {guest.name}"


@server.tool()
async def count(to: int, ctx: Context) -> dict[str, int]:
    """Counts, and says how far it is."""
    for step in range(1, to + 1):
        await ctx.report_progress(step, to, f"at {step}")
    return {"reached": to}


@server.resource("memo://today")
def memo() -> str:
    """What to do today."""
    return "buy milk"


@server.prompt()
def greet(who: str) -> str:
    """Greets."""
    return f"Say hello to {who}."


if sys.argv[1] == "stdio":
    server.run("stdio")
else:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
