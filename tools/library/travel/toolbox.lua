-- The tools that the model sees. Descriptions and results are terse on purpose: a small model pays
-- for every token.

local data = require("travel.data")
local dates = require("ponder.dates")
local plan = require("travel.plan")
local request = require("travel.request")
local rules = require("travel.rules")

local function unknown(kind, name) return nil, "unknown " .. kind .. " " .. tostring(name) end

local function rating(value) return string.format("%.1f", value) end

local function rows(list, render)
  local lines = {}
  for i, item in ipairs(list) do
    lines[i] = render(item)
  end
  return table.concat(lines, "\n")
end

-- Rows start with a space so that a name is the same tokens here and inside a sentence.
local function rated_row(item)
  return " " .. item.name .. "|" .. item.price .. "|" .. rating(item.rating)
end
local function ticket_row(item) return " " .. item.name .. "|" .. item.price end

local function list_by_city(fetch, render)
  return function(args, ctx)
    if not data.city(ctx.sql, args.city) then return unknown("city", args.city) end
    return rows(fetch(ctx.sql, args.city), render)
  end
end

local function city_of(kind, find)
  return function(args, ctx)
    local place = find(ctx.sql, args.name)
    if not place then return unknown(kind, args.name) end
    return " " .. place.city
  end
end

-- Infos are asked for by keywords, separated by commas or spaces; unknown keywords name the known
-- ones.
local function infos(kind, find, known)
  return function(args, ctx)
    local place = find(ctx.sql, args.name)
    if not place then return unknown(kind, args.name) end
    local parts = {}
    for keyword in args.info_keywords:gmatch("[%w_]+") do
      local render = known[keyword]
      if not render then return nil, "unknown keyword " .. keyword .. ", known: " .. known.list end
      parts[#parts + 1] = keyword .. " " .. render(place)
    end
    if #parts == 0 then return nil, "no keyword, known: " .. known.list end
    return table.concat(parts, ", ")
  end
end

local function column(name)
  return function(place) return tostring(place[name]) end
end
local function rating_of(place) return rating(place.rating) end

local function inter_city_transport(args, ctx)
  if not data.city(ctx.sql, args.city) then return unknown("city", args.city) end
  return rows(
    data.near(ctx.sql, args.city),
    function(train)
      return " " .. train.city .. "|" .. train.km .. "|" .. train.minutes .. "|" .. train.price
    end
  )
end

local function city_transport(args, ctx)
  if not data.city(ctx.sql, args.city) then return unknown("city", args.city) end
  for _, name in ipairs { args.from, args.to } do
    local place = data.hotel(ctx.sql, name)
      or data.restaurant(ctx.sql, name)
      or data.attraction(ctx.sql, name)
    if not place then return unknown("place", name) end
    if place.city ~= args.city then
      return nil, name .. " is in " .. place.city .. ", not in " .. args.city
    end
  end
  local ride = data.ride(ctx.sql, args.from, args.to)
  return string.format("taxi|%d|%d|%d", ride.km, ride.minutes, ride.price)
end

local function weather(args, ctx)
  if not data.city(ctx.sql, args.city) then return unknown("city", args.city) end
  if not dates.valid(args.date) then
    return nil, "bad date " .. tostring(args.date) .. ", need YYYY-MM-DD"
  end
  local w = data.weather(ctx.sql, args.city, args.date)
  return w.sky .. "|" .. w.degrees
end

-- Checks `text` and remembers it when it is right.
local function accept(text, ctx)
  local days, problem = plan.parse(text)
  if not days then return nil, problem end
  local verdict = rules.verify(ctx.task or request.blank(#days), days, ctx)
  if not verdict.ok then
    ctx.state.checked = nil
    return nil, verdict.violations[1].message
  end
  ctx.state.checked = { days = days, text = text, total = verdict.total }
  return ctx.state.checked
end

local function check_plan(args, ctx)
  local checked, problem = accept(args.plan, ctx)
  if not checked then return "violation: " .. problem end
  return "ok, total " .. checked.total
end

local function submit_result(args, ctx)
  if args.plan then
    local checked, problem = accept(args.plan, ctx)
    if not checked then return nil, problem end
  end
  if not ctx.state.checked then return nil, "no checked plan: call check_plan first" end
  ctx.state.submitted = ctx.state.checked.days
  return "submitted"
end

local function parameters(...)
  local properties, required = {}, {}
  for i, name in ipairs { ... } do
    properties[i] = '"' .. name .. '": {"type": "string"}'
    required[i] = '"' .. name .. '"'
  end
  local text = '{"type": "object", "properties": {' .. table.concat(properties, ", ") .. "}"
  if #required > 0 then text = text .. ', "required": [' .. table.concat(required, ", ") .. "]" end
  return text .. "}"
end

local toolbox = {}

-- A tool_error task names one tool whose first call fails, as if the service were busy for a
-- moment.
local function with_fault(name, run)
  return function(args, ctx)
    local fault = ctx.task and ctx.task.fault
    if fault == name and not ctx.state.fault_fired then
      ctx.state.fault_fired = true
      return nil, "service busy, call again"
    end
    return run(args, ctx)
  end
end

-- What a parameter that names a city can be: the model is held to the cities that there are.
local function cities_for(parameter)
  return function(ctx) return { [parameter] = data.cities(ctx.sql) } end
end

local function tool(name, description, schema, effect, run, values)
  toolbox[#toolbox + 1] = {
    name = name,
    description = description,
    parameters = schema,
    effect = effect,
    capabilities = { "sql" },
    run = with_fault(name, run),
    values = values,
  }
end

tool(
  "get_all_cities",
  "All cities.",
  parameters(),
  "pure",
  function(_, ctx) return " " .. table.concat(data.cities(ctx.sql), ", ") end
)
tool(
  "get_all_hotels_by_city",
  "name|price|rating",
  parameters("city"),
  "pure",
  list_by_city(data.hotels, rated_row),
  cities_for("city")
)
tool(
  "get_all_restaurants_by_city",
  "name|price|rating",
  parameters("city"),
  "pure",
  list_by_city(data.restaurants, rated_row),
  cities_for("city")
)
tool(
  "get_all_attractions_by_city",
  "name|ticket",
  parameters("city"),
  "pure",
  list_by_city(data.attractions, ticket_row),
  cities_for("city")
)
tool("get_city_by_hotel", "", parameters("name"), "pure", city_of("hotel", data.hotel))
tool(
  "get_city_by_restaurant",
  "",
  parameters("name"),
  "pure",
  city_of("restaurant", data.restaurant)
)
tool(
  "get_city_by_attraction",
  "",
  parameters("name"),
  "pure",
  city_of("attraction", data.attraction)
)
tool(
  "get_infos_by_city",
  "province",
  parameters("info_keywords", "name"),
  "pure",
  infos("city", data.city, { list = "province", province = column("province") }),
  cities_for("name")
)
tool(
  "get_infos_by_hotel",
  "price, rating, breakfast",
  parameters("info_keywords", "name"),
  "pure",
  infos("hotel", data.hotel, {
    list = "price, rating, breakfast",
    price = column("price"),
    rating = rating_of,
    breakfast = column("breakfast"),
  })
)
tool(
  "get_infos_by_restaurant",
  "price, rating, cuisine",
  parameters("info_keywords", "name"),
  "pure",
  infos("restaurant", data.restaurant, {
    list = "price, rating, cuisine",
    price = column("price"),
    rating = rating_of,
    cuisine = column("cuisine"),
  })
)
tool(
  "get_infos_by_attraction",
  "ticket, rating, hours",
  parameters("info_keywords", "name"),
  "pure",
  infos("attraction", data.attraction, {
    list = "ticket, rating, hours",
    ticket = column("ticket"),
    rating = rating_of,
    hours = column("hours"),
  })
)
tool(
  "get_city_transport",
  "taxi|km|minutes|price",
  parameters("city", "from", "to"),
  "pure",
  city_transport,
  cities_for("city")
)
tool(
  "get_inter_city_transport",
  "near cities: name|km|minutes|price",
  parameters("city"),
  "pure",
  inter_city_transport,
  cities_for("city")
)
tool(
  "get_weather_by_city_date",
  "sky|degrees",
  parameters("city", "date"),
  "pure",
  weather,
  cities_for("city")
)
tool(
  "check_plan",
  "A line a day: city, hotel, restaurant, attraction, restaurant",
  parameters("plan"),
  "idempotent",
  check_plan
)
tool(
  "submit_result",
  "Submit the checked plan.",
  '{"type": "object", "properties": {"plan": {"type": "string"}}}',
  "idempotent",
  submit_result
)

return toolbox
