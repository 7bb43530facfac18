-- Which schedules are right. A task's meetings are {id, title, organiser, people, minutes} and may
-- have not_on (a day), after and before (the organiser's clock), friday_by (if it is on a Friday,
-- it ends by then), gap_after (minutes that must lie between it and the end of the meeting before).
-- With earliest, no schedule may start the task's only meeting sooner.
--
-- A placement is {start = minutes of UTC, room = name} for each meeting's id.

local dates = require("ponder.dates")
local world = require("calendar.world")

local rules = {}

-- Everything that the rules ask about, read once.
function rules.load(sql)
  local book = { offsets = {}, people = {}, rooms = {}, busy = {} }
  for _, row in ipairs(sql("SELECT name, offset FROM cities")) do
    book.offsets[row.name] = row.offset
  end
  for _, row in ipairs(sql("SELECT * FROM people")) do
    row.offset = book.offsets[row.city]
    book.people[row.name] = row
  end
  for _, row in ipairs(sql("SELECT * FROM rooms ORDER BY name")) do
    book.rooms[#book.rooms + 1] = row
    book.rooms[row.name] = row
  end
  for _, row in ipairs(sql("SELECT who, start, finish FROM busy ORDER BY start")) do
    book.busy[row.who] = book.busy[row.who] or {}
    table.insert(book.busy[row.who], row)
  end
  return book
end

-- Day of the week (from 0) and minute of the day, in a place `offset` minutes east of UTC.
function rules.local_time(start, offset)
  local at = start + offset
  return at // 1440, at % 1440
end

function rules.span(start, finish, offset)
  local day, minute = rules.local_time(start, offset)
  return string.format(
    "%s to %s on %s",
    world.clock(minute),
    world.clock((finish + offset) % 1440),
    world.date(day)
  )
end

-- The first booking of `who` that overlaps, or nil.
local function clash(book, who, start, finish)
  for _, booked in ipairs(book.busy[who] or {}) do
    if booked.start < finish and start < booked.finish then return booked end
  end
  return nil
end

-- Why a person cannot attend, or nil.
function rules.person_conflict(book, name, start, minutes)
  local person = book.people[name]
  local day, minute = rules.local_time(start, person.offset)
  if day < 0 or day >= world.days or minute < person.work_start
    or minute + minutes > person.work_end then
    return string.format(
      "%s works %s to %s in %s, the meeting is %s there",
      name,
      world.clock(person.work_start),
      world.clock(person.work_end),
      person.city,
      rules.span(start, start + minutes, person.offset)
    )
  end
  local booked = clash(book, name, start, start + minutes)
  if not booked then return nil end
  return string.format(
    "%s is busy %s (%s), the meeting is %s there",
    name,
    rules.span(booked.start, booked.finish, person.offset),
    person.city,
    rules.span(start, start + minutes, person.offset)
  )
end

-- Why the clock of the organiser forbids a start, or nil.
function rules.clock_conflict(book, meeting, start)
  local offset = book.people[meeting.organiser].offset
  local day, minute = rules.local_time(start, offset)
  if meeting.not_on and day == meeting.not_on then
    return "it is on " .. dates.weekday_names[day + 1] .. ", which is excluded"
  end
  if meeting.after and minute < meeting.after then
    return string.format(
      "it starts at %s, must not before %s",
      world.clock(minute),
      world.clock(meeting.after)
    )
  end
  local finish = minute + meeting.minutes
  if meeting.before and finish > meeting.before then
    return "it ends at " .. world.clock(finish) .. ", must by " .. world.clock(meeting.before)
  end
  if meeting.friday_by and day == 4 and finish > meeting.friday_by then
    return "on Friday it ends at "
      .. world.clock(finish)
      .. ", must by "
      .. world.clock(meeting.friday_by)
  end
  return nil
end

-- How many attend from the organiser's city, and whether anybody attends from another.
local function attendance(book, meeting)
  local city, here = book.people[meeting.organiser].city, 0
  for _, name in ipairs(meeting.people) do
    if book.people[name].city == city then here = here + 1 end
  end
  return city, here, here < #meeting.people
end

-- Why a room does not do, or nil.
function rules.room_conflict(book, meeting, room, start)
  local city, here, is_remote = attendance(book, meeting)
  if room.city ~= city then
    return string.format("room %s is in %s, must be in %s", room.name, room.city, city)
  end
  if room.seats < here then
    return string.format("room %s seats %d, %d attend from %s", room.name, room.seats, here, city)
  end
  if is_remote and room.video == 0 then
    return "room " .. room.name .. " has no video, and somebody attends from another city"
  end
  local booked = clash(book, room.name, start, start + meeting.minutes)
  if not booked then return nil end
  local offset = book.offsets[city]
  local when = rules.span(booked.start, booked.finish, offset)
  return string.format("room %s is booked %s", room.name, when)
end

-- Why two placed meetings do not go together, or nil. `first` stands before `second` in the task.
function rules.pair_conflict(first, second, one, other)
  local first_end, second_end = one.start + first.minutes, other.start + second.minutes
  if second.gap_after and other.start < first_end + second.gap_after then
    return string.format(
      "%s starts %d minutes after the end of %s, must %d at least",
      second.id,
      other.start - first_end,
      first.id,
      second.gap_after
    )
  end
  if one.start >= second_end or other.start >= first_end then return nil end
  if one.room == other.room then return first.id .. " and " .. second.id .. " share a room" end
  for _, name in ipairs(first.people) do
    for _, another in ipairs(second.people) do
      if name == another then
        return name .. " is in " .. first.id .. " and " .. second.id .. " at once"
      end
    end
  end
  return nil
end

return rules
