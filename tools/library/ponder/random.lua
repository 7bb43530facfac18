-- Deterministic randomness: every stream is named by integers and strings, so that adding a draw in
-- one place never shifts the draws of another.

local random = {}

local function mix(x) -- splitmix64's finaliser
  x = (x ~ (x >> 30)) * 0xBF58476D1CE4E5B9
  x = (x ~ (x >> 27)) * 0x94D049BB133111EB
  return x ~ (x >> 31)
end

-- A 63-bit non-negative hash of integers and strings.
function random.hash(...)
  local state = 0x243F6A8885A308D3
  for i = 1, select("#", ...) do
    local part = select(i, ...)
    if type(part) == "string" then
      state = mix(state ~ (#part + 0x100))
      for k = 1, #part do
        state = (state ~ part:byte(k)) * 0x100000001B3
      end
    else
      state = state ~ (part // 1 | 0)
    end
    state = mix(state + 0x9E3779B97F4A7C15)
  end
  return state & 0x7FFFFFFFFFFFFFFF
end

local Stream = {}
Stream.__index = Stream

function random.stream(...) return setmetatable({ state = random.hash(...) }, Stream) end

function Stream:next()
  self.state = self.state + 0x9E3779B97F4A7C15
  return mix(self.state) & 0x7FFFFFFFFFFFFFFF
end

-- An integer in [low, high].
function Stream:int(low, high) return low + self:next() % (high - low + 1) end

-- True in `percent` of a hundred draws.
function Stream:chance(percent) return self:next() % 100 < percent end

function Stream:pick(list) return list[1 + self:next() % #list] end

-- A name out of {{name, weight}, ...}, by its share in the sum of the weights.
function Stream:weighted(list)
  local sum = 0
  for _, item in ipairs(list) do
    sum = sum + item[2]
  end
  local ticket = self:int(0, sum - 1)
  for _, item in ipairs(list) do
    ticket = ticket - item[2]
    if ticket < 0 then return item[1] end
  end
end

function Stream:shuffle(list)
  for i = #list, 2, -1 do
    local j = 1 + self:next() % i
    list[i], list[j] = list[j], list[i]
  end
  return list
end

return random
