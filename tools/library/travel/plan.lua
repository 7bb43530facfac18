-- A plan: an array of days {city, hotel, afternoon_restaurant, afternoon_attraction,
-- evening_restaurant}, and `time`, the date, which follows from the task. Its text form is one line
-- per day, the fields in that order, separated by commas.

local plan = {}

plan.fields =
  { "city", "hotel", "afternoon_restaurant", "afternoon_attraction", "evening_restaurant" }

local function trim(text) return (text:gsub("^%s+", ""):gsub("%s+$", "")) end

local function split_line(line)
  local parts = {}
  for part in (line .. ","):gmatch("([^,|]*)[,|]") do
    parts[#parts + 1] = trim(part)
  end
  return parts
end

-- The plan that `text` states, or nil and what is wrong with it. A line may start with its date as
-- a sixth field; bars do as well as commas.
function plan.parse(text)
  if type(text) ~= "string" or trim(text) == "" then return nil, "the plan is empty" end
  local days = {}
  for line in (text:gsub("\r", "") .. "\n"):gmatch("([^\n]*)\n") do
    if trim(line) ~= "" then
      local parts, day = split_line(line), {}
      if #parts == 6 and parts[1]:match("^%d%d%d%d%-%d%d%-%d%d$") then
        day.time = table.remove(parts, 1)
      end
      if #parts ~= 5 then
        return nil,
          string.format(
            "line %d has %d fields, need 5: city, hotel, afternoon restaurant, "
              .. "attraction, evening restaurant",
            #days + 1,
            #parts
          )
      end
      for i, field in ipairs(plan.fields) do
        day[field] = parts[i]
      end
      days[#days + 1] = day
    end
  end
  return days
end

function plan.line(day)
  local parts = {}
  for i, field in ipairs(plan.fields) do
    parts[i] = day[field]
  end
  return table.concat(parts, ", ")
end

function plan.text(days)
  local lines = {}
  for i, day in ipairs(days) do
    lines[i] = plan.line(day)
  end
  return table.concat(lines, "\n")
end

return plan
