-- Draws tasks of every kind from a seed, each checked by the solver: all but the impossible ones
-- have a schedule, and those have somebody who stands in the way.

local kinds = require("ponder.kinds")
local random = require("ponder.random")
local rules = require("calendar.rules")
local solver = require("calendar.solver")
local wording = require("calendar.wording")

local tasks = {}

local shares = {
  { "single", 22 },
  { "earliest", 22 },
  { "conditional", 18 },
  { "series", 26 },
  { "impossible", 12 },
}

tasks.kinds = {}
for i, share in ipairs(shares) do
  tasks.kinds[i] = share[1]
end

local titles = {
  "a design review", "the budget talk", "a hiring round", "the launch plan", "a retrospective",
  "the quarterly numbers", "a customer call", "the security review", "a planning session",
}

-- Some colleagues of one region, drawn from the world.
local function draw_people(rng, names, count)
  local pool = rng:shuffle(table.move(names, 1, #names, 1, {}))
  return table.move(pool, 1, count, 1, {})
end

local draw = {
  not_on = function(rng) return rng:int(0, 4) end,
  after = function(rng) return rng:int(18, 30) * 30 end,
  before = function(rng) return rng:int(22, 34) * 30 end,
  friday_by = function(rng) return rng:int(20, 28) * 30 end,
}

local function draw_meeting(rng, names, id, num_people, limits)
  local people = draw_people(rng, names, num_people)
  local meeting = {
    id = id,
    title = rng:pick(titles),
    organiser = people[1],
    people = people,
    minutes = rng:pick { 30, 45, 60, 60, 90 },
  }
  for _, name in ipairs(limits) do
    meeting[name] = draw[name](rng)
  end
  return meeting
end

local function some_of(rng, list, least, most)
  local pool = rng:shuffle(table.move(list, 1, #list, 1, {}))
  return table.move(pool, 1, rng:int(least, most), 1, {})
end

local plain = { "not_on", "after", "before" }
local ids = { "M1", "M2", "M3" }
local shape = {}

function shape.single(rng, names, task)
  local limits = some_of(rng, plain, 1, 2)
  task.meetings = { draw_meeting(rng, names, "M1", rng:int(2, 3), limits) }
end

function shape.earliest(rng, names, task)
  task.earliest = true
  task.meetings = { draw_meeting(rng, names, "M1", rng:int(2, 4), some_of(rng, plain, 0, 2)) }
end

function shape.conditional(rng, names, task)
  local limits = some_of(rng, plain, 1, 1)
  limits[#limits + 1] = "friday_by"
  task.meetings = { draw_meeting(rng, names, "M1", rng:int(3, 4), limits) }
  -- The other days are made hard, so that Friday and its condition come into play.
  task.meetings[1].not_on = rng:int(0, 3)
  task.earliest = rng:chance(30)
end

function shape.series(rng, names, task)
  task.meetings = {}
  local pool = draw_people(rng, names, 5) -- so that they meet again
  for i = 1, rng:int(2, 3) do
    local meeting = draw_meeting(rng, pool, ids[i], rng:int(2, 3), some_of(rng, plain, 0, 1))
    if i > 1 and rng:chance(70) then meeting.gap_after = rng:int(1, 8) * 30 end
    task.meetings[i] = meeting
  end
end

function shape.impossible(rng, names, task)
  local limits = some_of(rng, plain, 1, 3)
  task.meetings = { draw_meeting(rng, names, "M1", rng:int(3, 5), limits) }
end

-- People whose cities lie in one region: others hardly share an hour.
local function colleagues(rng, book)
  local first = rng:pick(book.names)
  local names = {}
  for _, name in ipairs(book.names) do
    local distance = math.abs(book.people[name].offset - book.people[first].offset)
    if distance <= 330 then names[#names + 1] = name end
  end
  return names
end

local function effort(task)
  local sum = 0
  for _, meeting in ipairs(task.meetings) do
    sum = sum + #meeting.people
    for _, name in ipairs { "not_on", "after", "before", "friday_by", "gap_after" } do
      if meeting[name] then sum = sum + 1 end
    end
  end
  return sum + (task.earliest and 2 or 0)
end

local function settle(task, book)
  local places = solver.place(task, book)
  if task.kind ~= "impossible" then return places ~= nil end
  return not places and solver.culprit(task, book) ~= nil
end

-- The task of `seed` on the database behind `db`; `kind` overrules the drawn kind.
function tasks.task(seed, db, kind)
  kind = kind or random.stream("calendar kind", seed):weighted(shares)
  kinds.expect(shape, kind)
  local book = rules.load(db.sql)
  book.names = {}
  for name in pairs(book.people) do
    book.names[#book.names + 1] = name
  end
  table.sort(book.names)
  for attempt = 1, 1000 do
    local rng = random.stream("calendar task", seed, kind, attempt)
    local task = { id = "calendar-" .. kind .. "-" .. seed, kind = kind, seed = seed }
    local names = colleagues(rng, book)
    if #names >= 5 then
      shape[kind](rng, names, task)
      if settle(task, book) then
        task.effort = effort(task)
        task.difficulty = task.effort <= 4 and 1 or task.effort <= 7 and 2 or 3
        task.text = wording.render(task)
        return task
      end
    end
  end
  error("no task of kind " .. kind .. " for seed " .. seed)
end

-- Reads what a person would have to read, then submits what the solver found.
function tasks.oracle(task, db)
  local book = rules.load(db.sql)
  local calls = { { tool = "list_people", arguments = {} } }
  for _, meeting in ipairs(task.meetings) do
    local city = book.people[meeting.organiser].city
    calls[#calls + 1] = { tool = "list_rooms", arguments = { city = city } }
  end
  local answer = solver.solve(task, db)
  for i, said in ipairs(answer.meetings or {}) do
    for _, name in ipairs(task.meetings[i].people) do
      calls[#calls + 1] = { tool = "get_busy", arguments = { who = name, date = said.date } }
    end
  end
  if answer.impossible_without then
    local arguments = { person = answer.impossible_without }
    calls[#calls + 1] = { tool = "declare_impossible", arguments = arguments }
  else
    calls[#calls + 1] = { tool = "submit_schedule", arguments = answer }
  end
  return calls
end

return tasks
