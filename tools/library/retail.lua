-- The retail environment: a shop's order support. Customers, orders and stock stand in a database
-- that the tools change; a policy says what may be done for whom. A case is judged by the state
-- that the database is left in, and by the word it is closed with: what the policy allows must be
-- done, to the coin, and nothing else, however the customer asks.

local policy = require("retail.policy")
local tasks = require("retail.tasks")
local toolbox = require("retail.toolbox")
local verifier = require("retail.verifier")
local world = require("retail.world")

return {
  name = "retail",
  description = "Order support with a policy: cancel, return, exchange, refuse.",
  instructions = policy.text,
  kinds = tasks.kinds,
  answer = {
    noun = "closing of the case",
    file = "case.json",
    schema = '{"type": "object", "required": ["outcome"]}',
  },
  tools = toolbox,
  build = world.build,
  task = tasks.task,
  prepare = verifier.prepare,
  oracle = tasks.oracle,
  verify = verifier.verify,
}
