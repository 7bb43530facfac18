-- Fills an empty database with a shop: customers, products in several variants, orders of the last
-- months. Sizes differ in the number of customers.

local dates = require("ponder.dates")
local random = require("ponder.random")

local world = {}

-- The day on which every case comes in.
world.today = "2026-03-20"

local customers_of_size = { S = 60, M = 300, L = 1500 }

local schema = {
  [[CREATE TABLE customers(id TEXT PRIMARY KEY, name TEXT, email TEXT UNIQUE, zip TEXT,
    member TEXT, credit INTEGER)]],
  "CREATE TABLE items(sku TEXT PRIMARY KEY, product TEXT, option TEXT, category TEXT, "
    .. "price INTEGER, stock INTEGER)",
  [[CREATE TABLE orders(id TEXT PRIMARY KEY, customer TEXT, placed TEXT, promised TEXT,
    delivered TEXT, status TEXT, payment TEXT, street TEXT, zip TEXT)]],
  [[CREATE TABLE order_items(order_id TEXT, line INTEGER, sku TEXT, price INTEGER,
    final_sale INTEGER, state TEXT, PRIMARY KEY(order_id, line))]],
  "CREATE TABLE refunds(order_id TEXT, line INTEGER, refund_to TEXT, amount INTEGER)",
  "CREATE TABLE credits(order_id TEXT, amount INTEGER, key TEXT)",
  "CREATE INDEX items_by_product ON items(product)",
  "CREATE INDEX orders_by_customer ON orders(customer)",
}

-- Product, category, least and most price, options.
local products = {
  { "kettle", "kitchen", 20, 60, { "red", "white", "steel" } },
  { "toaster", "kitchen", 25, 80, { "black", "white", "green" } },
  { "frying pan", "kitchen", 15, 70, { "20 cm", "24 cm", "28 cm" } },
  { "knife set", "kitchen", 30, 150, { "oak", "walnut" } },
  { "headphones", "electronics", 40, 300, { "black", "white", "blue" } },
  { "keyboard", "electronics", 30, 160, { "quiet", "clicky" } },
  { "tablet", "electronics", 150, 700, { "64 GB", "128 GB", "256 GB" } },
  { "smart watch", "electronics", 90, 400, { "40 mm", "44 mm" } },
  { "speaker", "electronics", 35, 220, { "red", "black", "grey" } },
  { "rain jacket", "clothing", 40, 180, { "S", "M", "L", "XL" } },
  { "jumper", "clothing", 25, 110, { "S", "M", "L" } },
  { "running shoes", "clothing", 50, 190, { "size 40", "size 42", "size 44" } },
  { "backpack", "travel", 30, 140, { "20 l", "30 l", "40 l" } },
  { "suitcase", "travel", 60, 280, { "cabin", "large" } },
  { "tent", "travel", 80, 420, { "two persons", "four persons" } },
  { "desk lamp", "home", 18, 95, { "brass", "black", "white" } },
  { "blanket", "home", 15, 75, { "wool", "cotton" } },
  { "bookshelf", "home", 45, 210, { "oak", "pine", "white" } },
}

local first_names = {
  "Ada", "Bela", "Carla", "Dario", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kira",
  "Levi", "Mona", "Noor", "Olga", "Pavel", "Quinn", "Rosa", "Sami", "Tara", "Umar", "Vera",
  "Wim", "Yara", "Zoe",
}
local last_names = {
  "Adler", "Berg", "Costa", "Dietz", "Eriks", "Fabre", "Gruber", "Hansen", "Ivanov", "Jansen",
  "Kovac", "Lindt", "Moreau", "Novak", "Okafor", "Peeters", "Quist", "Rossi", "Silva", "Tamm",
}
local streets = { "Mill Lane", "Station Road", "Oak Street", "River Walk", "Hill View", "Park Row" }

function world.address(rng)
  return rng:int(1, 99) .. " " .. rng:pick(streets), string.format("%05d", rng:int(10000, 99999))
end

local function add_items(db, rng)
  local count = 0
  for _, product in ipairs(products) do
    local name, category, low, high, options = table.unpack(product)
    local base = rng:int(low, high)
    for _, option in ipairs(options) do
      count = count + 1
      local stock = rng:chance(30) and 0 or rng:int(1, 20)
      local price = base + (rng:chance(40) and rng:int(1, 15) or 0)
      db.exec(
        "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)",
        string.format("S%03d", 100 + count),
        name,
        option,
        category,
        price,
        stock
      )
    end
  end
  return count
end

local function add_customer(db, rng, index)
  local first, last = rng:pick(first_names), rng:pick(last_names)
  local id = string.format("C%04d", 1000 + index)
  local _, zip = world.address(rng)
  db.exec(
    "INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)",
    id,
    first .. " " .. last,
    string.format("%s.%s%d@mail.test", first:lower(), last:lower(), index),
    zip,
    rng:chance(35) and "gold" or "none",
    rng:int(0, 8) * 5
  )
  return id, zip
end

-- Days since the order was placed, and what has become of it by then.
local function draw_history(rng)
  local status = rng:weighted { { "pending", 25 }, { "shipped", 20 }, { "delivered", 55 } }
  local age = status == "pending" and rng:int(0, 3)
    or status == "shipped" and rng:int(2, 9)
    or rng:int(8, 100)
  local placed = dates.number(world.today) - age
  local promised = rng:int(3, 6)
  local delay = rng:pick { -1, 0, 0, 1, 3, 8, 12 }
  local took = status == "delivered" and math.min(age, promised + delay)
  return status, age, promised, took
end

local function date_before(days)
  -- dates.add counts forwards, from a day that lies before every order.
  local first = "2025-01-01"
  return dates.add(first, dates.number(world.today) - dates.number(first) - days)
end

local function add_order(db, rng, id, customer, zip, num_items)
  local status, age, promised, took = draw_history(rng)
  local street = world.address(rng)
  db.exec(
    "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    id,
    customer,
    date_before(age),
    date_before(age - promised),
    took and date_before(age - took) or nil,
    status,
    rng:pick { "card", "card", "paypal", "gift card" },
    street,
    zip
  )
  local products_seen = {}
  for line = 1, rng:int(1, 4) do
    local sku = string.format("S%03d", 100 + rng:int(1, num_items))
    local item = db.sql("SELECT product, price FROM items WHERE sku = ?", sku)[1]
    -- A product stands once in an order, so that its name says which line is meant.
    if not products_seen[item.product] then
      products_seen[item.product] = true
      local final = rng:chance(15) and 1 or 0
      local price = final == 1 and item.price * 6 // 10 or item.price
      db.exec("INSERT INTO order_items VALUES (?,?,?,?,?,'kept')", id, line, sku, price, final)
    end
  end
end

-- Deterministic: the same seed and size give the same database on every machine.
function world.build(db, seed, size)
  for _, sql in ipairs(schema) do
    db.exec(sql)
  end
  local num_items = add_items(db, random.stream("retail items", seed))
  local num_orders = 0
  for index = 1, customers_of_size[size] do
    local rng = random.stream("retail customer", seed, index)
    local customer, zip = add_customer(db, rng, index)
    for _ = 1, rng:int(3, 6) do
      num_orders = num_orders + 1
      local id = string.format("O%05d", 20000 + num_orders * 3 + rng:int(0, 2))
      add_order(db, rng, id, customer, zip, num_items)
    end
  end
end

return world
