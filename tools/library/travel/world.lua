-- Fills an empty database with one invented world: real cities, and hotels, restaurants and
-- attractions drawn from the seed. Sizes differ in the length of the lists per city, not in the
-- cities.

local geography = require("travel.geography")
local names = require("travel.names")
local random = require("ponder.random")

local world = {}

-- {least, most} places of each kind per city.
local sizes = {
  S = { hotel = { 3, 5 }, restaurant = { 4, 6 }, attraction = { 3, 4 } },
  M = { hotel = { 8, 12 }, restaurant = { 10, 14 }, attraction = { 8, 10 } },
  L = { hotel = { 25, 35 }, restaurant = { 30, 40 }, attraction = { 18, 24 } },
}

local schema = {
  "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)",
  "CREATE TABLE cities(name TEXT PRIMARY KEY, lat REAL, lon REAL, province TEXT)",
  [[CREATE TABLE hotels(id INTEGER PRIMARY KEY, city TEXT, name TEXT UNIQUE,
    price INTEGER, rating REAL, breakfast TEXT)]],
  [[CREATE TABLE restaurants(id INTEGER PRIMARY KEY, city TEXT, name TEXT UNIQUE,
    price INTEGER, rating REAL, cuisine TEXT)]],
  [[CREATE TABLE attractions(id INTEGER PRIMARY KEY, city TEXT, name TEXT UNIQUE,
    ticket INTEGER, rating REAL, hours TEXT)]],
  "CREATE INDEX hotels_by_city ON hotels(city)",
  "CREATE INDEX restaurants_by_city ON restaurants(city)",
  "CREATE INDEX attractions_by_city ON attractions(city)",
}

local breakfasts = { "yes", "no" }
local cuisines =
  { "Sichuan", "Cantonese", "Hunan", "noodles", "seafood", "vegetarian", "hotpot", "local" }
local hours = { "08:00-17:00", "09:00-17:00", "09:00-18:00", "08:30-16:30", "10:00-20:00" }

local draw = {}

-- Dear hotels are a little better, so that price and rating pull against each other.
function draw.hotel(rng)
  local price = rng:int(15, 98) * 10
  local tenths = math.min(49, 30 + rng:int(0, 14) + price // 180)
  return price, tenths / 10, rng:pick(breakfasts)
end

function draw.restaurant(rng)
  local price = rng:int(6, 46) * 5
  return price, rng:int(30, 49) / 10, rng:pick(cuisines)
end

-- No ticket costs exactly 120 or 180: those are the strict limits of the day-2 rule.
function draw.attraction(rng)
  local ticket = rng:chance(8) and 0 or rng:int(2, 42) * 5
  if ticket == 120 or ticket == 180 then ticket = ticket + 5 end
  return ticket, rng:int(30, 49) / 10, rng:pick(hours)
end

local function fill(db, seed, kind, range)
  local taken, rows, values = {}, {}, {}
  local sql = "INSERT INTO " .. kind .. "s VALUES "
  local function flush()
    if #rows == 0 then return end
    db.exec(sql .. table.concat(rows, ","), table.unpack(values))
    rows, values = {}, {}
  end
  local id = 0
  for _, city in ipairs(geography.cities) do
    local rng = random.stream(seed, kind, city[1])
    for _ = 1, rng:int(range[1], range[2]) do
      id = id + 1
      rows[#rows + 1] = "(?,?,?,?,?,?)"
      local cost, rating, extra = draw[kind](rng)
      local name = names.draw(rng, seed, kind, taken)
      for _, value in ipairs { id, city[1], name, cost, rating, extra } do
        values[#values + 1] = value
      end
    end
    if #rows >= 20 then flush() end
  end
  flush()
end

-- Deterministic: the same seed and size give the same database on every machine.
function world.build(db, seed, size)
  local ranges = sizes[size]
  if not ranges then error("unknown size '" .. tostring(size) .. "': use S, M or L") end
  for _, sql in ipairs(schema) do
    db.exec(sql)
  end
  db.exec("INSERT INTO meta VALUES ('seed', ?), ('size', ?)", tostring(seed), size)
  for _, city in ipairs(geography.cities) do
    db.exec("INSERT INTO cities VALUES (?,?,?,?)", table.unpack(city))
  end
  for _, kind in ipairs { "hotel", "restaurant", "attraction" } do
    fill(db, seed, kind, ranges[kind])
  end
end

return world
