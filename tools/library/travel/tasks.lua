-- Draws tasks of every kind from a seed, on the database at hand. Each task but the impossible ones has a right plan, and
-- for those the solver names the conflict.

local data = require("travel.data")
local plan = require("travel.plan")
local random = require("travel.random")
local rules = require("travel.rules")
local solver = require("travel.solver")
local geography = require("travel.geography")
local names = require("travel.names")
local wording = require("travel.wording")

local tasks = {}

-- Kinds and their share in a hundred tasks.
tasks.kinds = {
  { "one_day", 20 }, { "two_day", 14 }, { "three_day", 16 }, { "conditional", 14 }, { "total_budget", 12 },
  { "repair", 10 }, { "impossible", 7 }, { "tool_error", 7 },
}

local limit_draws = {
  hotel_max = function(rng) return rng:int(30, 90) * 10 end,
  hotel_rating_min = function(rng) return rng:int(32, 42) / 10 end,
  restaurant_max = function(rng) return rng:int(14, 40) * 5 end,
  restaurant_rating_min = function(rng) return rng:int(31, 40) / 10 end,
  ticket_max = function(rng) return rng:int(8, 36) * 5 end,
}

local simple_limits = { "hotel_max", "hotel_rating_min", "restaurant_max", "restaurant_rating_min", "ticket_max" }
local faulty_tools = {
  "get_all_hotels_by_city", "get_all_restaurants_by_city", "get_all_attractions_by_city", "get_inter_city_transport",
  "check_plan", "submit_result",
}

local function pick_kind(rng)
  local ticket = rng:int(0, 99)
  for _, kind in ipairs(tasks.kinds) do
    ticket = ticket - kind[2]
    if ticket < 0 then return kind[1] end
  end
end

