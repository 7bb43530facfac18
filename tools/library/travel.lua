-- The travel environment: a database of invented places in real cities, the tools that read it,
-- tasks with a verifier, and the artefacts of a finished trip. Everything is a pure function of its
-- arguments; `db` is {exec, sql}, given by the host.

local artefacts = require("travel.artefacts")
local oracle = require("travel.oracle")
local request = require("travel.request")
local rules = require("travel.rules")
local solver = require("travel.solver")
local tasks = require("travel.tasks")
local toolbox = require("travel.toolbox")
local world = require("travel.world")

local kinds = {}
for i, share in ipairs(tasks.kinds) do
  kinds[i] = share[1]
end

return {
  name = "travel",
  description = "Plans trips of one to three days between Chinese cities and proves them right.",
  instructions = "You plan trips. Each day has a city, a hotel, two restaurants and an "
    .. "attraction of that city. Use nothing twice. Check the plan, then submit it. If no plan "
    .. "fits, say so and do not submit.",
  kinds = kinds,
  answer = { noun = "plan", file = "itinerary.json", schema = '{"type": "array"}' },
  tools = toolbox,
  build = world.build,
  task = tasks.task,
  parse_request = request.parse,
  check = rules.check,
  verify = rules.verify,
  solve = solver.solve,
  oracle = oracle.calls,
  artefacts = artefacts.render,
}
