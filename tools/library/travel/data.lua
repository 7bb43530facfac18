-- Reading the world: every module and every tool sees the database through these functions. `sql`
-- is the query function of the host: sql(text, ...) -> array of row tables.

local geography = require("travel.geography")
local random = require("ponder.random")

local data = {}

local near_limit = 5

function data.cities(sql)
  local list = {}
  for _, row in ipairs(sql("SELECT name FROM cities ORDER BY rowid")) do
    list[#list + 1] = row.name
  end
  return list
end

function data.city(sql, name)
  return sql("SELECT name, lat, lon, province FROM cities WHERE name = ?", name)[1]
end

-- The places of a city in the order of the lists that the tools show.
function data.hotels(sql, city)
  return sql("SELECT name, price, rating FROM hotels WHERE city = ? ORDER BY id", city)
end

function data.restaurants(sql, city)
  return sql("SELECT name, price, rating FROM restaurants WHERE city = ? ORDER BY id", city)
end

function data.attractions(sql, city)
  return sql(
    "SELECT name, ticket AS price, rating FROM attractions WHERE city = ? ORDER BY id",
    city
  )
end

function data.hotel(sql, name)
  return sql("SELECT city, name, price, rating, breakfast FROM hotels WHERE name = ?", name)[1]
end

function data.restaurant(sql, name)
  return sql("SELECT city, name, price, rating, cuisine FROM restaurants WHERE name = ?", name)[1]
end

function data.attraction(sql, name)
  return sql(
    "SELECT city, name, ticket, ticket AS price, rating, hours FROM attractions WHERE name = ?",
    name
  )[1]
end

-- The train between two known cities.
function data.train(sql, from, to)
  local a, b = data.city(sql, from), data.city(sql, to)
  local km = geography.distance_km(a.lat, a.lon, b.lat, b.lon)
  local minutes, price = geography.train(km)
  return { city = to, km = km, minutes = minutes, price = price }
end

-- The nearest cities with their trains, nearest first.
function data.near(sql, from)
  local origin, list = data.city(sql, from), {}
  for _, row in
    ipairs(sql("SELECT name, lat, lon FROM cities WHERE name <> ? ORDER BY rowid", from))
  do
    local km = geography.distance_km(origin.lat, origin.lon, row.lat, row.lon)
    local minutes, price = geography.train(km)
    list[#list + 1] = { city = row.name, km = km, minutes = minutes, price = price }
  end
  table.sort(list, function(a, b)
    if a.km ~= b.km then return a.km < b.km end
    return a.city < b.city
  end)
  return table.move(list, 1, math.min(near_limit, #list), 1, {})
end

local function meta(sql, key)
  return sql("SELECT value FROM meta WHERE key = ?", key)[1].value
end

function data.seed(sql) return tonumber(meta(sql, "seed")) end

function data.size(sql) return meta(sql, "size") end

local skies = { "sunny", "sunny", "cloudy", "cloudy", "rain" }

-- Weather is a function of the seed, the city and the date; nothing is stored.
function data.weather(sql, city, date)
  local h = random.hash("weather", data.seed(sql), city, date)
  return { sky = skies[1 + h % #skies], degrees = 8 + (h >> 8) % 22 }
end

-- A taxi ride inside a city.
function data.ride(sql, from, to)
  local low, high = from, to
  if high < low then
    low, high = high, low
  end
  local km = 2 + random.hash("ride", data.seed(sql), low, high) % 14
  return { km = km, minutes = 5 + km * 3, price = 10 + km * 2 }
end

return data
