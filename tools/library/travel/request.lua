-- Reads a task out of plain words. It works by rules of its own (nouns near numbers, words before
-- cities), not by the templates that write the generated requests, so that what a person types has
-- a fair chance too.

local data = require("travel.data")
local dates = require("ponder.dates")
local plan = require("travel.plan")
local random = require("ponder.random")

local request = {}

-- The date of a trip whose request names none.
request.default_date = "2025-10-01"

local days_max = 3
local number_words = {
  a = 1,
  one = 1,
  two = 2,
  three = 3,
  four = 4,
  five = 5,
  six = 6,
  seven = 7,
  eight = 8,
  nine = 9,
  ten = 10,
}

-- The text under study: `text` shrinks as parts are understood; `lower` is its lower-case twin.
local Reader = {}
Reader.__index = Reader

function Reader:cut(first, last)
  self.text = self.text:sub(1, first - 1) .. " @ " .. self.text:sub(last + 1)
  self.lower = self.text:lower()
end

function Reader:doubt(format, ...)
  local list = self.task.not_understood
  list[#list + 1] = string.format(format, ...)
end

-- Lines that state a plan are the user's draft; sentences that list cities are not.
function Reader:read_draft()
  local words, lines = {}, {}
  for line in (self.text .. "\n"):gmatch("([^\n]*)\n") do
    local city = not line:find("[%.%?!]") and line:match("^%s*([^,|]+)[,|]")
    local days = city and data.city(self.sql, (city:gsub("%s+$", ""))) and plan.parse(line)
    if days then
      lines[#lines + 1] = plan.line(days[1])
    else
      words[#words + 1] = line
    end
  end
  if #lines > 0 then self.task.draft = table.concat(lines, "\n") end
  self.text = table.concat(words, "\n")
  self.lower = self.text:lower()
end

function Reader:read_date()
  local first, last, date = self.text:find("(%d%d%d%d%-%d%d?%-%d%d?)")
  if not first then return end
  if not dates.valid(date) then
    self:doubt("the date %s: need a real day as YYYY-MM-DD", date)
  else
    self.task.start_date, self.task.dated = date, true
  end
  local before = self.lower:sub(1, first - 1):match("()%f[%a]from%s+$")
  self:cut(before or first, last)
  if self.text:find("%d%d%d%d%-%d%d?%-%d%d?") then
    self:doubt("a second date: name only the first day")
  end
end

-- The day-2 rule with its known numbers, or a word about a rule that is none.
function Reader:read_rule()
  local first = self.lower:find("[^%.%?!\n]*%f[%a]day[ %-]2%f[%D]")
  if not first then return end
  local short_first, short_last = self.lower:find("the day[ %-]2 rule")
  if short_first then
    self.task.constraints.conditional = true
    return self:cut(short_first, short_last)
  end
  local tail = self.lower:sub(first)
  for _, number in ipairs { "800", "350", "4%.0", "120", "500", "180", "200", "3%.2" } do
    if not tail:find("%f[%d]" .. number .. "%f[%D]") then
      return self:doubt(
        "a rule for day 2 that is not the known one (800, 500 and 200 for the hotel)"
      )
    end
  end
  local last = 0
  for stop in tail:gmatch("3%.2[%a ]*()") do
    last = stop - 1
  end
  self.task.constraints.conditional = true
  self:cut(first, first + last - 1)
end

local origin_marks = {
  "%f[%a]from%s+$",
  "%f[%a]leave%s+$",
  "%f[%a]leaving%s+$",
  "%f[%a]live in%s+$",
  "%f[%a]am in%s+$",
  "%f[%a]are in%s+$",
  "home is%s+$",
  "home in%s+$",
  "starts? in%s+$",
  "starts? at%s+$",
  "starting in%s+$",
  "%f[%a]near%s+$",
  "based in%s+$",
  "starting at%s+$",
  "departing%s+$",
}

local function is_origin(before)
  for _, mark in ipairs(origin_marks) do
    if before:find(mark) then return true end
  end
  return false
end

function Reader:read_cities()
  local found = {}
  for _, city in ipairs(data.cities(self.sql)) do
    local name = city:lower()
    local at = self.lower:find("%f[%a]" .. name .. "%f[%A]")
    while at do
      found[#found + 1] = { city = city, at = at, to = at + #name - 1 }
      at = self.lower:find("%f[%a]" .. name .. "%f[%A]", at + 1)
    end
  end
  table.sort(found, function(a, b) return a.at < b.at end)
  local named, seen = {}, {}
  for _, hit in ipairs(found) do
    if is_origin(self.lower:sub(1, hit.at - 1)) then
      self.task.origin = hit.city
    elseif not seen[hit.city] then
      seen[hit.city] = true
      named[#named + 1] = hit.city
    end
  end
  for i = #found, 1, -1 do
    self:cut(found[i].at, found[i].to)
  end
  if #named > 0 then self.task.cities = named end
  for _, mark in ipairs { "from", "to", "in", "visit", "leaving" } do
    for word in self.text:gmatch("%f[%a]" .. mark .. "%s+(%u%l+)") do
      self:doubt("the city %s: it is not known", word)
    end
  end
end

-- The number of days: "two days", "a 3-day trip", "a day trip", "a weekend".
function Reader:read_days()
  local at = 1
  while true do
    local first, last, word = self.lower:find("%f[%w](%w+)[ %-]days?%f[%A]", at)
    if not first then break end
    local count = number_words[word] or tonumber(word)
    if count and not (word == "a" and self.lower:find("^ trip", last + 1)) then
      self.task.days = count
      self:cut(first, last)
      return
    end
    at = last + 1
  end
  local single, single_end = self.lower:find("%f[%a]day trip")
  local weekend, weekend_end = self.lower:find("%f[%a]weekend")
  if single then
    self.task.days = 1
    self:cut(single, single_end)
  elseif weekend then
    self.task.days = 2
    self:cut(weekend, weekend_end)
  end
end

local nouns = {
  { "hotel", { "hotel", "night", "room", "stay" } },
  { "restaurant", { "meal", "restaurant", "lunch", "dinner", "food", "eat" } },
  { "ticket", { "ticket", "attraction", "sight", "entrance", "entry" } },
}
local total_words =
  { "in all", "altogether", "total", "overall", "whole trip", "all together", "budget" }

-- What a number at `at` in `clause` is about: the whole trip, or the noun nearest to the number.
local function subject_of(clause, at)
  for _, word in ipairs(total_words) do
    if clause:find(word, 1, true) then return "total" end
  end
  local best, distance
  for _, noun in ipairs(nouns) do
    for _, word in ipairs(noun[2]) do
      for start in clause:gmatch("()%f[%a]" .. word) do
        local gap = math.abs(start - at)
        if not best or gap < distance then
          best, distance = noun[1], gap
        end
      end
    end
  end
  return best
end

local function negated(before)
  return before:find("%f[%a]no%f[%A]") or before:find("%f[%a]not%f[%A]")
end

local function price_bound(clause, at, value)
  local before = clause:sub(1, at - 1)
  local is_least = before:find("at least%s*$")
    or before:find("more than%s*$")
    or before:find("over%s*$")
    or before:find("above%s*$")
  if is_least and not negated(before) then return nil end
  local is_under = before:find("under%s*$")
    or before:find("less than%s*$")
    or before:find("below%s*$")
  return is_under and value - 1 or value
end

local function rating_is_least(clause, at)
  local before = clause:sub(1, at - 1)
  local is_most = before:find("at most%s*$")
    or before:find("under%s*$")
    or before:find("below%s*$")
    or before:find("less than%s*$")
  return negated(before) or not is_most
end

local names = {
  hotel = { price = "hotel_max", rating = "hotel_rating_min" },
  restaurant = { price = "restaurant_max", rating = "restaurant_rating_min" },
  ticket = { price = "ticket_max" },
  total = { price = "total_max" },
}

function Reader:read_number(clause, at, text, subject)
  local value = math.tointeger(tonumber(text)) or tonumber(text)
  local is_rating = value <= 5 and (subject == "hotel" or subject == "restaurant")
  local name = subject and names[subject][is_rating and "rating" or "price"]
  local bound = value
  if name and is_rating then
    bound = rating_is_least(clause, at) and value * 1.0 or nil
  elseif name then
    bound = math.type(value) == "integer" and price_bound(clause, at, value) or nil
  end
  if not name or not bound then
    return self:doubt(
      'the number %s in "%s"',
      text,
      (clause:gsub("@", ""):gsub("%s+", " "):gsub("^ ", ""))
    )
  end
  self.task.constraints[name] = bound
end

-- Clauses end at a comma, a stop or "and"; the point of a number does not end one.
local function clauses(text)
  local marked = (text .. " ")
    :gsub("(%d),(%d%d%d)", "%1%2")
    :gsub("[%.;:!%?](%s)", "\1%1")
    :gsub(",%s", "\1 ")
    :gsub("%s[Aa]nd%s", " \1 ")
    :gsub("\n", "\1")
  local list = {}
  for clause in marked:gmatch("[^\1]+") do
    list[#list + 1] = clause
  end
  return list
end

function Reader:read_limits()
  local subject
  for _, clause in ipairs(clauses(self.lower)) do
    for at, number in clause:gmatch("()%f[%d](%d+%.?%d*)") do
      number = number:gsub("%.$", "")
      subject = subject_of(clause, at) or subject
      self:read_number(clause, at, number, subject)
    end
  end
  if self.lower:find("%f[%a]rain") or self.lower:find("%f[%a]dry%f[%A]") then
    self.task.constraints.dry = true
  end
end

function Reader:settle()
  local task = self.task
  local count = task.cities and #task.cities
  if not task.days then
    task.days = count
    if not count then self:doubt("how many days the trip takes") end
  end
  if task.days and (task.days < 1 or task.days > days_max) then
    self:doubt("a trip of %d days: it must be 1 to %d", task.days, days_max)
  end
  if count and task.days and count ~= task.days then
    self:doubt("%d cities for %d days: name one city a day, or only the start", count, task.days)
  end
  if not count and not task.origin then
    self:doubt("where the trip starts or which cities it visits")
  end
end

-- A task without any wish: what a plan of `days` days must meet when nobody said more.
function request.blank(days)
  return { days = days, start_date = request.default_date, constraints = {} }
end

-- The task in `text`. What it could not make out is listed in `not_understood`, in words for the
-- user.
function request.parse(text, db)
  local seed = random.hash("request", text) % 1000000
  local task = {
    id = "travel-request-" .. seed,
    kind = "request",
    seed = seed,
    text = text,
    constraints = {},
    start_date = request.default_date,
    dated = false,
    not_understood = {},
  }
  local reader =
    setmetatable({ task = task, sql = db.sql, text = text, lower = text:lower() }, Reader)
  reader:read_draft()
  reader:read_date()
  reader:read_rule()
  reader:read_cities()
  reader:read_days()
  reader:read_limits()
  reader:settle()
  return task
end

return request
