-- The calendar environment: people in several time zones, rooms, and a week that is half full.
-- Meetings must be found a place that keeps every rule of the request; or the agent must say that
-- there is none, and who stands in the way.

local solver = require("calendar.solver")
local tasks = require("calendar.tasks")
local toolbox = require("calendar.toolbox")
local verifier = require("calendar.verifier")
local world = require("calendar.world")

return {
  name = "calendar",
  description = "Finds times and rooms for meetings across time zones, or proves there are none.",
  instructions = "You schedule meetings in the week from Monday " .. world.monday .. " to Friday. "
    .. "Meetings start on a quarter of an hour. Everybody who attends must be free and within "
    .. "working hours, which are in local time, for the whole meeting. A meeting has a room in the "
    .. "city of its organiser: free for the whole meeting, with a seat for each who attends from "
    .. "that city, and with video if anybody attends from another city. Nobody and no room is in "
    .. "two meetings at once. Dates and times in a request and in submit_schedule are those of "
    .. "the organiser's city. Submit a schedule; or, if no schedule is possible, declare that, and "
    .. "name a person who attends and without whom it would be possible.",
  kinds = tasks.kinds,
  answer = { noun = "schedule", file = "schedule.json", schema = '{"type": "object"}' },
  tools = toolbox,
  build = world.build,
  task = tasks.task,
  solve = solver.solve,
  oracle = tasks.oracle,
  verify = verifier.verify,
}
