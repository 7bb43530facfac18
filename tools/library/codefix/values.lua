-- Values of test cases, and how each language writes them.

local values = {}

values.null = setmetatable({}, { __name = "null" })

local Map = {}

-- A map from strings, as {{key, value}, ...}.
function values.map(pairs_of) return setmetatable({ entries = pairs_of }, Map) end

local STYLES = {
  python = { null = "None", yes = "True", no = "False", list = "[%s]", map = "{%s}", entry = "%s: %s", text = "%s" },
  lua = { null = "nil", yes = "true", no = "false", list = "{%s}", map = "{%s}", entry = "[%s] = %s", text = "%s" },
  cpp = { null = "std::nullopt", yes = "true", no = "false", list = "{%s}", map = "{%s}", entry = "{%s, %s}", text = "%ss" },
}

local function joined(style, list, write)
  local parts = {}
  for i, item in ipairs(list) do
    parts[i] = write(item)
  end
  return table.concat(parts, ", ")
end

function values.literal(language, value)
  local style = STYLES[language]
  local function write(item) return values.literal(language, item) end
  if value == values.null then return style.null end
  if value == true then return style.yes end
  if value == false then return style.no end
  if math.type(value) == "integer" then return string.format("%d", value) end
  if type(value) == "number" then return string.format("%.10g", value):find("[.e]") and string.format("%.10g", value) or string.format("%.1f", value) end
  if type(value) == "string" then return style.text:format('"' .. value .. '"') end
  if getmetatable(value) == Map then
    return style.map:format(joined(style, value.entries, function(entry)
      return style.entry:format(write(entry[1]), write(entry[2]))
    end))
  end
  return style.list:format(joined(style, value, write))
end

return values
