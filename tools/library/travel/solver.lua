-- Exhaustive search for the cheapest right plan. Two days share nothing but their cities and the
-- total, so the cheapest day of every city is found first and the days are then assigned to cities.

local data = require("travel.data")
local dates = require("ponder.dates")
local plan = require("travel.plan")
local rules = require("travel.rules")

local solver = {}

local function fitting(constraints, field, list)
  local fit = {}
  for _, place in ipairs(list) do
    if rules.fits(constraints, field, place) then fit[#fit + 1] = place end
  end
  return fit
end

local function cheapest(list, ticket_under)
  local best
  for _, place in ipairs(list) do
    if
      (not ticket_under or place.price < ticket_under) and (not best or place.price < best.price)
    then
      best = place
    end
  end
  return best
end

-- The cheapest two restaurants that meet a band (nil: no band), or nil.
local function cheapest_pair(meals, band)
  local best, cost
  for i = 1, #meals - 1 do
    for j = i + 1, #meals do
      local a, b = meals[i], meals[j]
      local sum = a.price + b.price
      local rated = band
        and (a.rating >= band.rating and 1 or 0) + (b.rating >= band.rating and 1 or 0)
      local fits = not band
        or rated >= band.rated and not (band.meals_under and sum >= band.meals_under)
      if fits and (not best or sum < cost) then
        best, cost = { a, b }, sum
      end
    end
  end
  return best, cost
end

local shown_max = 6

-- "limit 600, rated 4.0: Jade Pine Inn 780|4.2, ...": what was asked and what there is.
local function evidence(constraints, field, list)
  local bounds, shown = {}, {}
  for _, limit in ipairs(rules.limits(constraints, field)) do
    bounds[#bounds + 1] = limit.minimum and string.format("rated %.1f", limit.bound)
      or string.format("limit %d", limit.bound)
  end
  for i = 1, math.min(shown_max, #list) do
    shown[i] = string.format("%s %d|%.1f", list[i].name, list[i].price, list[i].rating)
  end
  if #list > shown_max then shown[#shown + 1] = string.format("%d more", #list - shown_max) end
  return table.concat(bounds, ", ") .. ": " .. table.concat(shown, ", ")
end

-- The first kind of place that `city` lacks: nil, or {constraint, city, message}.
local function lack(city, constraints, lists)
  local needs = {
    { "hotel", "hotel", 1, "no hotel" },
    { "restaurant", "afternoon_restaurant", 2, "fewer than two restaurants" },
    { "attraction", "afternoon_attraction", 1, "no attraction" },
  }
  for i, need in ipairs(needs) do
    local name, field, count, words = table.unpack(need)
    if #fitting(constraints, field, lists[i]) < count then
      local message = words .. " in " .. city .. " within "
      message = message .. evidence(constraints, field, lists[i])
      return { constraint = name, city = city, message = message }
    end
  end
  return nil
end

-- The cheapest right day in `city`, {cost, day}; or nil and the reason, {constraint, city,
-- message}.
function solver.best_day(sql, city, constraints, conditional)
  local lists = { data.hotels(sql, city), data.restaurants(sql, city), data.attractions(sql, city) }
  local reason = lack(city, constraints, lists)
  if reason then return nil, reason end
  local hotels = fitting(constraints, "hotel", lists[1])
  local meals = fitting(constraints, "afternoon_restaurant", lists[2])
  local sights = fitting(constraints, "afternoon_attraction", lists[3])
  local best
  for _, hotel in ipairs(hotels) do
    local band = conditional and rules.band(hotel.price) or nil
    local pair, pair_cost = cheapest_pair(meals, band)
    local sight = cheapest(sights, band and band.ticket_under)
    local cost = pair and sight and hotel.price + pair_cost + sight.price
    if cost and (not best or cost < best.cost) then
      best = {
        cost = cost,
        day = {
          city = city,
          hotel = hotel.name,
          afternoon_restaurant = pair[1].name,
          afternoon_attraction = sight.name,
          evening_restaurant = pair[2].name,
        },
      }
    end
  end
  if not best then
    local message = "no hotel in " .. city .. " whose price allows the meals and tickets of day 2"
    return nil, { constraint = "conditional", city = city, message = message }
  end
  return best
end

-- Whether day `index` is without rain in `city`, if the task asks for that.
function solver.dry_on(task, sql, city, index)
  return not task.constraints.dry
    or data.weather(sql, city, dates.add(task.start_date, index - 1)).sky ~= "rain"
end

-- The candidates of day `index`, cheapest first. As many as there are days are enough for the best
-- assignment.
local function candidates(task, sql, index)
  local cities = task.cities and { task.cities[index] } or data.cities(sql)
  local list, reason = {}, nil
  for _, city in ipairs(cities) do
    if city ~= task.origin then
      local best, why
      if solver.dry_on(task, sql, city, index) then
        best, why =
          solver.best_day(sql, city, task.constraints, task.constraints.conditional and index == 2)
      else
        why = { constraint = "dry", city = city, message = "rain in " .. city }
      end
      list[#list + 1] = best
      reason = reason or why
    end
  end
  table.sort(list, function(a, b)
    if a.cost ~= b.cost then return a.cost < b.cost end
    return a.day.city < b.day.city
  end)
  return table.move(list, 1, math.min(task.days, #list), 1, {}), reason
end

local function assign(per_day, index, used, cost, chosen, best)
  if index > #per_day then
    if not best.cost or cost < best.cost then
      best.cost, best.days = cost, table.move(chosen, 1, #chosen, 1, {})
    end
    return
  end
  for _, candidate in ipairs(per_day[index]) do
    if not used[candidate.day.city] then
      used[candidate.day.city] = true
      chosen[index] = candidate.day
      assign(per_day, index + 1, used, cost + candidate.cost, chosen, best)
      chosen[index] = nil
      used[candidate.day.city] = nil
    end
  end
end

-- The cheapest right plan and its cost; or nil and the conflict, {constraint, message, city?,
-- day?}.
function solver.solve(task, db)
  local per_day = {}
  for index = 1, task.days do
    local list, reason = candidates(task, db.sql, index)
    if #list == 0 then
      reason = reason
        or { constraint = "leave_origin", message = "the trip starts in the named city" }
      reason.day = index
      return nil, reason
    end
    per_day[index] = list
  end
  local best = {}
  assign(per_day, 1, {}, 0, {}, best)
  if not best.cost then
    return nil, { constraint = "no_repeat", message = "fewer right cities than days" }
  end
  local bound = task.constraints.total_max
  if bound and best.cost > bound then
    return nil,
      {
        constraint = "total_max",
        message = string.format("the cheapest trip costs %d, limit %d", best.cost, bound),
      }
  end
  local days = plan.parse(plan.text(best.days))
  for index, day in ipairs(days) do
    day.time = dates.add(task.start_date, index - 1)
  end
  return days, best.cost
end

return solver