local function draw_limits(rng, least, most, allowed)
  local pool, constraints = rng:shuffle(table.move(allowed, 1, #allowed, 1, {})), {}
  for i = 1, rng:int(least, most) do constraints[pool[i]] = limit_draws[pool[i]](rng) end
  return constraints
end

-- A city for tasks of this seed: evaluation seeds may use any, training seeds none that is held out.
local function draw_city(rng, task, sql, used)
  local cities = data.cities(sql)
  while true do
    local city = rng:pick(cities)
    local open = task.seed >= names.first_evaluation_seed or not geography.held_out[city]
    if open and not used[city] then
      used[city] = true
      return city
    end
  end
end

local function draw_route(rng, task, sql, named)
  local used = {}
  if not named then
    task.origin = draw_city(rng, task, sql, used)
    return
  end
  task.cities = {}
  if rng:chance(35) then task.origin = draw_city(rng, task, sql, used) end
  for i = 1, task.days do task.cities[i] = draw_city(rng, task, sql, used) end
end

local function draw_date(rng, task)
  task.dated = task.constraints.dry or rng:chance(65)
  task.start_date = task.dated
    and string.format("%d-%02d-%02d", rng:int(2025, 2027), rng:int(1, 12), rng:int(1, 28)) or tasks.default_date
end

-- The date of a trip whose request names none.
tasks.default_date = "2025-10-01"

-- Whether walking the cities in the order in which they are listed finds enough right days.
local function walk_succeeds(task, sql)
  local cities = task.cities
  if not cities then
    cities = {}
    for i, train in ipairs(data.near(sql, task.origin)) do cities[i] = train.city end
  end
  local day, skipped = 1, 0
  for _, city in ipairs(cities) do
    if day > task.days then break end
    local conditional = task.constraints.conditional and day == 2
    local dry = not task.constraints.dry or solver.dry_on(task, sql, city, day)
    local held_out = geography.held_out[city] and task.seed < names.first_evaluation_seed
    if held_out then return false end
    if dry and solver.best_day(sql, city, task.constraints, conditional) then
      day = day + 1
    else
      skipped = skipped + 1
      if task.cities or skipped > 1 then return false end
    end
  end
  return day > task.days
end

-- What the trip costs if the cheapest hotel and the first fitting restaurants and attraction are taken in each city.
local function thrifty_cost(task, sql)
  local total, c = 0, task.constraints
  local cities = task.cities
  if not cities then
    cities = {}
    for i, train in ipairs(data.near(sql, task.origin)) do
      if solver.best_day(sql, train.city, c, false) then cities[#cities + 1] = train.city end
    end
  end
  for day = 1, task.days do
    local function take(list, field, count)
      local sum = 0
      for _, place in ipairs(list) do
        if count > 0 and rules.fits(c, field, place) then sum, count = sum + place.price, count - 1 end
      end
      return sum
    end
    local cheapest
    for _, hotel in ipairs(data.hotels(sql, cities[day])) do
      if rules.fits(c, "hotel", hotel) and (not cheapest or hotel.price < cheapest) then cheapest = hotel.price end
    end
    total = total + cheapest + take(data.restaurants(sql, cities[day]), "afternoon_restaurant", 2)
      + take(data.attractions(sql, cities[day]), "afternoon_attraction", 1)
  end
  return total
end

local shape = {}

function shape.one_day(rng, task)
  task.days = 1
  task.constraints = draw_limits(rng, 1, 3, simple_limits)
  if rng:chance(10) then task.constraints.dry = true end
end

function shape.two_day(rng, task)
  task.days = 2
  task.constraints = draw_limits(rng, 1, 3, simple_limits)
  if rng:chance(6) then task.constraints.dry = true end
end

function shape.three_day(rng, task)
  task.days = 3
  task.constraints = draw_limits(rng, 1, 3, simple_limits)
end

function shape.conditional(rng, task)
  task.days = rng:chance(60) and 3 or 2
  task.constraints = draw_limits(rng, 0, 1, { "hotel_rating_min", "restaurant_max" })
  task.constraints.conditional = true
end

function shape.total_budget(rng, task)
  task.days = rng:int(1, 3)
  task.constraints = draw_limits(rng, 0, 1, { "hotel_rating_min", "restaurant_max", "ticket_max" })
end

function shape.tool_error(rng, task)
  task.days = rng:chance(70) and 1 or 2
  task.constraints = draw_limits(rng, 1, 2, simple_limits)
  task.fault = rng:pick(faulty_tools)
end

function shape.repair(rng, task)
  task.days = rng:int(1, 2)
  task.constraints = draw_limits(rng, 1, 3, simple_limits)
end

function shape.impossible(rng, task)
  task.days = rng:chance(75) and 1 or 2
  task.constraints = draw_limits(rng, 1, 2, simple_limits)
end

-- A right draft with one or two places exchanged for wrong ones.
local spoil = {}

function spoil.limit(rng, task, sql, days)
  local index = rng:int(1, #days)
  local day = days[index]
  local fields = rng:shuffle { "hotel", "afternoon_restaurant", "afternoon_attraction", "evening_restaurant" }
  for _, field in ipairs(fields) do
    local list = field == "hotel" and data.hotels(sql, day.city)
      or field == "afternoon_attraction" and data.attractions(sql, day.city) or data.restaurants(sql, day.city)
    for _, place in ipairs(rng:shuffle(list)) do
      if not rules.fits(task.constraints, field, place) then
        day[field] = place.name
        return
      end
    end
  end
end

function spoil.twice(rng, _, _, days)
  local day = days[rng:int(1, #days)]
  day.evening_restaurant = day.afternoon_restaurant
end

function spoil.elsewhere(rng, task, sql, days)
  local day = days[rng:int(1, #days)]
  local near = data.near(sql, day.city)
  local other = near[rng:int(1, #near)].city
  if rng:chance(50) then
    day.hotel = data.hotels(sql, other)[1].name
  else
    day.afternoon_attraction = data.attractions(sql, other)[1].name
  end
end

local function draft(rng, task, db)
  local days = solver.solve(task, db)
  if not days then return nil end
  for _ = 1, rng:chance(30) and 2 or 1 do
    local how = rng:chance(70) and "limit" or rng:chance(50) and "twice" or "elsewhere"
    spoil[how](rng, task, db.sql, days)
  end
  if #rules.check(task, days, db) == 0 then return nil end
  return plan.text(days)
end

-- Completes a drawn task and says whether it is a good one of its kind.
local function settle(rng, task, db)
  local sql = db.sql
  if task.kind == "impossible" then
    local scale = rng:pick { "hotel_max", "ticket_max", "restaurant_max" }
    local low = { hotel_max = rng:int(10, 30) * 10, ticket_max = rng:int(1, 8) * 5, restaurant_max = rng:int(6, 14) * 5 }
    task.constraints[scale] = low[scale]
    return solver.solve(task, db) == nil
  end
  if not walk_succeeds(task, sql) then return false end
  if task.kind == "total_budget" then
    local least = thrifty_cost(task, sql)
    task.constraints.total_max = (least + rng:int(0, least // 8) + 9) // 10 * 10
  elseif task.kind == "repair" then
    task.draft = draft(rng, task, db)
    return task.draft ~= nil
  end
  return solver.solve(task, db) ~= nil
end

-- The task of `seed` on the database behind `db`; `kind` overrules the drawn kind.
function tasks.task(seed, db, kind)
  kind = kind or pick_kind(random.stream("kind", seed))
  if not shape[kind] then error("unknown task kind '" .. tostring(kind) .. "'") end
  for attempt = 1, 1000 do
    local rng = random.stream("task", seed, kind, attempt)
    local task = { id = "travel-" .. kind .. "-" .. seed, kind = kind, seed = seed }
    shape[kind](rng, task)
    local named = kind == "repair" or kind == "impossible" or rng:chance(task.constraints.dry and 0 or 45)
    draw_route(rng, task, db.sql, named)
    draw_date(rng, task)
    if settle(rng, task, db) then
      task.text = wording.render(task)
      return task
    end
  end
  error("no task of kind " .. kind .. " for seed " .. seed)
end

return tasks
