-- Calendar arithmetic on "YYYY-MM-DD" without the operating system's clock.

local dates = {}

local function leap(year) return (year % 4 == 0 and year % 100 ~= 0) or year % 400 == 0 end

local function month_days(year, month)
  if month == 2 then return leap(year) and 29 or 28 end
  return (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31
end

-- Year, month, day of a valid date text, else nil.
function dates.split(text)
  local year, month, day = tostring(text):match("^(%d%d%d%d)%-(%d%d)%-(%d%d)$")
  if not year then return nil end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  if month < 1 or month > 12 or day < 1 or day > month_days(year, month) then return nil end
  return year, month, day
end

function dates.valid(text) return dates.split(text) ~= nil end

-- The date `days` (>= 0) after `text`.
function dates.add(text, days)
  local year, month, day = dates.split(text)
  day = day + days
  while day > month_days(year, month) do
    day = day - month_days(year, month)
    month = month + 1
    if month > 12 then
      year, month = year + 1, 1
    end
  end
  return string.format("%04d-%02d-%02d", year, month, day)
end

-- Days since 0000-03-01, so that the difference of two dates is that of their numbers.
function dates.number(text)
  local year, month, day = dates.split(text)
  if month < 3 then
    year, month = year - 1, month + 12
  end
  return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 1
end

-- 1 for Monday to 7 for Sunday.
function dates.weekday(text) return (dates.number(text) + 2) % 7 + 1 end

dates.weekday_names =
  { "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday" }

return dates
