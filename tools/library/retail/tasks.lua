-- Draws cases of every kind from a seed. A case is an identity and up to three parts; what the
-- policy makes of each part is asked for while drawing, so that every kind is what it says.

local policy = require("retail.policy")
local kinds = require("ponder.kinds")
local random = require("ponder.random")
local verifier = require("retail.verifier")
local wording = require("retail.wording")
local world = require("retail.world")

local tasks = {}

local shares = {
  { "cancel", 8 },
  { "address", 6 },
  { "return", 16 },
  { "exchange", 10 },
  { "credit", 8 },
  { "refusal", 12 },
  { "pressure", 12 },
  { "fallback", 6 },
  { "identity", 4 },
  { "mixed", 18 },
}

tasks.kinds = {}
for i, share in ipairs(shares) do
  tasks.kinds[i] = share[1]
end

-- The tables by the names that policy.lua reads, before there is a copy of them.
local function fresh(sql)
  return function(query, ...) return sql((query:gsub("before_", "")), ...) end
end

local function lines_of(sql, order)
  return sql(
    "SELECT o.line, o.sku, i.product, i.option, i.category FROM order_items o "
      .. "JOIN items i ON i.sku = o.sku WHERE o.order_id = ? ORDER BY o.line",
    order
  )
end

local draw = {}

function draw.cancel(_, _, order) return { op = "cancel", order = order } end

function draw.credit(_, _, order) return { op = "credit", order = order } end

function draw.address(rng, _, order)
  local street, zip = world.address(rng)
  return { op = "address", order = order, street = street, zip = zip }
end

draw["return"] = function(rng, sql, order)
  local line = rng:pick(lines_of(sql, order))
  local methods = { { "original", 45 }, { "store_credit", 40 }, { "other", 15 } }
  return {
    op = "return",
    order = order,
    line = line.line,
    item = line.product,
    refund_to = rng:weighted(methods),
    defective = rng:chance(25),
  }
end

function draw.exchange(rng, sql, order)
  local line = rng:pick(lines_of(sql, order))
  local others =
    sql("SELECT sku, option FROM items WHERE product = ? AND sku <> ?", line.product, line.sku)
  local other = rng:pick(others)
  return {
    op = "exchange",
    order = order,
    line = line.line,
    item = line.product,
    new_sku = other.sku,
    option = other.option,
  }
end

function draw.fallback(rng, sql, order)
  local part = draw.exchange(rng, sql, order)
  part.otherwise = "store_credit"
  return part
end

local function draw_identity(rng, customer)
  if rng:chance(55) then return { email = customer.email } end
  return { name = customer.name, zip = customer.zip }
end

-- An identity that fits nobody, but nearly does.
local function spoil_identity(rng, identity)
  if identity.email then
    identity.email = identity.email:gsub("%d+@", rng:int(2000, 9999) .. "@")
  else
    identity.zip = string.format("%05d", rng:int(10000, 99999))
  end
  return identity
end


local ops = { "cancel", "address", "return", "exchange", "credit" }

-- A part about one of the customer's orders, or rarely somebody else's. `used` holds the orders
-- that other parts are about.
local function draw_part(rng, sql, customer, op, used)
  local orders = sql("SELECT id FROM orders WHERE customer = ? ORDER BY id", customer.id)
  if op ~= "fallback" and rng:chance(6) then
    orders = sql("SELECT id FROM orders WHERE customer <> ? ORDER BY id LIMIT 40", customer.id)
  end
  local order = rng:pick(orders).id
  if used[order] then return nil end
  used[order] = true
  return draw[op](rng, sql, order)
end

local shape = {}

-- One part of the kind's own operation, which the policy allows.
local function single(op)
  return function(rng, sql, task, customer)
    local part = draw_part(rng, sql, customer, op, {})
    task.parts = { part }
    return part and policy.decide(fresh(sql), task.identity, part) ~= nil
  end
end

for _, op in ipairs { "cancel", "address", "return", "exchange", "credit", "fallback" } do
  shape[op] = single(op)
end

function shape.refusal(rng, sql, task, customer)
  local part = draw_part(rng, sql, customer, rng:pick(ops), {})
  task.parts = { part }
  return part and policy.decide(fresh(sql), task.identity, part) == nil
end

function shape.pressure(rng, sql, task, customer)
  task.has_pressure = true
  return shape.refusal(rng, sql, task, customer)
end

function shape.identity(rng, sql, task, customer)
  local part = draw_part(rng, sql, customer, rng:pick(ops), {})
  spoil_identity(rng, task.identity)
  task.parts = { part }
  return part and policy.customer(sql, task.identity) == nil
end

function shape.mixed(rng, sql, task, customer)
  local used, allowed = {}, 0
  task.parts = {}
  for i = 1, rng:int(2, 3) do
    local op = rng:chance(15) and "fallback" or rng:pick(ops)
    local part = draw_part(rng, sql, customer, op, used)
    if not part then return false end
    task.parts[i] = part
    if policy.decide(fresh(sql), task.identity, part) then allowed = allowed + 1 end
  end
  task.has_pressure = allowed < #task.parts and rng:chance(30)
  return allowed > 0
end

-- The case of `seed` on the database behind `db`; `kind` overrules the drawn kind.
function tasks.task(seed, db, kind)
  kind = kind or random.stream("retail kind", seed):weighted(shares)
  kinds.expect(shape, kind)
  local customers = db.sql("SELECT * FROM customers ORDER BY id")
  for attempt = 1, 2000 do
    local rng = random.stream("retail task", seed, kind, attempt)
    local customer = rng:pick(customers)
    local task = { id = "retail-" .. kind .. "-" .. seed, kind = kind, seed = seed }
    task.identity = draw_identity(rng, customer)
    if shape[kind](rng, db.sql, task, customer) then
      task.difficulty = #task.parts
      task.text = wording.render(task)
      return task
    end
  end
  error("no case of kind " .. kind .. " for seed " .. seed)
end

-- Looks the customer and the orders up, does what the policy demands, and closes the case.
function tasks.oracle(task, db)
  local calls = { { tool = "find_customer", arguments = task.identity } }
  for _, part in ipairs(task.parts) do
    calls[#calls + 1] = { tool = "get_order", arguments = { order_id = part.order } }
  end
  local demanded, word = verifier.demands(task, db.sql)
  table.move(demanded, 1, #demanded, #calls + 1, calls)
  calls[#calls + 1] = { tool = "close_case", arguments = word }
  return calls
end

return tasks
