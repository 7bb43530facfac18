-- The rules of a trip: which plans are right, and the numbers that prove it or speak against it.
--
-- A task's constraints: hotel_max, hotel_rating_min, restaurant_max, restaurant_rating_min,
-- ticket_max, total_max, dry (no rain on any day), conditional (the day-2 rule). All limits include
-- their bound; those of the day-2 rule ("under") do not.

local data = require("travel.data")
local dates = require("ponder.dates")

local rules = {}

local labels = {
  hotel = "hotel",
  afternoon_restaurant = "afternoon restaurant",
  afternoon_attraction = "attraction",
  evening_restaurant = "evening restaurant",
}
local order = { "hotel", "afternoon_restaurant", "afternoon_attraction", "evening_restaurant" }
local finders = {
  hotel = data.hotel,
  afternoon_restaurant = data.restaurant,
  evening_restaurant = data.restaurant,
  afternoon_attraction = data.attraction,
}
-- The tools whose results show a place and its values.
local sources = {
  hotel = "get_all_hotels_by_city",
  afternoon_restaurant = "get_all_restaurants_by_city",
  evening_restaurant = "get_all_restaurants_by_city",
  afternoon_attraction = "get_all_attractions_by_city",
}

-- The limits that a field's place must meet: {constraint, column, bound, is_minimum}.
function rules.limits(constraints, field)
  local c, list = constraints, {}
  local function add(name, column, minimum)
    if c[name] then
      list[#list + 1] = { constraint = name, column = column, bound = c[name], minimum = minimum }
    end
  end
  if field == "hotel" then
    add("hotel_max", "price")
    add("hotel_rating_min", "rating", true)
  elseif field == "afternoon_attraction" then
    add("ticket_max", "price")
  else
    add("restaurant_max", "price")
    add("restaurant_rating_min", "rating", true)
  end
  return list
end

function rules.fits(constraints, field, place)
  for _, limit in ipairs(rules.limits(constraints, field)) do
    local value = place[limit.column]
    if limit.minimum and value < limit.bound or not limit.minimum and value > limit.bound then
      return false
    end
  end
  return true
end

-- What the day-2 rule demands at a hotel price: {rated, rating, ticket_under, meals_under}, or nil
-- below 200. `rated` is the number of restaurants that must have the rating.
function rules.band(hotel_price)
  if hotel_price >= 800 then
    return { rated = 2, rating = 4.0, ticket_under = 120, meals_under = 350 }
  end
  if hotel_price >= 500 then return { rated = 1, rating = 4.0, ticket_under = 180 } end
  if hotel_price >= 200 then return { rated = 1, rating = 3.2 } end
  return nil
end

-- Two restaurants and an attraction against the band of their hotel: nil, or the broken demand in
-- words.
function rules.band_conflict(hotel, first, second, attraction)
  local band = rules.band(hotel.price)
  if not band then return nil end
  local rated = (first.rating >= band.rating and 1 or 0) + (second.rating >= band.rating and 1 or 0)
  if rated < band.rated then
    return string.format(
      "needs %s rated %.1f, has %.1f and %.1f",
      band.rated == 2 and "both meals" or "one meal",
      band.rating,
      first.rating,
      second.rating
    )
  end
  if band.meals_under and first.price + second.price >= band.meals_under then
    return string.format(
      "meals %d + %d = %d, must be under %d",
      first.price,
      second.price,
      first.price + second.price,
      band.meals_under
    )
  end
  if band.ticket_under and attraction.price >= band.ticket_under then
    return string.format("ticket %d, must be under %d", attraction.price, band.ticket_under)
  end
  return nil
end

local function number(column, value)
  return column == "rating" and string.format("%.1f", value) or string.format("%d", value)
end

-- State of one walk over a plan.
local Walk = {}
Walk.__index = Walk

function Walk:violate(day, constraint, format, ...)
  self.violations[#self.violations + 1] =
    { day = day, constraint = constraint, message = string.format(format, ...) }
end

function Walk:prove(day, constraint, values, source)
  self.proof[#self.proof + 1] =
    { day = day, constraint = constraint, values = values, source = source }
end

function Walk:check_city(index, day)
  local task, city = self.task, day.city
  if not data.city(self.sql, city) then
    self:violate(index, "known_city", "day %d: unknown city %s", index, city)
    return
  end
  local named = task.cities and task.cities[index]
  if named and named ~= city then
    self:violate(index, "named_city", "day %d: city %s, must be %s", index, city, named)
  end
  if city == task.origin then
    self:violate(index, "leave_origin", "day %d: city %s is where the trip starts", index, city)
  end
  if self.used[city] then
    self:violate(index, "no_repeat", "day %d: city %s is used twice", index, city)
  end
  self.used[city] = true
  self:prove(index, "city", { city = city }, "get_all_cities()")
  if task.constraints.dry then
    local weather = data.weather(self.sql, city, day.time)
    if weather.sky == "rain" then
      self:violate(index, "dry", "day %d: rain in %s on %s", index, city, day.time)
    end
    self:prove(
      index,
      "dry",
      { sky = weather.sky, date = day.time },
      "get_weather_by_city_date(" .. city .. ", " .. day.time .. ")"
    )
  end
end

function Walk:check_place(index, day, field)
  local name, label = day[field], labels[field]
  local place = finders[field](self.sql, name)
  if not place then
    self:violate(index, "known_place", "day %d: unknown %s %s", index, label, name)
    return nil
  end
  if place.city ~= day.city then
    self:violate(
      index,
      "same_city",
      "day %d: %s %s is in %s, not in %s",
      index,
      label,
      name,
      place.city,
      day.city
    )
  end
  if self.used[name] then
    self:violate(index, "no_repeat", "day %d: %s %s is used twice", index, label, name)
  end
  self.used[name] = true
  local source = sources[field] .. "(" .. place.city .. ")"
  self:prove(
    index,
    "place",
    { field = field, name = name, city = place.city, price = place.price },
    source
  )
  for _, limit in ipairs(rules.limits(self.task.constraints, field)) do
    local value = place[limit.column]
    if limit.minimum and value < limit.bound or not limit.minimum and value > limit.bound then
      self:violate(
        index,
        limit.constraint,
        "day %d: %s %s %s %s, limit %s",
        index,
        label,
        name,
        limit.column == "rating" and "rated" or "costs",
        number(limit.column, value),
        number(limit.column, limit.bound)
      )
    end
    self:prove(index, limit.constraint, { name = name, value = value, bound = limit.bound }, source)
  end
  return place
end

function Walk:check_day(index, day)
  self:check_city(index, day)
  local places, complete = {}, true
  for _, field in ipairs(order) do
    places[field] = self:check_place(index, day, field)
    complete = complete and places[field] ~= nil
    self.total = self.total + (places[field] and places[field].price or 0)
  end
  if index == 2 and complete and self.task.constraints.conditional then
    local hotel, first, second =
      places.hotel, places.afternoon_restaurant, places.evening_restaurant
    local conflict = rules.band_conflict(hotel, first, second, places.afternoon_attraction)
    if conflict then
      self:violate(
        2,
        "conditional",
        "day 2: hotel %s costs %d, so it %s",
        hotel.name,
        hotel.price,
        conflict
      )
    end
    self:prove(2, "conditional", {
      hotel = hotel.price,
      meals = first.price + second.price,
      ratings = { first.rating, second.rating },
      ticket = places.afternoon_attraction.price,
    }, "get_all_*_by_city(" .. day.city .. ")")
  end
end

function Walk:check_length()
  local task, days = self.task, self.plan
  if #days ~= task.days then
    self:violate(nil, "days", "the plan has %d days, needs %d", #days, task.days)
  end
  for index, day in ipairs(days) do
    local want = dates.add(task.start_date, index - 1)
    if day.time and day.time ~= want then
      self:violate(index, "dates", "day %d: date %s, must be %s", index, day.time, want)
    end
    day.time = want
  end
end

function Walk:check_total()
  local bound = self.task.constraints.total_max
  if not bound then return end
  if self.total > bound then
    self:violate(nil, "total_max", "total %d, limit %d", self.total, bound)
  end
  self:prove(nil, "total_max", { value = self.total, bound = bound }, "the places above, summed")
end

-- {ok, violations, proof, total}: violations in the order of the rules, each {day, constraint,
-- message}; the proof lists every constraint with its values and the table row or tool they came
-- from. Sets each day's `time`.
function rules.verify(task, plan, db)
  local walk = setmetatable(
    { task = task, plan = plan, sql = db.sql, used = {}, violations = {}, proof = {}, total = 0 },
    Walk
  )
  walk:check_length()
  for index, day in ipairs(plan) do
    walk:check_day(index, day)
  end
  walk:check_total()
  return {
    ok = #walk.violations == 0,
    violations = walk.violations,
    proof = walk.proof,
    total = walk.total,
  }
end

function rules.check(task, plan, db) return rules.verify(task, plan, db).violations end

return rules
