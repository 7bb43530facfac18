-- Programs with their bugs beside them. A line of a program may end with marks
--
--   for i = 1, #items do   @@off_by_one|for i = 1, #items - 1 do   @@wrong_initial_value|...
--
-- each the class of a bug and what stands in the line's place then, with its indentation: a text, or
-- "-" for nothing, "-2" for nothing in the place of this line and the next.

local mutation = {}

local function lines_of(text)
  local lines = {}
  for line in text:gmatch("([^\n]*)\n") do
    lines[#lines + 1] = line
  end
  return lines
end

local function code_of(line)
  local at = line:find("%s*@@")
  return at and line:sub(1, at - 1) or line
end

local function join(lines) return table.concat(lines, "\n") .. "\n" end

-- The places of bugs: {line, class, replacement}.
function mutation.sites(template)
  local sites = {}
  for number, line in ipairs(lines_of(template)) do
    local at = line:find("@@", 1, true)
    while at do
      local next_at = line:find("@@", at + 2, true)
      local mark = line:sub(at + 2, (next_at or #line + 1) - 1)
      local class, replacement = mark:match("^([%a_]+)|(.-)%s*$")
      if not class then error("mark without class: " .. line) end
      sites[#sites + 1] = { line = number, class = class, replacement = replacement }
      at = next_at
    end
  end
  return sites
end

function mutation.original(template)
  local lines = lines_of(template)
  for i, line in ipairs(lines) do
    lines[i] = code_of(line)
  end
  return join(lines)
end

function mutation.mutant(template, site)
  local out = {}
  local skipped = 0
  for number, line in ipairs(lines_of(template)) do
    local code = code_of(line)
    if number == site.line then
      local count = site.replacement:match("^%-(%d*)$")
      if count then
        skipped = math.max(tonumber(count) or 1, 1) - 1
      else
        out[#out + 1] = code:match("^%s*") .. site.replacement
      end
    elseif skipped > 0 then
      skipped = skipped - 1
    else
      out[#out + 1] = code
    end
  end
  return join(out)
end

local CONTEXT = 3

-- A unified diff of two texts that differ in one place.
function mutation.patch(file, before, after)
  local old, new = lines_of(before), lines_of(after)
  local first = 1
  while old[first] == new[first] do
    first = first + 1
  end
  local tail = 0
  while tail < math.min(#old, #new) - first + 1 and old[#old - tail] == new[#new - tail] do
    tail = tail + 1
  end
  local from = math.max(1, first - CONTEXT)
  local kept = math.min(tail, CONTEXT)
  local body = {}
  local function add(mark, lines, low, high)
    for i = low, high do
      body[#body + 1] = mark .. lines[i]
    end
  end
  add(" ", old, from, first - 1)
  add("-", old, first, #old - tail)
  add("+", new, first, #new - tail)
  add(" ", old, #old - tail + 1, #old - tail + kept)
  local head = string.format("--- a/%s\n+++ b/%s\n@@ -%d,%d +%d,%d @@\n", file, file, from,
    #old - tail + kept - from + 1, from, #new - tail + kept - from + 1)
  return head .. join(body)
end

return mutation
