-- Puts a task into words. Seeds of one million and more use words that lower seeds never do.

local dates = require("ponder.dates")
local random = require("ponder.random")
local world = require("calendar.world")

local wording = {}

local held_out_from = 1000000

local function usable(rng, list, held_out)
  local open = {}
  for i, item in ipairs(list) do
    if held_out or i % 4 ~= 0 then open[#open + 1] = item end
  end
  return rng:pick(open)
end

local openings = {
  "{O} needs a meeting with {P}: {T}, {M} minutes ({I}).",
  "Please find a time for {T} ({I}): {M} minutes, organised by {O}, with {P}.",
  "{I}: {T}, {M} minutes. Organiser {O}; also {P}.",
  "Can you schedule {T} ({I})? {O} organises, {P} must come, and it takes {M} minutes.",
}

local clauses = {
  not_on = {
    "{I} cannot be on {X}.",
    "Not on {X} for {I}, please.",
    "Any day but {X} for {I}.",
    "{X} is out for {I}.",
  },
  after = {
    "{I} starts at {X} or later.",
    "Not before {X} for {I}.",
    "{I} must not start before {X}.",
    "The earliest start of {I} is {X}.",
  },
  before = {
    "{I} must be over by {X}.",
    "{I} ends at {X} at the latest.",
    "Please finish {I} by {X}.",
    "{X} is the latest end of {I}.",
  },
  friday_by = {
    "If {I} falls on Friday, it must end by {X}.",
    "Should {I} be on a Friday: done by {X}.",
    "On Friday {I} has to be over by {X}; other days are free of that.",
    "{I} may be on Friday only if it ends by {X}.",
  },
  gap_after = {
    "{I} comes after {B}, with at least {X} minutes between them.",
    "Leave {X} minutes or more after {B} before {I} begins.",
    "{I} begins {X} minutes after the end of {B} at the earliest.",
    "Between the end of {B} and the start of {I} lie {X} minutes at least.",
  },
  earliest = {
    "Make it as early in the week as possible.",
    "The earliest possible start counts.",
    "As soon as it can be.",
    "We want the very first time that works.",
  },
}

local order = { "not_on", "after", "before", "friday_by", "gap_after" }

local function joined(rng, names)
  local list = rng:shuffle(table.move(names, 1, #names, 1, {}))
  local last = table.remove(list)
  return #list == 0 and last or table.concat(list, ", ") .. " and " .. last
end

local function value_text(name, value)
  if name == "not_on" then return dates.weekday_names[value + 1] end
  if name == "gap_after" then return tostring(value) end
  return world.clock(value)
end

function wording.render(task)
  local held_out = task.seed >= held_out_from
  local rng = random.stream("calendar wording", task.seed)
  local words = {}
  local before
  for _, meeting in ipairs(task.meetings) do
    local guests = {}
    for _, name in ipairs(meeting.people) do
      if name ~= meeting.organiser then guests[#guests + 1] = name end
    end
    local slots = {
      O = meeting.organiser,
      P = joined(rng, guests),
      T = meeting.title,
      M = tostring(meeting.minutes),
      I = meeting.id,
      B = before,
    }
    words[#words + 1] = usable(rng, openings, held_out):gsub("{(%u)}", slots)
    for _, name in ipairs(order) do
      if meeting[name] then
        slots.X = value_text(name, meeting[name])
        words[#words + 1] = usable(rng, clauses[name], held_out):gsub("{(%u)}", slots)
      end
    end
    before = meeting.id
  end
  if task.earliest then words[#words + 1] = usable(rng, clauses.earliest, held_out) end
  return table.concat(words, " ")
end

return wording
