-- What a scheduler can look at, and the two ways to end.

local rules = require("calendar.rules")
local world = require("calendar.world")

local function offset_text(offset)
  local size = math.abs(offset)
  return (offset < 0 and "UTC-" or "UTC+") .. world.clock(size)
end

local function list_people(_, ctx)
  local lines = {}
  local rows = ctx.sql(
    "SELECT p.*, c.offset FROM people p JOIN cities c ON c.name = p.city ORDER BY p.name"
  )
  for i, row in ipairs(rows) do
    lines[i] = string.format(
      "%s|%s|%s|%s to %s",
      row.name,
      row.city,
      offset_text(row.offset),
      world.clock(row.work_start),
      world.clock(row.work_end)
    )
  end
  return table.concat(lines, "\n")
end

local function list_rooms(args, ctx)
  local lines = {}
  local rows = ctx.sql("SELECT * FROM rooms WHERE city = ? ORDER BY name", args.city)
  for i, row in ipairs(rows) do
    local video = row.video == 1 and "video" or "no video"
    lines[i] = row.name .. "|" .. row.seats .. " seats|" .. video
  end
  if #lines == 0 then return nil, "there are no rooms in " .. args.city end
  return table.concat(lines, "\n")
end

-- What a person or a room is booked for on a day, by the clock of its city.
local function get_busy(args, ctx)
  local place = ctx.sql(
    "SELECT c.name, c.offset FROM cities c JOIN "
      .. "(SELECT name, city FROM people UNION SELECT name, city FROM rooms) x ON x.city = c.name "
      .. "WHERE x.name = ?",
    args.who
  )[1]
  if not place then return nil, "there is no person or room " .. args.who end
  local day = world.day(args.date)
  if not day then return nil, "bad date " .. args.date .. ", need YYYY-MM-DD" end
  local lines = {}
  for _, row in ipairs(ctx.sql("SELECT * FROM busy WHERE who = ? ORDER BY start", args.who)) do
    local on, minute = rules.local_time(row.start, place.offset)
    if on == day then
      local finish = minute + row.finish - row.start
      lines[#lines + 1] = world.clock(minute) .. " to " .. world.clock(finish)
    end
  end
  local booked = #lines == 0 and "free all day" or table.concat(lines, ", ")
  return args.who .. " on " .. args.date .. " in " .. place.name .. ": " .. booked
end

local function convert_time(args, ctx)
  local offsets = {}
  for i, name in ipairs { args.from_city, args.to_city } do
    local row = ctx.sql("SELECT offset FROM cities WHERE name = ?", name)[1]
    if not row then return nil, "there is no city " .. name end
    offsets[i] = row.offset
  end
  local day, minute = world.day(args.date), world.minutes(args.time)
  if not day then return nil, "bad date " .. args.date .. ", need YYYY-MM-DD" end
  if not minute then return nil, "bad time " .. args.time .. ", need HH:MM" end
  local on, at = rules.local_time(day * 1440 + minute - offsets[1], offsets[2])
  return world.date(on) .. " " .. world.clock(at)
end

local function submit_schedule(args, ctx)
  ctx.state.submitted = { meetings = args.meetings }
  return "submitted"
end

local function declare_impossible(args, ctx)
  ctx.state.submitted = { impossible_without = args.person }
  return "declared"
end

local text = '{"type": "string"}'

local function parameters(...)
  local properties, required = {}, {}
  for i, name in ipairs { ... } do
    properties[i] = '"' .. name .. '": ' .. text
    required[i] = '"' .. name .. '"'
  end
  return '{"type": "object", "properties": {'
    .. table.concat(properties, ", ")
    .. '}, "required": ['
    .. table.concat(required, ", ")
    .. "]}"
end

local toolbox = {}

local function tool(name, description, schema, effect, run)
  toolbox[#toolbox + 1] = {
    name = name,
    description = description,
    parameters = schema,
    effect = effect,
    capabilities = { "sql" },
    run = run,
  }
end

tool(
  "list_people",
  "Everybody: name|city|time zone|working hours there",
  parameters(),
  "pure",
  list_people
)
tool("list_rooms", "The rooms of a city: name|seats|video", parameters("city"), "pure", list_rooms)
tool(
  "get_busy",
  "When a person or a room is busy on a date, by the local clock.",
  parameters("who", "date"),
  "pure",
  get_busy
)
tool(
  "convert_time",
  "A date and time of one city as that of another.",
  parameters("date", "time", "from_city", "to_city"),
  "pure",
  convert_time
)
tool(
  "submit_schedule",
  "Submits a date, a start as 09:30 and a room for each meeting, by the organiser's clock.",
  '{"type": "object", "properties": {"meetings": {"type": "array", "items": {"type": "object", '
    .. '"properties": {"meeting": {"type": "string"}, "date": {"type": "string"}, '
    .. '"start": {"type": "string"}, "room": {"type": "string"}}, '
    .. '"required": ["meeting", "date", "start", "room"]}}}, "required": ["meetings"]}',
  "idempotent",
  submit_schedule
)
tool(
  "declare_impossible",
  "Says that no schedule is possible, but would be without this person, who is no organiser.",
  parameters("person"),
  "idempotent",
  declare_impossible
)

return toolbox
