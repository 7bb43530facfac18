-- The files of a finished trip, as strings: for programs, for people, for a spreadsheet, for a
-- calendar, and the proof that `ponder verify` checks again without a model.

local data = require("travel.data")
local dates = require("ponder.dates")
local json = require("ponder.json")
local plan = require("travel.plan")
local random = require("ponder.random")
local rules = require("travel.rules")

local artefacts = {}

local visits = {
  { field = "hotel", item = "hotel", find = data.hotel },
  {
    field = "afternoon_restaurant",
    item = "afternoon restaurant",
    find = data.restaurant,
    from = "120000",
    to = "133000",
  },
  {
    field = "afternoon_attraction",
    item = "attraction",
    find = data.attraction,
    from = "140000",
    to = "170000",
  },
  {
    field = "evening_restaurant",
    item = "evening restaurant",
    find = data.restaurant,
    from = "180000",
    to = "193000",
  },
}

-- The report's form: {time, city, hotel, afternoon_restaurant, afternoon_attraction,
-- evening_restaurant} a day.
local function itinerary_json(days)
  local items = {}
  for i, day in ipairs(days) do
    local parts = { '    "time": ' .. json.quote(day.time) }
    for _, field in ipairs(plan.fields) do
      parts[#parts + 1] = '    "' .. field .. '": ' .. json.quote(day[field])
    end
    items[i] = "  {\n" .. table.concat(parts, ",\n") .. "\n  }"
  end
  return "[\n" .. table.concat(items, ",\n") .. "\n]\n"
end

local function train_line(sql, from, to)
  local train = data.train(sql, from, to)
  return string.format(
    "Train from %s to %s: %d km, %d minutes, %d CNY.",
    from,
    to,
    train.km,
    train.minutes,
    train.price
  )
end

local function itinerary_md(task, days, sql, total)
  local lines = { string.format("# %d day%s: %s", #days, #days > 1 and "s" or "", days[1].city) }
  for i = 2, #days do
    lines[1] = lines[1] .. ", " .. days[i].city
  end
  local before = task.origin
  for i, day in ipairs(days) do
    lines[#lines + 1] = string.format("\n## Day %d, %s: %s\n", i, day.time, day.city)
    if before then lines[#lines + 1] = train_line(sql, before, day.city) .. "\n" end
    before = day.city
    lines[#lines + 1] = "| | | rating | CNY |\n|---|---|---|---|"
    for _, visit in ipairs(visits) do
      local place = visit.find(sql, day[visit.field])
      lines[#lines + 1] =
        string.format("| %s | %s | %.1f | %d |", visit.item, place.name, place.rating, place.price)
    end
  end
  lines[#lines + 1] = string.format(
    "\nTotal for hotels, restaurants and tickets: %d CNY (trains not included).",
    total
  )
  return table.concat(lines, "\n") .. "\n"
end

local function budget_csv(days, sql, total)
  local lines = { "day,date,item,name,cny" }
  for i, day in ipairs(days) do
    for _, visit in ipairs(visits) do
      local place = visit.find(sql, day[visit.field])
      lines[#lines + 1] =
        string.format("%d,%s,%s,%s,%d", i, day.time, visit.item, place.name, place.price)
    end
  end
  lines[#lines + 1] = string.format(",,total,,%d", total)
  return table.concat(lines, "\n") .. "\n"
end

local function event(uid, stamp, start, finish, summary, city)
  return {
    "BEGIN:VEVENT",
    "UID:" .. uid .. "@ponder",
    "DTSTAMP:" .. stamp,
    "DTSTART" .. start,
    "DTEND" .. finish,
    "SUMMARY:" .. summary,
    "LOCATION:" .. city,
    "END:VEVENT",
  }
end

-- RFC 5545 with floating local times, since hotels and tables know no time zone.
local function trip_ics(task, days)
  local lines = { "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//ponder//travel//EN" }
  local stamp = days[1].time:gsub("-", "") .. "T000000Z"
  for i, day in ipairs(days) do
    local date = day.time:gsub("-", "")
    for _, visit in ipairs(visits) do
      local uid =
        string.format("%016x-%d-%s", random.hash(task.text), i, visit.field:gsub("_", "-"))
      local start, finish =
        ":" .. date .. "T" .. (visit.from or ""), ":" .. date .. "T" .. (visit.to or "")
      if visit.field == "hotel" then
        start, finish =
          ";VALUE=DATE:" .. date, ";VALUE=DATE:" .. dates.add(day.time, 1):gsub("-", "")
      end
      table.move(
        event(uid, stamp, start, finish, day[visit.field], day.city),
        1,
        8,
        #lines + 1,
        lines
      )
    end
  end
  lines[#lines + 1] = "END:VCALENDAR"
  return table.concat(lines, "\r\n") .. "\r\n"
end

local function proof_json(task, sql, verification)
  local clean = {}
  for key, value in pairs(task) do
    if not (type(value) == "table" and next(value) == nil) then clean[key] = value end
  end
  clean.constraints = task.constraints
  return json.encode {
    format = 1,
    world = { name = "travel", seed = data.seed(sql), size = data.size(sql) },
    task = clean,
    ok = verification.ok,
    total = verification.total,
    proof = verification.proof,
    violations = #verification.violations > 0 and verification.violations or nil,
  }
end

-- File name -> content. `verification` is what rules.verify said of this plan; it is computed where
-- it is missing.
function artefacts.render(task, days, db, verification)
  verification = verification or rules.verify(task, days, db)
  for i, day in ipairs(days) do
    day.time = dates.add(task.start_date, i - 1)
  end
  return {
    ["itinerary.json"] = itinerary_json(days),
    ["itinerary.md"] = itinerary_md(task, days, db.sql, verification.total),
    ["budget.csv"] = budget_csv(days, db.sql, verification.total),
    ["trip.ics"] = trip_ics(task, days),
    ["proof.json"] = proof_json(task, db.sql, verification),
  }
end

return artefacts
