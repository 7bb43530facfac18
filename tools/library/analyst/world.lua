-- Fills an empty database with two years of a chain's sales: one table of facts, one of returns,
-- and four dimensions. Sizes differ in the number of sales.

local dates = require("ponder.dates")
local random = require("ponder.random")

local world = {}

local sales_of_size = { S = 1500, M = 8000, L = 40000 }
local first_day, num_days = "2024-01-01", 731

world.regions = { "North", "South", "East", "West" }
world.categories = { "Drinks", "Snacks", "Household", "Garden", "Toys", "Books" }
world.segments = { "private", "business", "student" }

local cities = {
  "Arden", "Belmont", "Corvo", "Delphi", "Estrada", "Falken", "Grenoa", "Hollin", "Istra",
  "Jarno", "Kelso", "Lumen", "Marta", "Norden",
}
local brands = { "Alto", "Brio", "Cira", "Dovo", "Enzo", "Fjord", "Gala", "Hexa" }
local adjectives = { "Fine", "Bright", "Daily", "Royal", "Quick", "Green", "Family", "Mini" }
local nouns = {
  Drinks = { "Juice", "Tea", "Cola", "Water" },
  Snacks = { "Chips", "Nuts", "Bars", "Crackers" },
  Household = { "Soap", "Sponge", "Bin", "Cloth" },
  Garden = { "Rake", "Hose", "Seeds", "Pot" },
  Toys = { "Puzzle", "Robot", "Blocks", "Kite" },
  Books = { "Atlas", "Novel", "Guide", "Comic" },
}

-- Table -> what describe_table says about it.
world.notes = {
  dim_date = "One row a day. quarter is 1 to 4, weekday 1 (Monday) to 7.",
  dim_product = "unit_cost is in cents.",
  dim_store = "One row a shop.",
  dim_customer = "segment is private, business or student.",
  fact_sales = "One row a line of a receipt. unit_price is in cents, discount in percent; "
    .. "status is ok or cancelled.",
  fact_returns = "Pieces brought back later; one sale may have several rows.",
}
world.tables =
  { "dim_customer", "dim_date", "dim_product", "dim_store", "fact_returns", "fact_sales" }

local schema = {
  [[CREATE TABLE dim_date(date_id INTEGER PRIMARY KEY, date TEXT, year INTEGER,
    quarter INTEGER, month INTEGER, weekday INTEGER)]],
  [[CREATE TABLE dim_product(product_id INTEGER PRIMARY KEY, name TEXT, category TEXT,
    brand TEXT, unit_cost INTEGER)]],
  "CREATE TABLE dim_store(store_id INTEGER PRIMARY KEY, name TEXT, city TEXT, region TEXT)",
  "CREATE TABLE dim_customer(customer_id INTEGER PRIMARY KEY, name TEXT, segment TEXT)",
  [[CREATE TABLE fact_sales(sale_id INTEGER PRIMARY KEY, date_id INTEGER, product_id INTEGER,
    store_id INTEGER, customer_id INTEGER, quantity INTEGER, unit_price INTEGER,
    discount INTEGER, status TEXT)]],
  "CREATE TABLE fact_returns(return_id INTEGER PRIMARY KEY, sale_id INTEGER, quantity INTEGER)",
  "CREATE INDEX returns_by_sale ON fact_returns(sale_id)",
}

-- Collects rows and inserts them many at a time.
local function inserter(db, name, num_columns)
  local marks = "(" .. ("?,"):rep(num_columns - 1) .. "?)"
  local rows, values = {}, {}
  local function flush()
    if #rows == 0 then return end
    db.exec("INSERT INTO " .. name .. " VALUES " .. table.concat(rows, ","), table.unpack(values))
    rows, values = {}, {}
  end
  local function add(...)
    rows[#rows + 1] = marks
    for i = 1, num_columns do
      values[#values + 1] = (select(i, ...))
    end
    if #values >= 180 then flush() end
  end
  return add, flush
end

local function add_dates(db)
  local add, flush = inserter(db, "dim_date", 6)
  local date = first_day
  for id = 1, num_days do
    local year, month = dates.split(date)
    add(id, date, year, (month + 2) // 3, month, dates.weekday(date))
    date = dates.add(date, 1)
  end
  flush()
end

local function add_products(db, rng)
  local products = {}
  local add, flush = inserter(db, "dim_product", 5)
  for _, category in ipairs(world.categories) do
    for _, noun in ipairs(nouns[category]) do
      local id = #products + 1
      local price = rng:int(2, 60) * 100
      products[id] = { price = price, weight = rng:int(1, 6) }
      add(id, rng:pick(adjectives) .. " " .. noun, category, rng:pick(brands), price * 6 // 10)
    end
  end
  flush()
  return products
end

local function add_stores(db, rng)
  local add, flush = inserter(db, "dim_store", 4)
  local pool = rng:shuffle(table.move(cities, 1, #cities, 1, {}))
  local count = rng:int(8, 12)
  for id = 1, count do
    -- Every region has a shop.
    local region = id <= 4 and world.regions[id] or rng:pick(world.regions)
    add(id, pool[id] .. " " .. rng:pick { "Centre", "Market", "Station" }, pool[id], region)
  end
  flush()
  return count
end

local function add_customers(db, rng, count)
  local add, flush = inserter(db, "dim_customer", 3)
  for id = 1, count do
    add(id, string.format("Customer %03d", id), rng:pick(world.segments))
  end
  flush()
end

local function add_sales(db, rng, count, products, num_stores, num_customers)
  local sale, flush_sales = inserter(db, "fact_sales", 9)
  local back, flush_returns = inserter(db, "fact_returns", 3)
  local num_returns = 0
  for id = 1, count do
    local product = rng:int(1, #products)
    -- Some products, shops and customers sell and buy more than others.
    if products[product].weight < rng:int(1, 6) then product = rng:int(1, #products) end
    local store = math.min(rng:int(1, num_stores), rng:int(1, num_stores))
    local customer = math.min(rng:int(1, num_customers), rng:int(1, num_customers))
    local quantity = rng:int(1, 9)
    local discount = rng:chance(30) and rng:pick { 5, 10, 15, 20, 25 } or 0
    local price = products[product].price + (rng:chance(25) and 100 or 0)
    local status = rng:chance(6) and "cancelled" or "ok"
    sale(id, rng:int(1, num_days), product, store, customer, quantity, price, discount, status)
    local left = quantity
    while status == "ok" and left > 0 and rng:chance(9) do
      num_returns = num_returns + 1
      local pieces = rng:int(1, left)
      left = left - pieces
      back(num_returns, id, pieces)
    end
  end
  flush_sales()
  flush_returns()
end

-- Deterministic: the same seed and size give the same database on every machine.
function world.build(db, seed, size)
  for _, sql in ipairs(schema) do
    db.exec(sql)
  end
  local rng = random.stream("analyst world", seed)
  local count = sales_of_size[size]
  local num_customers = count // 15
  add_dates(db)
  local products = add_products(db, rng)
  local num_stores = add_stores(db, rng)
  add_customers(db, rng, num_customers)
  add_sales(db, rng, count, products, num_stores, num_customers)
end

return world
