-- Judges what was submitted: a schedule, or the claim that there is none.

local rules = require("calendar.rules")
local solver = require("calendar.solver")
local world = require("calendar.world")

local verifier = {}

-- The placement that one line of an answer states, or nil and what is wrong with it.
local function placement(book, meeting, said)
  local day, minute = world.day(tostring(said.date)), world.minutes(said.start)
  if not day then return nil, "the date " .. tostring(said.date) .. " is none" end
  if not minute then return nil, "the start " .. tostring(said.start) .. " is no time as 09:30" end
  if minute % world.quarter ~= 0 then
    return nil, said.start .. " is not on a quarter of an hour"
  end
  if not book.rooms[said.room] then return nil, "there is no room " .. tostring(said.room) end
  local offset = book.people[meeting.organiser].offset
  return { start = day * 1440 + minute - offset, room = said.room }
end

-- Adds what is wrong with one meeting in its place.
local function check_meeting(book, meeting, place, violate)
  for _, name in ipairs(meeting.people) do
    local conflict = rules.person_conflict(book, name, place.start, meeting.minutes)
    if conflict then violate("people", meeting.id .. ": " .. conflict) end
  end
  local conflict = rules.clock_conflict(book, meeting, place.start)
  if conflict then violate("clock", meeting.id .. ": " .. conflict) end
  conflict = rules.room_conflict(book, meeting, book.rooms[place.room], place.start)
  if conflict then violate("room", meeting.id .. ": " .. conflict) end
end

local function said_of(answer, id)
  for _, said in ipairs(answer.meetings) do
    if type(said) == "table" and said.meeting == id then return said end
  end
  return nil
end

local function check_schedule(task, answer, book, violate, proof)
  local places = {}
  for i, meeting in ipairs(task.meetings) do
    local said = said_of(answer, meeting.id)
    local place, problem
    if said then
      place, problem = placement(book, meeting, said)
    else
      problem = "it has no place in the schedule"
    end
    if problem then
      violate("form", meeting.id .. ": " .. problem)
    else
      check_meeting(book, meeting, place, violate)
      for k = 1, i - 1 do
        local before = task.meetings[k]
        local conflict = places[k] and rules.pair_conflict(before, meeting, places[k], place)
        if conflict then violate("together", conflict) end
      end
      places[i] = place
      local offset = book.people[meeting.organiser].offset
      local when = rules.span(place.start, place.start + meeting.minutes, offset)
      proof[#proof + 1] =
        { constraint = "meeting", id = meeting.id, when = when, room = place.room }
    end
  end
  return places
end

-- {ok, violations, proof}. Whether a schedule could be earlier, or is impossible, is for the solver
-- to say.
function verifier.verify(task, answer, db)
  local book = rules.load(db.sql)
  local violations, proof = {}, {}
  local function violate(constraint, message)
    violations[#violations + 1] = { constraint = constraint, message = message }
  end
  if answer.impossible_without then
    local name = tostring(answer.impossible_without)
    local conflict = solver.blame_conflict(task, book, name)
    if conflict then violate("impossible", conflict) end
    proof[#proof + 1] = { constraint = "impossible", without = name }
  elseif type(answer.meetings) ~= "table" then
    violate("form", "it has neither meetings nor impossible_without")
  else
    local places = check_schedule(task, answer, book, violate, proof)
    if task.earliest and #violations == 0 then
      local best = solver.place(task, book)
      local late = places[1].start - best[1].start
      if late > 0 then
        violate("earliest", task.meetings[1].id .. " could start " .. late .. " minutes earlier")
      end
    end
  end
  return { ok = #violations == 0, violations = violations, proof = proof }
end

return verifier
