-- Draws tasks of every kind from a seed, on the database at hand. Each task but the impossible ones
-- has a right plan, and for those the solver names the conflict.

local data = require("travel.data")
local plan = require("travel.plan")
local kinds = require("ponder.kinds")
local random = require("ponder.random")
local request = require("travel.request")
local rules = require("travel.rules")
local solver = require("travel.solver")
local geography = require("travel.geography")
local names = require("travel.names")
local wording = require("travel.wording")

local tasks = {}

-- Kinds and their share in a hundred tasks.
tasks.kinds = {
  { "one_day", 20 },
  { "two_day", 14 },
  { "three_day", 16 },
  { "conditional", 14 },
  { "total_budget", 12 },
  { "repair", 10 },
  { "impossible", 7 },
  { "tool_error", 7 },
}

local limit_draws = {
  hotel_max = function(rng) return rng:int(30, 90) * 10 end,
  hotel_rating_min = function(rng) return rng:int(32, 42) / 10 end,
  restaurant_max = function(rng) return rng:int(14, 40) * 5 end,
  restaurant_rating_min = function(rng) return rng:int(31, 40) / 10 end,
  ticket_max = function(rng) return rng:int(8, 36) * 5 end,
}

local simple_limits =
  { "hotel_max", "hotel_rating_min", "restaurant_max", "restaurant_rating_min", "ticket_max" }
local faulty_tools = {
  "get_all_hotels_by_city",
  "get_all_restaurants_by_city",
  "get_all_attractions_by_city",
  "get_inter_city_transport",
  "check_plan",
  "submit_result",
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
  for i = 1, rng:int(least, most) do
    constraints[pool[i]] = limit_draws[pool[i]](rng)
  end
  return constraints
end

-- A city for tasks of this seed: evaluation seeds may use any, training seeds none that is held
-- out.
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
  for i = 1, task.days do
    task.cities[i] = draw_city(rng, task, sql, used)
  end
end

local function draw_date(rng, task)
  task.dated = task.constraints.dry or rng:chance(65)
  task.start_date = task.dated
      and string.format("%d-%02d-%02d", rng:int(2025, 2027), rng:int(1, 12), rng:int(1, 28))
    or request.default_date
end

-- The cities in the order in which they are listed: named by the user, or nearest to the origin.
local function listed_cities(task, sql)
  if task.cities then return task.cities end
  local cities = {}
  for i, train in ipairs(data.near(sql, task.origin)) do
    cities[i] = train.city
  end
  return cities
end

-- What the trip costs if the cities are walked in their order and the cheapest right day is taken
-- in each; nil when that walk finds too few days.
local function walk_cost(task, sql)
  local day, skipped, cost = 1, 0, 0
  for _, city in ipairs(listed_cities(task, sql)) do
    if day > task.days then break end
    if geography.held_out[city] and task.seed < names.first_evaluation_seed then return nil end
    local conditional = task.constraints.conditional and day == 2
    local best = solver.dry_on(task, sql, city, day)
      and solver.best_day(sql, city, task.constraints, conditional)
    if best then
      day, cost = day + 1, cost + best.cost
    else
      skipped = skipped + 1
      if task.cities or skipped > 1 then return nil end
    end
  end
  return day > task.days and cost or nil
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
  task.days = rng:chance(45) and 1 or rng:chance(70) and 2 or 3
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
  local fields =
    rng:shuffle { "hotel", "afternoon_restaurant", "afternoon_attraction", "evening_restaurant" }
  for _, field in ipairs(fields) do
    local list = field == "hotel" and data.hotels(sql, day.city)
      or field == "afternoon_attraction" and data.attractions(sql, day.city)
      or data.restaurants(sql, day.city)
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

-- Limits that the solver proves too tight.
local function tighten(rng, task, db)
  local low = {
    hotel_max = rng:int(10, 30) * 10,
    ticket_max = rng:int(1, 8) * 5,
    restaurant_max = rng:int(6, 14) * 5,
  }
  local name = rng:pick { "hotel_max", "ticket_max", "restaurant_max", "total_max" }
  if name == "total_max" then
    local _, cost = solver.solve(task, db)
    if math.type(cost) ~= "integer" then return false end
    low.total_max = cost * rng:int(60, 97) // 1000 * 10
  end
  task.constraints[name] = low[name]
  return solver.solve(task, db) == nil
end

-- Completes a drawn task and says whether it is a good one of its kind.
local function settle(rng, task, db)
  if task.kind == "impossible" then return tighten(rng, task, db) end
  local cost = walk_cost(task, db.sql)
  if not cost then return false end
  if task.kind == "total_budget" then
    task.constraints.total_max = (cost + rng:int(0, cost // 10) + 9) // 10 * 10
  elseif task.kind == "repair" then
    task.draft = draft(rng, task, db)
    return task.draft ~= nil
  end
  return solver.solve(task, db) ~= nil
end

-- The task of `seed` on the database behind `db`; `kind` overrules the drawn kind.
function tasks.task(seed, db, kind)
  kind = kind or pick_kind(random.stream("kind", seed))
  kinds.expect(shape, kind)
  for attempt = 1, 1000 do
    local rng = random.stream("task", seed, kind, attempt)
    local task = { id = "travel-" .. kind .. "-" .. seed, kind = kind, seed = seed }
    shape[kind](rng, task)
    local named = kind == "repair"
      or kind == "impossible"
      or rng:chance(task.constraints.dry and 0 or 45)
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
