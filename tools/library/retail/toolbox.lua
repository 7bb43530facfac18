-- What a support agent can look at and do. Tools that change something keep the books straight
-- (nothing is cancelled or returned twice) and leave it to the agent what the policy allows.

local function line_text(row)
  return string.format(
    "line %d|%s|%s, %s|%s|%d|%s|%s",
    row.line,
    row.sku,
    row.product,
    row.option,
    row.category,
    row.price,
    row.final_sale == 1 and "final sale" or "regular",
    row.state
  )
end

local function customer_text(row, ctx)
  local lines = {
    string.format(
      "%s|%s|%s|zip %s|%s member|store credit %d",
      row.id,
      row.name,
      row.email,
      row.zip,
      row.member == "gold" and "gold" or "no",
      row.credit
    ),
  }
  local orders =
    ctx.sql("SELECT id, placed, status FROM orders WHERE customer = ? ORDER BY id", row.id)
  for _, order in ipairs(orders) do
    lines[#lines + 1] = order.id .. "|placed " .. order.placed .. "|" .. order.status
  end
  return table.concat(lines, "\n")
end

local function find_customer(args, ctx)
  local row
  if args.email then
    row = ctx.sql("SELECT * FROM customers WHERE email = ?", args.email)[1]
  elseif args.name and args.zip then
    row = ctx.sql("SELECT * FROM customers WHERE name = ? AND zip = ?", args.name, args.zip)[1]
  else
    return nil, "an email, or a name and a zip code are needed"
  end
  if not row then return nil, "no customer fits" end
  return customer_text(row, ctx)
end

local function order_of(args, ctx)
  local order = ctx.sql("SELECT * FROM orders WHERE id = ?", args.order_id)[1]
  if not order then return nil, "there is no order " .. args.order_id end
  return order
end

local function get_order(args, ctx)
  local order, problem = order_of(args, ctx)
  if not order then return nil, problem end
  local lines = {
    string.format(
      "%s|customer %s|%s|placed %s|promised %s|%s|paid by %s",
      order.id,
      order.customer,
      order.status,
      order.placed,
      order.promised,
      order.delivered and "delivered " .. order.delivered or "not delivered",
      order.payment
    ),
    "to " .. order.street .. ", " .. order.zip,
  }
  local rows = ctx.sql(
    "SELECT o.*, i.product, i.option, i.category FROM order_items o JOIN items i ON i.sku = o.sku "
      .. "WHERE o.order_id = ? ORDER BY o.line",
    args.order_id
  )
  for _, row in ipairs(rows) do
    lines[#lines + 1] = line_text(row)
  end
  local credits = ctx.sql("SELECT amount FROM credits WHERE order_id = ?", args.order_id)
  for _, credit in ipairs(credits) do
    lines[#lines + 1] = "credit granted: " .. credit.amount
  end
  return table.concat(lines, "\n")
end

local function find_items(args, ctx)
  local lines = {}
  local rows = ctx.sql("SELECT * FROM items WHERE product = ? ORDER BY sku", args.product)
  for i, row in ipairs(rows) do
    lines[i] = string.format("%s|%s|price %d|stock %d", row.sku, row.option, row.price, row.stock)
  end
  if #lines == 0 then return nil, "there is no product " .. args.product end
  return table.concat(lines, "\n")
end

local function cancel_order(args, ctx)
  local order, problem = order_of(args, ctx)
  if not order then return nil, problem end
  if order.status == "cancelled" then return nil, order.id .. " is cancelled already" end
  local total = ctx.sql("SELECT sum(price) AS s FROM order_items WHERE order_id = ?", order.id)[1].s
  ctx.sql_write("UPDATE orders SET status = 'cancelled' WHERE id = ?", order.id)
  ctx.sql_write("INSERT INTO refunds VALUES (?, 0, 'original', ?)", order.id, total)
  return "cancelled, " .. total .. " refunded; reopen_order undoes it"
end

local function reopen_order(args, ctx)
  local order, problem = order_of(args, ctx)
  if not order then return nil, problem end
  if order.status ~= "cancelled" then return nil, order.id .. " is not cancelled" end
  ctx.sql_write("UPDATE orders SET status = 'pending' WHERE id = ?", order.id)
  ctx.sql_write("DELETE FROM refunds WHERE order_id = ? AND line = 0", order.id)
  return "reopened"
end

local function change_address(args, ctx)
  local order, problem = order_of(args, ctx)
  if not order then return nil, problem end
  ctx.sql_write(
    "UPDATE orders SET street = ?, zip = ? WHERE id = ?",
    args.street,
    args.zip,
    order.id
  )
  return "address changed"
end

-- The line that a return or an exchange is about, if it is still the customer's.
local function kept_line(args, ctx)
  local line = ctx.sql(
    "SELECT o.*, i.product FROM order_items o JOIN items i ON i.sku = o.sku "
      .. "WHERE o.order_id = ? AND o.line = ?",
    args.order_id,
    args.line
  )[1]
  if not line then return nil, "there is no line " .. args.line .. " in " .. args.order_id end
  if line.state ~= "kept" then
    return nil, "line " .. args.line .. " is " .. line.state .. " already"
  end
  return line
end

local function pay_out(ctx, order_id, line, refund_to, amount)
  ctx.sql_write("INSERT INTO refunds VALUES (?, ?, ?, ?)", order_id, line, refund_to, amount)
  if refund_to ~= "store_credit" then return end
  ctx.sql_write(
    "UPDATE customers SET credit = credit + ? "
      .. "WHERE id = (SELECT customer FROM orders WHERE id = ?)",
    amount,
    order_id
  )
end

local function return_line(args, ctx)
  local line, problem = kept_line(args, ctx)
  if not line then return nil, problem end
  ctx.sql_write(
    "UPDATE order_items SET state = 'returned' WHERE order_id = ? AND line = ?",
    args.order_id,
    args.line
  )
  pay_out(ctx, args.order_id, args.line, args.refund_to, args.amount)
  return string.format("returned, %d to %s", args.amount, args.refund_to)
end

local function exchange_line(args, ctx)
  local line, problem = kept_line(args, ctx)
  if not line then return nil, problem end
  local item = ctx.sql("SELECT * FROM items WHERE sku = ?", args.new_sku)[1]
  if not item then return nil, "there is no item " .. args.new_sku end
  if item.product ~= line.product then
    return nil, args.new_sku .. " is a " .. item.product .. ", not a " .. line.product
  end
  if item.stock < 1 then return nil, args.new_sku .. " is out of stock" end
  ctx.sql_write("UPDATE items SET stock = stock - 1 WHERE sku = ?", args.new_sku)
  ctx.sql_write("UPDATE items SET stock = stock + 1 WHERE sku = ?", line.sku)
  ctx.sql_write(
    "UPDATE order_items SET state = 'exchanged', sku = ?, price = ? "
      .. "WHERE order_id = ? AND line = ?",
    args.new_sku,
    item.price,
    args.order_id,
    args.line
  )
  local difference = line.price - item.price
  if difference ~= 0 then pay_out(ctx, args.order_id, args.line, "original", difference) end
  return string.format("exchanged for %s, %d to the original payment", args.new_sku, difference)
end

-- Made again under its key, the call is the same grant still.
local function grant_credit(args, ctx)
  local order, problem = order_of(args, ctx)
  if not order then return nil, problem end
  local key = ctx.idempotency_key
  local is_new = key == "" or not ctx.sql("SELECT 1 FROM credits WHERE key = ?", key)[1]
  if is_new then
    ctx.sql_write("INSERT INTO credits VALUES (?, ?, ?)", order.id, args.amount, key)
    ctx.sql_write(
      "UPDATE customers SET credit = credit + ? WHERE id = ?",
      args.amount,
      order.customer
    )
  end
  return "credit of " .. args.amount .. " granted"
end

local function close_case(args, ctx)
  ctx.state.submitted = { outcome = args.outcome, reasons = args.reasons or {} }
  return "closed: " .. args.outcome
end

local toolbox = {}

local function tool(name, description, parameters, effect, capability, run)
  toolbox[#toolbox + 1] = {
    name = name,
    description = description,
    parameters = parameters,
    effect = effect,
    capabilities = { capability },
    run = run,
  }
end

-- The schema of an object whose members are {name, schema}; those after `required` are optional.
local function object(required, members)
  local properties, names = {}, {}
  for i, member in ipairs(members) do
    properties[i] = '"' .. member[1] .. '": ' .. member[2]
    if i <= required then names[i] = '"' .. member[1] .. '"' end
  end
  return '{"type": "object", "properties": {'
    .. table.concat(properties, ", ")
    .. '}, "required": ['
    .. table.concat(names, ", ")
    .. '], "additionalProperties": false}'
end

local text = '{"type": "string"}'
local order_id = { "order_id", text }
local line = { "line", '{"type": "integer", "minimum": 1}' }
local coins = { "amount", '{"type": "integer", "minimum": 0}' }

tool(
  "find_customer",
  "A customer and the orders: by email, or by name and zip.",
  object(0, { { "email", text }, { "name", text }, { "zip", text } }),
  "pure",
  "sql",
  find_customer
)
tool(
  "get_order",
  "An order: status, dates, payment, address; line|sku|item|category|price|sale|state",
  object(1, { order_id }),
  "pure",
  "sql",
  get_order
)
tool(
  "find_items",
  "The options of a product: sku|option|price|stock",
  object(1, { { "product", text } }),
  "pure",
  "sql",
  find_items
)
tool(
  "cancel_order",
  "Cancels a whole order and refunds it to the original payment.",
  object(1, { order_id }),
  "compensable",
  "sql_write",
  cancel_order
)
tool(
  "reopen_order",
  "Undoes cancel_order.",
  object(1, { order_id }),
  "compensable",
  "sql_write",
  reopen_order
)
tool(
  "change_address",
  "Changes where an order goes to.",
  object(3, { order_id, { "street", text }, { "zip", text } }),
  "idempotent",
  "sql_write",
  change_address
)
tool(
  "return_line",
  "Takes a line of an order back and refunds the amount.",
  object(4, { order_id, line, { "refund_to", '{"enum": ["original", "store_credit"]}' }, coins }),
  "idempotent",
  "sql_write",
  return_line
)
tool(
  "exchange_line",
  "Exchanges a line for another item; a difference in price goes to or from the payment.",
  object(3, { order_id, line, { "new_sku", text } }),
  "idempotent",
  "sql_write",
  exchange_line
)
tool(
  "grant_credit",
  "Adds store credit for an order.",
  object(2, { order_id, coins }),
  "idempotent",
  "sql_write",
  grant_credit
)
tool(
  "close_case",
  "Ends the case. reasons: for each part that was refused, the rule that forbids it.",
  object(1, {
    { "outcome", '{"enum": ["done", "partly", "refused"]}' },
    {
      "reasons",
      '{"type": "array", "items": {"enum": ["identity", "owner", "status", "final_sale", "window", '
        .. '"stock", "method", "late"]}}',
    },
  }),
  "idempotent",
  "sql",
  close_case
)

return toolbox
