-- The analyst environment: a shop chain's sales as a star schema, questions with one right answer,
-- and a tool that runs read-only SQL. The verifier runs the question's own query and compares.

local tasks = require("analyst.tasks")
local toolbox = require("analyst.toolbox")
local verifier = require("analyst.verifier")
local world = require("analyst.world")

return {
  name = "analyst",
  description = "Answers questions about a chain's sales with SQL.",
  instructions = "You are a data analyst. The data stands in an SQLite database as a star schema: "
    .. "look at the tables and their notes, query them with run_sql, and submit the answer as rows "
    .. "of values, in the columns and the order that the question asks for. Revenue is quantity "
    .. "times unit price less the discount, in cents. Cancelled sales never count.",
  kinds = tasks.kinds,
  answer = {
    noun = "answer",
    file = "answer.json",
    schema = '{"type": "array", "items": {"type": "array"}}',
  },
  tools = toolbox,
  build = world.build,
  task = tasks.task,
  oracle = tasks.oracle,
  verify = verifier.verify,
}
