"""Runs the Lua travel environment from Python, on an in-memory SQLite database.

The host inside ponder gives the environment the same: `db.exec`, `db.sql`, and `ctx` for tools.
"""

import json
import pathlib
import sqlite3

from lupa import lua54

LIBRARY = pathlib.Path(__file__).resolve().parents[2] / "tools" / "library"

_SANDBOX = """
local read_module = ...
local allowed = {
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, pcall = pcall,
  rawequal = rawequal, rawget = rawget, rawlen = rawlen, rawset = rawset, select = select,
  setmetatable = setmetatable,
  getmetatable = getmetatable, tonumber = tonumber, tostring = tostring, type = type,
  math = math, string = string, table = table, utf8 = utf8,
}
local loaded = {}
function allowed.require(name)
  if loaded[name] == nil then
    local env = setmetatable({}, {
      __index = allowed,
      __newindex = function(_, key) error("global " .. key .. " assigned in " .. name, 2) end,
    })
    loaded[name] = assert(load(read_module(name), "@" .. name, "t", env))()
  end
  return loaded[name]
end
return allowed.require
"""


def _read_module(name):
    path = (LIBRARY / (name.replace(".", "/") + ".lua")).resolve()
    if LIBRARY not in path.parents:
        raise ValueError(f"module {name} lies outside the library")
    return path.read_text()


def to_python(value):
    """Lua tables as dicts, or as lists where their keys are 1..n."""
    if lua54.lua_type(value) != "table":
        return value
    keys = list(value.keys())
    if keys and keys == list(range(1, len(keys) + 1)):
        return [to_python(value[k]) for k in keys]
    return {k: to_python(value[k]) for k in keys}


class Environment:
    """One Lua state with the environment `name` loaded."""

    def __init__(self, name="travel"):
        self.lua = lua54.LuaRuntime(unpack_returned_tuples=True, register_eval=False)
        require = self.lua.execute(_SANDBOX, _read_module)
        self.lua_env = require(name)
        self.instructions = self.lua_env.instructions
        self.tools = [self.lua_env.tools[i + 1] for i in range(len(self.lua_env.tools))]
        self.by_name = {tool.name: tool for tool in self.tools}

    def tool_schemas(self):
        """The tools as the chat format wants them."""
        return [
            {
                "type": "function",
                "function": {
                    "name": t.name,
                    "description": t.description,
                    "parameters": json.loads(t.parameters),
                },
            }
            for t in self.tools
        ]

    def database(self, seed, size="S"):
        """A fresh database as the `db` argument of the environment's functions."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.row_factory = sqlite3.Row

        def execute(sql, *values):
            connection.execute(sql, values)

        def query(sql, *values):
            rows = [self.lua.table_from(dict(row)) for row in connection.execute(sql, values)]
            return self.lua.table_from(rows)

        db = self.lua.table_from({"exec": execute, "sql": query})
        self.lua_env.build(db, seed, size)
        return db


class Session:
    """The tools of one task, as an agent meets them."""

    def __init__(self, env, db, task):
        self.env, self.db, self.task = env, db, task
        self.state = env.lua.table()
        self.ctx = env.lua.table_from({"sql": db.sql, "task": task, "state": self.state})

    def call(self, name, arguments):
        """The text that the model sees as the tool's result."""
        result = self.env.by_name[name].run(self.env.lua.table_from(arguments), self.ctx)
        if isinstance(result, tuple):
            result, message = result[0], result[1]
            if result is None:
                return "error: " + message
        return result

    @property
    def submitted(self):
        return self.state.submitted
