-- Fills an empty database with people, rooms and what is already booked. Times are minutes of UTC
-- since Monday 00:00; sizes differ in the number of people and rooms.

local dates = require("ponder.dates")
local random = require("ponder.random")

local world = {}

world.monday = "2026-04-06"
world.days = 5
world.quarter = 15

-- Cities that share enough of the day, with minutes east of UTC in that week.
local regions = {
  { { "London", 60 }, { "Berlin", 120 }, { "Dubai", 240 } },
  { { "New York", -240 }, { "Sao Paulo", -180 }, { "Lagos", 60 } },
  { { "Berlin", 120 }, { "Mumbai", 330 }, { "Nairobi", 180 } },
  { { "Tokyo", 540 }, { "Mumbai", 330 }, { "Singapore", 480 } },
  { { "Lisbon", 60 }, { "Athens", 180 }, { "Helsinki", 180 } },
}
local regions_of_size = { S = 1, M = 2, L = 3 }
local people_of_size = { S = 12, M = 36, L = 120 }

local names = {
  "Amara", "Bruno", "Chiara", "Deniz", "Emil", "Fatima", "Goran", "Hanna", "Ivan", "Jun",
  "Kofi", "Lena", "Mateo", "Nadia", "Oscar", "Priya", "Rahel", "Sven", "Tomas", "Uma", "Viktor",
  "Wanda", "Ximena", "Yusuf", "Zita", "Anouk", "Boris", "Celia", "Dmitri", "Esra", "Felix",
  "Gita", "Henrik", "Ines", "Joao", "Klara", "Luca", "Mira", "Nils", "Olena",
}
local room_names = {
  "Maple", "Cedar", "Birch", "Willow", "Aspen", "Hazel", "Rowan", "Linden", "Juniper", "Poplar",
  "Alder", "Laurel", "Myrtle", "Olive", "Spruce", "Acacia", "Cypress", "Elm",
}

local schema = {
  "CREATE TABLE cities(name TEXT PRIMARY KEY, offset INTEGER)",
  [[CREATE TABLE people(name TEXT PRIMARY KEY, city TEXT, work_start INTEGER,
    work_end INTEGER)]],
  "CREATE TABLE rooms(name TEXT PRIMARY KEY, city TEXT, seats INTEGER, video INTEGER)",
  "CREATE TABLE busy(who TEXT, start INTEGER, finish INTEGER)",
  "CREATE INDEX busy_by_who ON busy(who)",
}

-- The date of a day of the week, counted from 0; days outside the week are right too.
function world.date(day)
  if day >= 0 then return dates.add(world.monday, day) end
  return dates.add("2026-04-01", 5 + day)
end

-- The day of a date, counted from 0; nil for a text that is no date.
function world.day(date)
  return dates.valid(date) and dates.number(date) - dates.number(world.monday) or nil
end

function world.clock(minutes)
  return string.format("%02d:%02d", minutes // 60, minutes % 60)
end

-- Minutes of a clock text, or nil.
function world.minutes(clock)
  local hours, minutes = tostring(clock):match("^(%d%d):(%d%d)$")
  if not hours or tonumber(hours) > 23 or tonumber(minutes) > 59 then return nil end
  return tonumber(hours) * 60 + tonumber(minutes)
end

local function add_busy(db, rng, who, offset, from, to, least, most)
  for day = 0, world.days - 1 do
    for _ = 1, rng:int(least, most) do
      local length = rng:pick { 30, 45, 60, 60, 90, 120 }
      local slots = (to - from - length) // world.quarter
      local start = day * 1440 + from + rng:int(0, slots) * world.quarter - offset
      db.exec("INSERT INTO busy VALUES (?, ?, ?)", who, start, start + length)
    end
  end
end

local function name_of(list, index)
  local round = (index - 1) // #list
  return list[(index - 1) % #list + 1] .. (round > 0 and " " .. ("BCDEFGH"):sub(round, round) or "")
end

local function cities_of(db, seed, size)
  local rng = random.stream("calendar cities", seed)
  local list, seen = {}, {}
  local all = rng:shuffle(table.move(regions, 1, #regions, 1, {}))
  for i = 1, regions_of_size[size] do
    for _, city in ipairs(all[i]) do
      if not seen[city[1]] then
        seen[city[1]] = true
        list[#list + 1] = city
        db.exec("INSERT INTO cities VALUES (?, ?)", city[1], city[2])
      end
    end
  end
  return list
end

-- Deterministic: the same seed and size give the same database on every machine.
function world.build(db, seed, size)
  for _, sql in ipairs(schema) do
    db.exec(sql)
  end
  local cities = cities_of(db, seed, size)
  local rng = random.stream("calendar people", seed)
  local pool = rng:shuffle(table.move(names, 1, #names, 1, {}))
  for i = 1, people_of_size[size] do
    local name, city = name_of(pool, i), rng:pick(cities)
    local from = rng:pick { 480, 510, 540, 540, 600 }
    local to = from + rng:pick { 450, 480, 480, 540 }
    db.exec("INSERT INTO people VALUES (?, ?, ?, ?)", name, city[1], from, to)
    add_busy(db, rng, name, city[2], from, to, 3, 5)
  end
  local num_rooms = 0
  for _, city in ipairs(cities) do
    for i = 1, rng:int(2, 4) do
      num_rooms = num_rooms + 1
      local name = name_of(room_names, num_rooms)
      local has_video = (i == 1 or rng:chance(50)) and 1 or 0
      local seats = i == 1 and rng:int(4, 6) or rng:int(2, 12)
      db.exec("INSERT INTO rooms VALUES (?, ?, ?, ?)", name, city[1], seats, has_video)
      add_busy(db, rng, name, city[2], 480, 1140, 2, 5)
    end
  end
end

return world
