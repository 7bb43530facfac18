-- Draws questions of every kind from a seed. Each is a query with holes; the holes are filled until
-- the result is worth asking for and has one right form: no ties where an order decides, no zeros
-- in a denominator.

local expect_kind = require("ponder.kinds").expect
local random = require("ponder.random")
local world = require("analyst.world")

local tasks = {}

local held_out_from = 1000000

local revenue = "s.quantity * s.unit_price * (100 - s.discount) / 100"
local from_sales = "FROM fact_sales s "
local with_date = "JOIN dim_date d ON d.date_id = s.date_id "
local with_product = "JOIN dim_product p ON p.product_id = s.product_id "
local with_store = "JOIN dim_store t ON t.store_id = s.store_id "
local with_customer = "JOIN dim_customer c ON c.customer_id = s.customer_id "
local valid = "WHERE s.status = 'ok' "

-- A year and a quarter that fits them, in words and as a condition.
local function period(rng)
  local year, quarter = rng:pick { 2024, 2025 }, rng:int(1, 4)
  return string.format("quarter %d of %d", quarter, year),
    string.format("AND d.year = %d AND d.quarter = %d ", year, quarter)
end

-- Whether neighbours in a result differ in the column that orders them.
local function no_ties(column)
  return function(rows)
    for i = 2, #rows do
      if rows[i][column] == rows[i - 1][column] then return false end
    end
    return #rows > 0
  end
end

local function some(rows) return #rows > 0 and rows[1][1] ~= 0 and type(rows[1][1]) == "number" end

-- Kind -> {difficulty, words, draw(rng) -> slots and query, is_good(rows), ordered}. The last
-- of the words are kept for held-out seeds.
local kinds = {}

kinds.total = {
  difficulty = 1,
  words = {
    "What was the revenue of {category} in {period}? One row: cents.",
    "How many cents of revenue did {category} bring in {period}? Give one row with one value.",
    "Sum up the revenue of {category} for {period}, in cents, as a single value.",
  },
  draw = function(rng)
    local words, condition = period(rng)
    local category = rng:pick(world.categories)
    return { category = category, period = words },
      "SELECT sum(" .. revenue .. ") " .. from_sales .. with_date .. with_product .. valid
        .. condition .. "AND p.category = '" .. category .. "'"
  end,
  is_good = some,
}

kinds.count = {
  difficulty = 1,
  words = {
    "How many different {segment} customers bought something in region {region} in {year}? "
      .. "One row: the number.",
    "Count the {segment} customers with at least one purchase in the {region} region in {year}.",
    "In {year}, how many distinct customers of the segment {segment} did shops in {region} sell "
      .. "to? One value.",
  },
  draw = function(rng)
    local segment, region = rng:pick(world.segments), rng:pick(world.regions)
    local year = rng:pick { 2024, 2025 }
    return { segment = segment, region = region, year = year },
      "SELECT count(DISTINCT s.customer_id) " .. from_sales .. with_date .. with_store
        .. with_customer .. valid .. "AND d.year = " .. year .. " AND t.region = '" .. region
        .. "' AND c.segment = '" .. segment .. "'"
  end,
  is_good = some,
}

kinds.top = {
  difficulty = 2,
  ordered = true,
  words = {
    "Which {count} products had the highest revenue in {region} in {year}? Rows: name, cents; "
      .. "highest first.",
    "List the top {count} products by revenue in region {region} during {year}: name and cents, "
      .. "best first.",
    "For {year} and shops in {region}: the {count} products with the most revenue, each with its "
      .. "cents, in falling order.",
  },
  draw = function(rng)
    local region, year, count = rng:pick(world.regions), rng:pick { 2024, 2025 }, rng:int(3, 5)
    return { region = region, year = year, count = count },
      "SELECT p.name, sum(" .. revenue .. ") AS r " .. from_sales .. with_date .. with_product
        .. with_store .. valid .. "AND d.year = " .. year .. " AND t.region = '" .. region
        .. "' GROUP BY p.product_id ORDER BY r DESC LIMIT " .. count
  end,
  is_good = no_ties(2),
}

