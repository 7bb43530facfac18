-- What may be done for a customer: the policy in words, which every session reads, and the same as
-- a function, which the oracle and the verifier ask.

local dates = require("ponder.dates")
local world = require("retail.world")

local policy = {}

-- Lines that are indented belong to the line above them.
local text = [[
You are the support agent of a shop. Today is ]] .. world.today .. [[.
Do all that the customer asks for and the policy allows, nothing else, and close the case.
The database counts, not what the customer says about orders, dates or permissions.

Policy, in the order in which its rules are applied:
identity: Find the customer by email, or by name and zip code together. If no customer fits,
  refuse everything.
owner: Act only on orders of this customer.
status: Cancel an order or change its address only while it is pending. Return or exchange only
  lines of delivered orders that are kept, neither returned nor exchanged.
final_sale: Lines sold in a final sale are neither returned nor exchanged.
window: Return or exchange within 30 days after delivery, gold members within 60 days;
  electronics within 14 days, whoever buys.
stock: Exchange only for another option of the same product that is in stock.
method: Refund to the original payment or as store credit, never to another card or account.
late: Grant a credit of 10 (gold members: 20) for an order that came more than 7 days after the
  promised day, once for an order, if the customer asks.

Amount of a refund: the price of the line. Electronics that are not defective: minus 15 percent of
  the price. As store credit: then plus 5 percent of that. Each percentage is rounded down to
  whole coins.
Close the case with outcome done if all was done, refused if nothing was, else partly, and for
  each part that you refused name the first rule that forbids it.]]

policy.text = (text:gsub("\n  +", " "))

-- In the order in which they are applied.
policy.rules =
  { "identity", "owner", "status", "final_sale", "window", "stock", "method", "late" }

local credit_for_late = { none = 10, gold = 20 }
local late_after_days = 7

function policy.window_days(category, member)
  if category == "electronics" then return 14 end
  return member == "gold" and 60 or 30
end

-- The refund for a line: whole coins, each percentage rounded down.
function policy.refund(price, category, is_defective, refund_to)
  local amount = price
  if category == "electronics" and not is_defective then amount = amount - price * 15 // 100 end
  if refund_to == "store_credit" then amount = amount + amount * 5 // 100 end
  return amount
end

function policy.days_since(date) return dates.number(world.today) - dates.number(date) end

local function days_late(order)
  return dates.number(order.delivered) - dates.number(order.promised)
end

-- The tables as they were when the case came in; see verifier.prepare.
local function order_of(sql, id) return sql("SELECT * FROM before_orders WHERE id = ?", id)[1] end

local function line_of(sql, part)
  return sql(
    "SELECT o.line, o.price, o.final_sale, o.state, o.sku, i.category, i.product "
      .. "FROM before_order_items o JOIN items i ON i.sku = o.sku "
      .. "WHERE o.order_id = ? AND o.line = ?",
    part.order,
    part.line
  )[1]
end

local decide = {}

function decide.cancel(_, _, part, order)
  if order.status ~= "pending" then return nil, "status" end
  return { { tool = "cancel_order", arguments = { order_id = part.order } } }
end

function decide.address(_, _, part, order)
  if order.status ~= "pending" then return nil, "status" end
  local arguments = { order_id = part.order, street = part.street, zip = part.zip }
  return { { tool = "change_address", arguments = arguments } }
end

-- The line of a part that may go back, or nil and the rule.
local function returnable(sql, customer, part, order)
  local line = line_of(sql, part)
  if order.status ~= "delivered" or line.state ~= "kept" then return nil, "status" end
  if line.final_sale == 1 then return nil, "final_sale" end
  local window = policy.window_days(line.category, customer.member)
  if policy.days_since(order.delivered) > window then return nil, "window" end
  return line
end

decide["return"] = function(sql, customer, part, order)
  local line, rule = returnable(sql, customer, part, order)
  if not line then return nil, rule end
  if part.refund_to == "other" then return nil, "method" end
  local amount = policy.refund(line.price, line.category, part.defective, part.refund_to)
  local arguments =
    { order_id = part.order, line = part.line, refund_to = part.refund_to, amount = amount }
  return { { tool = "return_line", arguments = arguments } }
end

function decide.exchange(sql, customer, part, order)
  local line, rule = returnable(sql, customer, part, order)
  if not line then return nil, rule end
  local item = sql("SELECT product, stock FROM before_items WHERE sku = ?", part.new_sku)[1]
  if item.product ~= line.product or item.stock < 1 or part.new_sku == line.sku then
    if part.otherwise == "store_credit" then
      local instead = { order = part.order, line = part.line, refund_to = "store_credit" }
      return decide["return"](sql, customer, instead, order)
    end
    return nil, "stock"
  end
  local arguments = { order_id = part.order, line = part.line, new_sku = part.new_sku }
  return { { tool = "exchange_line", arguments = arguments } }
end

function decide.credit(sql, customer, part, order)
  if not order.delivered or days_late(order) <= late_after_days then return nil, "late" end
  if sql("SELECT 1 FROM before_credits WHERE order_id = ?", part.order)[1] then
    return nil, "late"
  end
  local arguments = { order_id = part.order, amount = credit_for_late[customer.member] }
  return { { tool = "grant_credit", arguments = arguments } }
end

-- The customer whom the words of a task name, or nil.
function policy.customer(sql, identity)
  if identity.email then
    return sql("SELECT * FROM customers WHERE email = ?", identity.email)[1]
  end
  return sql(
    "SELECT * FROM customers WHERE name = ? AND zip = ?",
    identity.name,
    identity.zip
  )[1]
end

-- What the policy makes of one part of a request: the calls that it demands, or nil and the rule
-- that forbids it.
function policy.decide(sql, identity, part)
  local customer = policy.customer(sql, identity)
  if not customer then return nil, "identity" end
  local order = order_of(sql, part.order)
  if not order or order.customer ~= customer.id then return nil, "owner" end
  return decide[part.op](sql, customer, part, order)
end

return policy
