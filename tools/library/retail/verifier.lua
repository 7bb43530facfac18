-- Judges a case by the state of the database: what the policy demands of the request has been done,
-- nothing else has changed, and the case is closed with the right word.

local policy = require("retail.policy")

local verifier = {}

-- Keeps the tables as they are when the case comes in.
function verifier.prepare(_, db)
  for _, name in ipairs { "customers", "items", "orders", "order_items", "refunds", "credits" } do
    db.exec("CREATE TABLE before_" .. name .. " AS SELECT * FROM " .. name)
  end
end

-- What can change, as a map from words to a value.
local function snapshot(sql, prefix)
  local map = {}
  local function note(label, value) map[label] = value == nil and "nothing" or tostring(value) end
  -- Several rows may bear one label, in any order.
  local function add(label, value)
    map[label] = map[label] and map[label] .. " and " .. value or value
  end
  for _, row in ipairs(sql("SELECT id, credit FROM " .. prefix .. "customers")) do
    note("store credit of " .. row.id, row.credit)
  end
  for _, row in ipairs(sql("SELECT sku, stock FROM " .. prefix .. "items")) do
    note("stock of " .. row.sku, row.stock)
  end
  for _, row in ipairs(sql("SELECT id, status, street, zip FROM " .. prefix .. "orders")) do
    note("status of order " .. row.id, row.status)
    note("address of order " .. row.id, row.street .. ", " .. row.zip)
  end
  for _, row in ipairs(sql("SELECT * FROM " .. prefix .. "order_items")) do
    local line = "line " .. row.line .. " of order " .. row.order_id
    note(line, row.state .. " " .. row.sku .. " for " .. row.price)
  end
  for _, row in ipairs(sql("SELECT * FROM " .. prefix .. "refunds ORDER BY amount, refund_to")) do
    local line = row.line == 0 and "" or " line " .. row.line
    add("refund for order " .. row.order_id .. line, row.amount .. " to " .. row.refund_to)
  end
  for _, row in ipairs(sql("SELECT * FROM " .. prefix .. "credits ORDER BY amount")) do
    add("credit granted for order " .. row.order_id, tostring(row.amount))
  end
  return map
end

local expect = {}

local function row_of(sql, query, ...) return sql(query, ...)[1] end

local function pay(sql, map, order_id, line, refund_to, amount)
  map["refund for order " .. order_id .. (line == 0 and "" or " line " .. line)] = amount
    .. " to "
    .. refund_to
  if refund_to ~= "store_credit" then return end
  local customer = row_of(sql, "SELECT customer AS id FROM before_orders WHERE id = ?", order_id).id
  local label = "store credit of " .. customer
  map[label] = tostring(tonumber(map[label]) + amount)
end

function expect.cancel_order(sql, map, args)
  map["status of order " .. args.order_id] = "cancelled"
  local query = "SELECT sum(price) AS s FROM before_order_items WHERE order_id = ?"
  local total = row_of(sql, query, args.order_id).s
  pay(sql, map, args.order_id, 0, "original", total)
end

function expect.change_address(_, map, args)
  map["address of order " .. args.order_id] = args.street .. ", " .. args.zip
end

local function line_before(sql, args)
  return row_of(
    sql,
    "SELECT sku, price FROM before_order_items WHERE order_id = ? AND line = ?",
    args.order_id,
    args.line
  )
end

function expect.return_line(sql, map, args)
  local line = line_before(sql, args)
  local label = "line " .. args.line .. " of order " .. args.order_id
  map[label] = "returned " .. line.sku .. " for " .. line.price
  pay(sql, map, args.order_id, args.line, args.refund_to, args.amount)
end

function expect.exchange_line(sql, map, args)
  local line = line_before(sql, args)
  local price = row_of(sql, "SELECT price FROM before_items WHERE sku = ?", args.new_sku).price
  local label = "line " .. args.line .. " of order " .. args.order_id
  map[label] = "exchanged " .. args.new_sku .. " for " .. price
  for sku, change in pairs { [args.new_sku] = -1, [line.sku] = 1 } do
    local stock = "stock of " .. sku
    map[stock] = tostring(tonumber(map[stock]) + change)
  end
  if line.price ~= price then
    pay(sql, map, args.order_id, args.line, "original", line.price - price)
  end
end

function expect.grant_credit(sql, map, args)
  map["credit granted for order " .. args.order_id] = tostring(args.amount)
  local customer =
    row_of(sql, "SELECT customer AS id FROM before_orders WHERE id = ?", args.order_id).id
  local label = "store credit of " .. customer
  map[label] = tostring(tonumber(map[label]) + args.amount)
end

-- What a request demands: the calls, in the order of its parts, and the word to close it with.
function verifier.demands(task, sql)
  local calls, reasons, seen, num_refused = {}, {}, {}, 0
  for _, part in ipairs(task.parts) do
    local allowed, rule = policy.decide(sql, task.identity, part)
    for _, call in ipairs(allowed or {}) do
      calls[#calls + 1] = call
    end
    if rule then
      num_refused = num_refused + 1
      if not seen[rule] then reasons[#reasons + 1] = rule end
      seen[rule] = true
    end
  end
  local outcome = num_refused == 0 and "done"
    or num_refused == #task.parts and "refused"
    or "partly"
  return calls, { outcome = outcome, reasons = #reasons > 0 and reasons or nil }
end

local function sorted_union(one, other)
  local labels = {}
  for label in pairs(one) do
    labels[#labels + 1] = label
  end
  for label in pairs(other) do
    if one[label] == nil then labels[#labels + 1] = label end
  end
  table.sort(labels)
  return labels
end

local function joined(list)
  local copy = {}
  for i, item in ipairs(type(list) == "table" and list or {}) do
    copy[i] = tostring(item)
  end
  table.sort(copy)
  return #copy == 0 and "none" or table.concat(copy, ", ")
end

-- {ok, violations, proof}: first what the database has wrong, then the word.
function verifier.verify(task, answer, db)
  local before, now = snapshot(db.sql, "before_"), snapshot(db.sql, "")
  local calls, word = verifier.demands(task, db.sql)
  local wanted = {}
  for label, value in pairs(before) do
    wanted[label] = value
  end
  for _, call in ipairs(calls) do
    expect[call.tool](db.sql, wanted, call.arguments)
  end
  local violations, proof = {}, {}
  for _, label in ipairs(sorted_union(wanted, now)) do
    local is, must = now[label] or "none", wanted[label] or "none"
    local was = before[label] or "none"
    if is ~= must then
      local message = string.format("%s is %s, must be %s", label, is, must)
      if must == was then message = message .. " as before: nothing allowed the change" end
      violations[#violations + 1] = { constraint = "state", message = message }
    elseif is ~= was then
      proof[#proof + 1] = { constraint = "state", what = label, was = was, is = is }
    end
  end
  if answer.outcome ~= word.outcome then
    local message =
      string.format("outcome is %s, must be %s", tostring(answer.outcome), word.outcome)
    violations[#violations + 1] = { constraint = "outcome", message = message }
  end
  if joined(answer.reasons) ~= joined(word.reasons) then
    local message =
      string.format("reasons are %s, must be %s", joined(answer.reasons), joined(word.reasons))
    violations[#violations + 1] = { constraint = "reasons", message = message }
  end
  proof[#proof + 1] = { constraint = "outcome", is = word.outcome, reasons = joined(word.reasons) }
  return { ok = #violations == 0, violations = violations, proof = proof }
end

return verifier