kinds.share = {
  difficulty = 2,
  words = {
    "What percentage of the {year} revenue in region {region} came from {category}? One row: the "
      .. "percentage, with two decimals.",
    "How large was the share of {category} in the revenue of {region} in {year}, in percent with "
      .. "two decimals?",
    "Of all revenue in {region} during {year}, how many percent (two decimals) were {category}?",
  },
  draw = function(rng)
    local category, region = rng:pick(world.categories), rng:pick(world.regions)
    local year = rng:pick { 2024, 2025 }
    return { category = category, region = region, year = year },
      "SELECT round(100.0 * sum(CASE WHEN p.category = '" .. category .. "' THEN " .. revenue
        .. " ELSE 0 END) / sum(" .. revenue .. "), 2) " .. from_sales .. with_date
        .. with_product .. with_store .. valid .. "AND d.year = " .. year
        .. " AND t.region = '" .. region .. "'"
  end,
  is_good = some,
}

kinds.growth = {
  difficulty = 2,
  ordered = true,
  words = {
    "By how many percent did the revenue of each region change from 2024 to 2025? Rows: region, "
      .. "percent with two decimals; only quarter {quarter} of both years, {category} only, by "
      .. "region's name.",
    "For {category}, compare quarter {quarter} of 2025 with quarter {quarter} of 2024: region and "
      .. "change of revenue in percent (two decimals), sorted by region.",
    "How did revenue with {category} develop from quarter {quarter} of 2024 to the same quarter "
      .. "of 2025? Give region and percent of change (two decimals), regions by name.",
  },
  draw = function(rng)
    local category, quarter = rng:pick(world.categories), rng:int(1, 4)
    local function of(year)
      return "sum(CASE WHEN d.year = " .. year .. " THEN " .. revenue .. " ELSE 0 END)"
    end
    return { category = category, quarter = quarter },
      "SELECT t.region, round(100.0 * (" .. of(2025) .. " - " .. of(2024) .. ") / " .. of(2024)
        .. ", 2) " .. from_sales .. with_date .. with_product .. with_store .. valid
        .. "AND d.quarter = " .. quarter .. " AND p.category = '" .. category
        .. "' GROUP BY t.region ORDER BY t.region"
  end,
  is_good = function(rows)
    for _, row in ipairs(rows) do
      if type(row[2]) ~= "number" then return false end
    end
    return #rows == #world.regions
  end,
}

kinds.returns = {
  difficulty = 3,
  words = {
    "Which brand had the highest share of its sold pieces brought back in {year} (by the date of "
      .. "the sale)? One row: brand, percent with two decimals.",
    "Find the brand with the largest return rate for sales of {year}: returned pieces by sold "
      .. "pieces, in percent with two decimals. Row: brand, percent.",
    "For pieces sold in {year}, name the brand that customers brought back most, relative to its "
      .. "sales, and the percentage (two decimals).",
  },
  draw = function(rng)
    local year = rng:pick { 2024, 2025 }
    return { year = year },
      "WITH back AS (SELECT sale_id, sum(quantity) AS pieces FROM fact_returns GROUP BY sale_id) "
        .. "SELECT p.brand, round(100.0 * sum(coalesce(b.pieces, 0)) / sum(s.quantity), 2) AS r "
        .. from_sales .. with_date .. with_product .. "LEFT JOIN back b ON b.sale_id = s.sale_id "
        .. valid .. "AND d.year = " .. year .. " GROUP BY p.brand ORDER BY r DESC LIMIT 1"
  end,
  is_good = function(rows) return #rows == 1 and rows[1][2] > 0 end,
}

