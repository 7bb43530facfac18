-- Looking at tables, running SQL that only reads, and submitting.

local world = require("analyst.world")

local rows_shown = 50

local function cell(value)
  if type(value) == "userdata" then return "NULL" end
  if math.type(value) == "float" then return string.format("%.6g", value) end
  return tostring(value)
end

local function grid_text(grid)
  local lines = { table.concat(grid.columns, "|") }
  for i = 1, math.min(#grid.rows, rows_shown) do
    local cells = {}
    for k, value in ipairs(grid.rows[i]) do
      cells[k] = cell(value)
    end
    lines[#lines + 1] = table.concat(cells, "|")
  end
  if #grid.rows > rows_shown then
    lines[#lines + 1] = string.format("(%d of %d rows shown)", rows_shown, #grid.rows)
  end
  return table.concat(lines, "\n")
end

local function list_tables(_, ctx)
  local lines = {}
  for i, name in ipairs(world.tables) do
    local count = ctx.sql("SELECT count(*) AS n FROM " .. name)[1].n
    lines[i] = name .. "|" .. count .. " rows|" .. world.notes[name]
  end
  return table.concat(lines, "\n")
end

local function describe_table(args, ctx)
  local note = world.notes[args.table]
  if not note then
    local known = table.concat(world.tables, ", ")
    return nil, "there is no table " .. args.table .. ", there are: " .. known
  end
  return note .. "\n" .. grid_text(ctx.sql_grid("SELECT * FROM " .. args.table .. " LIMIT 3"))
end

local function run_sql(args, ctx)
  local ok, grid = pcall(ctx.sql_grid, args.query)
  if not ok then return nil, (tostring(grid):gsub("^[%w_/%.]+:%d+: ", "")) end
  return grid_text(grid)
end

local function submit_answer(args, ctx)
  ctx.state.submitted = args.rows
  return "submitted " .. #args.rows .. (#args.rows == 1 and " row" or " rows")
end

local function tool(name, description, parameters, effect, run)
  return {
    name = name,
    description = description,
    parameters = parameters,
    effect = effect,
    capabilities = { "sql" },
    run = run,
  }
end

return {
  tool(
    "list_tables",
    "The tables: name|rows|notes",
    '{"type": "object", "properties": {}}',
    "pure",
    list_tables
  ),
  tool(
    "describe_table",
    "A table's columns and first rows.",
    '{"type": "object", "properties": {"table": {"type": "string"}}, "required": ["table"]}',
    "pure",
    describe_table
  ),
  tool(
    "run_sql",
    "Runs one SELECT and gives up to 50 rows.",
    '{"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}',
    "pure",
    run_sql
  ),
  tool(
    "submit_answer",
    "Submits the answer: rows of values, numbers as numbers.",
    '{"type": "object", "properties": {"rows": {"type": "array", "minItems": 1, "items": '
      .. '{"type": "array", "items": {"type": ["string", "number"]}}}}, "required": ["rows"]}',
    "idempotent",
    submit_answer
  ),
}
