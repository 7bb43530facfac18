-- Exhaustive search: the starts at which everybody can attend and the clock allows it, then rooms,
-- then meetings one after the other. What it finds first is the earliest; what it does not find is
-- not there.

local rules = require("calendar.rules")
local world = require("calendar.world")

local solver = {}

-- The starts of a meeting, earliest first, each with the rooms that would do.
local function options(book, meeting)
  local list = {}
  local last = world.days * 1440 + 1440
  for start = -1440, last, world.quarter do
    local fits = not rules.clock_conflict(book, meeting, start)
    for _, name in ipairs(meeting.people) do
      fits = fits and not rules.person_conflict(book, name, start, meeting.minutes)
    end
    if fits then
      for _, room in ipairs(book.rooms) do
        if not rules.room_conflict(book, meeting, room, start) then
          list[#list + 1] = { start = start, room = room.name }
        end
      end
    end
  end
  return list
end

local function search(task, choices, index, places)
  if index > #task.meetings then return true end
  for _, place in ipairs(choices[index]) do
    local fits = true
    for k = 1, index - 1 do
      fits = fits
        and not rules.pair_conflict(task.meetings[k], task.meetings[index], places[k], place)
    end
    if fits then
      places[index] = place
      if search(task, choices, index + 1, places) then return true end
      places[index] = nil
    end
  end
  return false
end

-- A place for each of the task's meetings, the first as early as can be; or nil and the meeting
-- that has none by itself, if there is one.
function solver.place(task, book)
  local choices, places = {}, {}
  for i, meeting in ipairs(task.meetings) do
    choices[i] = options(book, meeting)
    if #choices[i] == 0 then return nil, meeting end
  end
  if search(task, choices, 1, places) then return places end
  return nil
end

local function without(list, name)
  local rest = {}
  for _, item in ipairs(list) do
    if item ~= name then rest[#rest + 1] = item end
  end
  return rest
end

-- Whether there is a schedule if `name` stays away from every meeting.
local function possible_without(task, book, name)
  local easier = { meetings = {} }
  for i, meeting in ipairs(task.meetings) do
    local copy = {}
    for key, value in pairs(meeting) do
      copy[key] = value
    end
    copy.people = without(meeting.people, name)
    easier.meetings[i] = copy
  end
  return solver.place(easier, book) ~= nil
end

local function attends(task, name)
  for _, meeting in ipairs(task.meetings) do
    for _, person in ipairs(meeting.people) do
      if person == name and name ~= meeting.organiser then return true end
    end
  end
  return false
end

-- Why it is not so that the task is impossible, and would be possible without `name`; or nil.
function solver.blame_conflict(task, book, name)
  local places = solver.place(task, book)
  if places then
    local meeting = task.meetings[1]
    local _, minute = rules.local_time(places[1].start, book.people[meeting.organiser].offset)
    return string.format(
      "a schedule is possible: %s at %s in room %s, for one",
      meeting.id,
      world.clock(minute),
      places[1].room
    )
  end
  if not attends(task, name) then return name .. " attends none of the meetings as a guest" end
  if not possible_without(task, book, name) then
    return "without " .. name .. " it would be impossible still"
  end
  return nil
end

-- Somebody without whom the task would be possible, or nil.
function solver.culprit(task, book)
  for _, meeting in ipairs(task.meetings) do
    for _, name in ipairs(meeting.people) do
      if name ~= meeting.organiser and possible_without(task, book, name) then return name end
    end
  end
  return nil
end

-- The answer that is submitted: a schedule, or who makes it impossible.
function solver.solve(task, db)
  local book = rules.load(db.sql)
  local places = solver.place(task, book)
  if not places then return { impossible_without = solver.culprit(task, book) } end
  local answer = { meetings = {} }
  for i, meeting in ipairs(task.meetings) do
    local day, minute =
      rules.local_time(places[i].start, book.people[meeting.organiser].offset)
    answer.meetings[i] = {
      meeting = meeting.id,
      date = world.date(day),
      start = world.clock(minute),
      room = places[i].room,
    }
  end
  return answer
end

return solver