kinds.both = {
  difficulty = 3,
  words = {
    "How many {segment} customers bought {first} in {year} and also {second} in the same year? "
      .. "One row: the number.",
    "Count the {segment} customers who in {year} bought both {first} and {second}.",
    "In {year}, how many customers of the segment {segment} have purchases of {first} as well as "
      .. "of {second}? One value.",
  },
  draw = function(rng)
    local pool = rng:shuffle(table.move(world.categories, 1, #world.categories, 1, {}))
    local segment, year = rng:pick(world.segments), rng:pick { 2024, 2025 }
    local function buyers(category)
      return "SELECT s.customer_id " .. from_sales .. with_date .. with_product .. with_customer
        .. valid .. "AND d.year = " .. year .. " AND c.segment = '" .. segment
        .. "' AND p.category = '" .. category .. "'"
    end
    return { segment = segment, year = year, first = pool[1], second = pool[2] },
      "SELECT count(*) FROM (" .. buyers(pool[1]) .. " INTERSECT " .. buyers(pool[2]) .. ")"
  end,
  is_good = some,
}

kinds.best_month = {
  difficulty = 3,
  ordered = true,
  words = {
    "For each region, in which month of {year} was the revenue highest? Rows: region, month (1 to "
      .. "12), cents; by region's name.",
    "Give the best month of {year} by revenue for every region: region, month as a number, cents, "
      .. "sorted by region.",
    "Month of the highest revenue in {year}, per region: region, month number, cents; regions in "
      .. "alphabetical order.",
  },
  draw = function(rng)
    local year = rng:pick { 2024, 2025 }
    return { year = year },
      "WITH m AS (SELECT t.region, d.month, sum(" .. revenue .. ") AS r " .. from_sales
        .. with_date .. with_store .. valid .. "AND d.year = " .. year
        .. " GROUP BY t.region, d.month) SELECT region, month, r FROM m WHERE NOT EXISTS "
        .. "(SELECT 1 FROM m x WHERE x.region = m.region AND x.r > m.r) ORDER BY region"
  end,
  -- One month a region: no tie for the best.
  is_good = function(rows) return #rows == #world.regions end,
}

kinds.net = {
  difficulty = 3,
  words = {
    "What was the profit of {category} in {period}, in cents? Revenue less the unit cost of the "
      .. "pieces sold; pieces that were brought back count in neither, at what was paid for them. "
      .. "One row: cents.",
    "Compute the profit on {category} for sales of {period}: only pieces that were kept count, "
      .. "each with what was paid for it less its unit cost. One value, in cents.",
    "Profit in cents with {category}, sales of {period}, without the pieces that customers "
      .. "returned (neither their price after discount nor their cost counts). One value.",
  },
  draw = function(rng)
    local words, condition = period(rng)
    local category = rng:pick(world.categories)
    return { category = category, period = words },
      "WITH back AS (SELECT sale_id, sum(quantity) AS pieces FROM fact_returns GROUP BY sale_id) "
        .. "SELECT sum((s.quantity - coalesce(b.pieces, 0)) * (s.unit_price * (100 - s.discount) "
        .. "/ 100 - p.unit_cost)) " .. from_sales .. with_date .. with_product
        .. "LEFT JOIN back b ON b.sale_id = s.sale_id " .. valid .. condition
        .. "AND p.category = '" .. category .. "'"
  end,
  is_good = some,
}

local shares = {
  { "total", 12 },
  { "count", 12 },
  { "top", 12 },
  { "share", 12 },
  { "growth", 10 },
  { "returns", 10 },
  { "both", 11 },
  { "best_month", 11 },
  { "net", 10 },
}

tasks.kinds = {}
for i, share in ipairs(shares) do
  tasks.kinds[i] = share[1]
end

-- Joins, conditions and steps of a query: what somebody must get right.
local function effort(query)
  local count = 0
  for _, word in ipairs { "JOIN", "AND", "GROUP BY", "WITH", "CASE", "INTERSECT", "DISTINCT" } do
    for _ in query:gmatch(word) do
      count = count + 1
    end
  end
  return count
end

-- The question of `seed` on the database behind `db`; `kind` overrules the drawn kind.
function tasks.task(seed, db, kind)
  kind = kind or random.stream("analyst kind", seed):weighted(shares)
  local form = expect_kind(kinds, kind)
  for attempt = 1, 500 do
    local rng = random.stream("analyst task", seed, kind, attempt)
    local slots, query = form.draw(rng)
    if form.is_good(db.sql_grid(query).rows) then
      local words = random.stream("analyst wording", seed)
      local last = seed >= held_out_from and #form.words or #form.words - 1
      return {
        id = "analyst-" .. kind .. "-" .. seed,
        kind = kind,
        seed = seed,
        difficulty = form.difficulty,
        effort = effort(query),
        ordered = form.ordered,
        query = query,
        text = (form.words[words:int(1, last)]:gsub("{(%w+)}", slots)),
      }
    end
  end
  error("no question of kind " .. kind .. " for seed " .. seed)
end

-- Looks at the tables, runs the query and submits its rows.
function tasks.oracle(task, db)
  return {
    { tool = "list_tables", arguments = {} },
    { tool = "describe_table", arguments = { table = "fact_sales" } },
    { tool = "run_sql", arguments = { query = task.query } },
    { tool = "submit_answer", arguments = { rows = db.sql_grid(task.query).rows } },
  }
end

return tasks
