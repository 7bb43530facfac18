#include "tools/lua/prelude.h"

namespace ponder::tools::lua {

const char* const kPrelude = R"lua(
  local host, lua = ...
  -- The host takes its globals away once the sandbox stands, so what is used later is kept here.
  local error, type, select, setmetatable = lua.error, lua.type, lua.select, lua.setmetatable
  local rawget, tostring, pcall, concat = lua.rawget, lua.tostring, lua.pcall, lua.table.concat

  local function pick(from, names)
    local picked = {}
    for name in host.each_word(names) do picked[name] = from[name] end
    return picked
  end

  local globals = pick(lua, [[assert error getmetatable ipairs next pairs pcall rawequal rawget
    rawlen rawset select tonumber type]])
  globals.tostring = host.tostring

  -- A message handler would run inside the hook that ends a call, where no other hook reaches it.
  -- Here it runs when the error has been caught; there is no traceback that it could miss.
  function globals.xpcall(body, handler, ...)
    local function handled(_, ...) return false, ... end
    local function after(ok, ...)
      if ok then return true, ... end
      return handled(pcall(handler, (...)))
    end
    return after(pcall(body, ...))
  end

  -- Libraries whose functions end by themselves.
  globals.math = pick(lua.math, [[abs acos asin atan ceil cos deg exp floor fmod huge log max
    maxinteger min mininteger modf pi rad sin sqrt tan tointeger type ult]])
  globals.utf8 = pick(lua.utf8, "char charpattern codepoint codes len offset")

  -- A function of the host that waits yields through every coroutine of the script up to the host,
  -- and none of them notices: what the host suspends never shows as a value, so that nothing can be
  -- intercepted or made up. There is one chain of running coroutines, so its depth is one number.
  local raw = lua.coroutine
  local coroutines = pick(raw, "create status")
  coroutines.close = host.close
  globals.coroutine = coroutines
  local depth = 0

  local function after_resume(co, is_pinned, ...)
    if host.is_suspended() then
      raw.yield()
      return after_resume(co, is_pinned, raw.resume(co))
    end
    depth = depth - 1
    if is_pinned then host.pin(-1) end
    return ...
  end

  function coroutines.resume(co, ...)
    if type(co) ~= "thread" then
      error("bad argument #1 to 'resume' (coroutine expected, got " .. type(co) .. ")", 2)
    end
    local is_pinned = not raw.isyieldable()
    if is_pinned then host.pin(1) end
    depth = depth + 1
    return after_resume(co, is_pinned, raw.resume(co, ...))
  end

  function coroutines.wrap(body)
    local co = raw.create(body)
    local function unwrap(ok, ...)
      if ok then return ... end
      host.close(co)
      error((...), 0)
    end
    return function(...) return unwrap(coroutines.resume(co, ...)) end
  end

  function coroutines.yield(...)
    if depth == 0 then error("coroutine.yield: not inside a coroutine of the script's own", 2) end
    return raw.yield(...)
  end

  function coroutines.isyieldable() return depth > 0 and raw.isyieldable() end

  function coroutines.running()
    if depth == 0 then return nil, true end
    return (raw.running()), false
  end

  local strings = pick(lua.string,
    "byte char len lower pack packsize reverse sub unpack upper")
  strings.find, strings.match, strings.rep = host.find, host.match, host.rep
  strings.format = host.format
  globals.string = strings

  local tables = pick(lua.table, "pack")
  for name in host.each_word("concat insert remove unpack") do
    tables[name] = host.guard(lua.table[name])
  end
  tables.move = host.guard_move(lua.table.move)
  tables.sort = host.guard_sort(lua.table.sort)
  globals.table = tables

  function strings.gmatch(text, pattern, init)
    text, pattern = text .. "", pattern .. ""
    local from, last = init or 1, nil
    if from < 0 then from = #text + from + 1 end
    if from < 1 then from = 1 end
    local function step(first, stop, ...)
      if not first then
        from = #text + 2  -- past every match
        return nil
      end
      from, last = stop + 1, stop
      return ...
    end
    return function() return step(host.search(text, pattern, from, last, false)) end
  end

  local function replacement_of(repl)
    local kind = type(repl)
    if kind == "function" then return function(_, ...) return repl(...) end end
    if kind == "table" then return function(_, capture) return repl[capture] end end
    if kind ~= "string" and kind ~= "number" then
      error("bad argument #3 to 'gsub' (string/function/table expected, got " .. kind .. ")", 3)
    end
    repl = repl .. ""
    if not host.find(repl, "%", 1, true) then return function() return repl end end
    return function(whole, ...) return host.expand(repl, whole, ...) end
  end

  function strings.gsub(text, pattern, repl, max)
    text, pattern = text .. "", pattern .. ""
    local replace = replacement_of(repl)
    local anchored = strings.sub(pattern, 1, 1) == "^"
    if anchored then pattern = strings.sub(pattern, 2) end
    local parts, count, from, last = {}, 0, 1, nil
    local function step(first, stop, ...)
      if not first then return false end
      count = count + 1
      local whole = strings.sub(text, first, stop)
      local new = replace(whole, ...)
      local kind = type(new)
      if not new then
        new = whole
      elseif kind ~= "string" and kind ~= "number" then
        error("invalid replacement value (a " .. kind .. ")")
      end
      parts[#parts + 1] = strings.sub(text, from, first - 1)
      parts[#parts + 1] = new
      from, last = stop + 1, stop
      return true
    end
    while not max or count < max do
      if not step(host.search(text, pattern, from, last, anchored)) or anchored then break end
    end
    parts[#parts + 1] = strings.sub(text, from)
    return concat(parts), count
  end

  function globals.setmetatable(value, metatable)
    if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
      error("setmetatable: __gc is not allowed", 2)
    end
    return setmetatable(value, metatable)
  end

  -- Methods of strings come from a copy that scripts do not hold, and its metatable stays hidden.
  local string_metatable = lua.getmetatable("")
  local methods = {}
  for name, value in lua.next, strings do methods[name] = value end
  string_metatable.__index = methods
  string_metatable.__metatable = false

  local loaded, loading = {}, {}

  local function new_environment(name)
    return setmetatable({}, {
      __index = globals,
      __newindex = function(_, key)
        error("global '" .. tostring(key) .. "' assigned in module '" .. name .. "'", 2)
      end,
      __metatable = false,
    })
  end

  function globals.require(name)
    if not host.load then error("require: a tool is one file", 2) end
    if loaded[name] ~= nil then return loaded[name] end
    if loading[name] then error("module '" .. name .. "' requires itself", 2) end
    local chunk = host.load(name, new_environment(name))
    loading[name] = true
    local module = chunk()
    loading[name] = nil
    if module == nil then error("module '" .. name .. "' returns nothing", 2) end
    loaded[name] = module
    return module
  end

  return globals.require, new_environment
)lua";

}  // namespace ponder::tools::lua
