-- Compares an answer with what the task's own query gives.

local verifier = {}

-- Answers are asked for with two decimals at the most.
local tolerance = 0.0051

local function same(value, wanted)
  if type(value) ~= type(wanted) then return false end
  if type(value) ~= "number" then return value == wanted end
  if math.type(wanted) == "integer" then return value == wanted end
  return math.abs(value - wanted) <= tolerance
end

-- Rows in an order of their own, for questions that ask for none.
local function sorted(rows)
  local copy = table.move(rows, 1, #rows, 1, {})
  local function key(row)
    local cells = {}
    for i, value in ipairs(row) do
      cells[i] = type(value) == "number" and string.format("%20.2f", value) or tostring(value)
    end
    return table.concat(cells, "\1")
  end
  table.sort(copy, function(a, b) return key(a) < key(b) end)
  return copy
end

-- {ok, violations, proof}: the first row and column that differ, with both values.
function verifier.verify(task, answer, db)
  local wanted = db.sql_grid(task.query).rows
  local violations = {}
  local function violate(constraint, ...)
    violations[#violations + 1] = { constraint = constraint, message = string.format(...) }
  end
  if #answer ~= #wanted then violate("rows", "%d rows, must be %d", #answer, #wanted) end
  local given = answer
  if not task.ordered then
    given, wanted = sorted(answer), sorted(wanted)
  end
  for i = 1, math.min(#given, #wanted) do
    if #given[i] ~= #wanted[i] then
      violate("columns", "row %d has %d values, must have %d", i, #given[i], #wanted[i])
    end
    for k, value in ipairs(wanted[i]) do
      if k <= #given[i] and not same(given[i][k], value) then
        local is, must = tostring(given[i][k]), tostring(value)
        violate("value", "row %d, column %d is %s, must be %s", i, k, is, must)
      end
    end
  end
  local proof = { { constraint = "query", query = task.query, rows = wanted } }
  return { ok = #violations == 0, violations = violations, proof = proof }
end

return verifier
