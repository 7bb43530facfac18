-- JSON text with sorted keys: the same value is always the same bytes.

local json = {}

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function quote(text)
  return '"'
    .. text:gsub('[%c"\\]', function(c) return escapes[c] or string.format("\\u%04x", c:byte()) end)
    .. '"'
end

local function number(value)
  if math.type(value) == "integer" then return string.format("%d", value) end
  local text = string.format("%.10g", value)
  return text:find("[%.e]") and text or text .. ".0"
end

local encode

local function list(value, pad)
  local parts = {}
  for i, item in ipairs(value) do
    parts[i] = pad .. "  " .. encode(item, pad .. "  ")
  end
  return "[\n" .. table.concat(parts, ",\n") .. "\n" .. pad .. "]"
end

local function object(value, pad)
  local keys, parts = {}, {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    parts[i] = pad .. "  " .. quote(key) .. ": " .. encode(value[key], pad .. "  ")
  end
  return #keys == 0 and "{}" or "{\n" .. table.concat(parts, ",\n") .. "\n" .. pad .. "}"
end

function encode(value, pad)
  local kind = type(value)
  if kind == "table" then return #value > 0 and list(value, pad) or object(value, pad) end
  if kind == "number" then return number(value) end
  if kind == "string" then return quote(value) end
  return tostring(value)
end

function json.encode(value) return encode(value, "") .. "\n" end

json.quote = quote

return json
