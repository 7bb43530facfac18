-- An environment: a world, tools to look at it, tasks, and a verifier that judges without a model.
--
--   ponder env check NAME.lua               is it sound? (run this after every change)
--   ponder env run NAME.lua --task-seed 3   shows a task and plays the oracle on it
--   ponder eval ./NAME.lua --count 20       how many tasks a model solves
--
-- Everything here is a pure function of its arguments: no clock, no chance but ponder.random, no
-- globals. docs/environments.md tells the whole interface.

local random = require("ponder.random")

local NAME = {
  name = "NAME",
  description = "Finds things on a shelf whose prices add up to a sum.",
  -- The system prompt of every session in this environment.
  instructions = "You look for things on a shelf. Use the tools, then submit your answer.",
  -- Kinds of tasks; task() draws one of them unless it is told which.
  kinds = { "pair", "triple" },
  -- What a session submits: the word for it, the artefact's file name, and its JSON Schema.
  answer = {
    noun = "choice",
    file = "choice.json",
    schema = '{"type": "array", "items": {"type": "string"}}',
  },
}

-- DATA. Fills an empty SQLite database: db.exec(statement, ...) changes, db.sql(query, ...) reads
-- rows as tables. The same seed and size must give the same world.
function NAME.build(db, seed, size)
  db.exec("CREATE TABLE things(name TEXT PRIMARY KEY, shelf INTEGER, price INTEGER)")
  local rng = random.stream("NAME world", seed)
  local colours = rng:shuffle { "red", "blue", "green", "white", "black", "brown" }
  local nouns = rng:shuffle { "cup", "lamp", "box", "chair", "clock", "mirror", "vase", "rug" }
  local shelves = ({ S = 2, M = 4, L = 6 })[size]
  for shelf = 1, shelves do
    for _, noun in ipairs(nouns) do
      local name = colours[shelf] .. " " .. noun
      db.exec("INSERT INTO things VALUES (?, ?, ?)", name, shelf, rng:int(10, 300))
    end
  end
end

-- TOOLS. `parameters` is a JSON Schema as text. `effect` says what a second call would do: "pure"
-- reads only, "idempotent" changes nothing more, "compensable" can be undone. `capabilities` are
-- what `ctx` holds beside task and state: "sql" to read the world, "sql_write" to change it too.
-- run() returns what the model reads; or nil and a message, and then it has changed nothing.
NAME.tools = {
  {
    name = "list_shelf",
    description = "The things on a shelf: name|price",
    parameters = '{"type": "object", "properties": {"shelf": {"type": "integer", "minimum": 1}}, '
      .. '"required": ["shelf"]}',
    effect = "pure",
    capabilities = { "sql" },
    run = function(args, ctx)
      local lines = {}
      local rows = ctx.sql("SELECT name, price FROM things WHERE shelf = ?", args.shelf)
      for i, row in ipairs(rows) do
        lines[i] = row.name .. "|" .. row.price
      end
      if #lines == 0 then return nil, "there is no shelf " .. args.shelf end
      return table.concat(lines, "\n")
    end,
  },
  {
    name = "submit",
    description = "Submits the names of the chosen things.",
    parameters = '{"type": "object", "properties": {"names": {"type": "array", '
      .. '"items": {"type": "string"}}}, "required": ["names"]}',
    effect = "idempotent",
    run = function(args, ctx)
      ctx.state.submitted = args.names -- this is what the verifier gets
      return "submitted"
    end,
  },
}

-- TASK GENERATOR. Draws the task of a seed in the world behind `db`. `text` opens the session; all
-- other fields are yours. `difficulty` is a whole number, `effort` a measure that grows with it.
function NAME.task(seed, db, kind)
  local rng = random.stream("NAME task", seed)
  kind = kind or rng:pick(NAME.kinds)
  local count = kind == "pair" and 2 or 3
  local things = db.sql("SELECT name, price FROM things WHERE shelf = 1 ORDER BY name")
  rng:shuffle(things)
  local sum = 0
  for i = 1, count do
    sum = sum + things[i].price
  end
  local text = rng:pick {
    "Find %d different things on shelf 1 that cost exactly %d together.",
    "Which %d things on the first shelf cost %d in sum? Each only once.",
  }
  return {
    id = "NAME-" .. seed,
    kind = kind,
    seed = seed,
    count = count,
    sum = sum,
    difficulty = count - 1,
    effort = count,
    text = text:format(count, sum),
  }
end

-- SOLVER. An answer that is right, or nil and {message = why there is none}.
function NAME.solve(task, db)
  local things = db.sql("SELECT name, price FROM things WHERE shelf = 1 ORDER BY name")
  local function search(from, left, sum)
    if left == 0 then return sum == 0 and {} or nil end
    for i = from, #things do
      local rest = search(i + 1, left - 1, sum - things[i].price)
      if rest then
        table.insert(rest, 1, things[i].name)
        return rest
      end
    end
  end
  local names = search(1, task.count, task.sum)
  if names then return names end
  return nil, { message = "no " .. task.count .. " things cost " .. task.sum }
end

-- ORACLE. The calls that solve the task through the tools, so that the tools are tested too. It may
-- look at everything.
function NAME.oracle(task, db)
  return {
    { tool = "list_shelf", arguments = { shelf = 1 } },
    { tool = "submit", arguments = { names = NAME.solve(task, db) } },
  }
end

-- VERIFIER. Judges an answer, whatever it is: {ok, violations = {{constraint, message}}, proof}.
-- Messages name the numbers, so that a person sees at once what is wrong.
function NAME.verify(task, answer, db)
  local violations, proof, seen, sum = {}, {}, {}, 0
  local function violate(constraint, format, ...)
    violations[#violations + 1] = { constraint = constraint, message = format:format(...) }
  end
  if #answer ~= task.count then
    violate("count", "%d things, must be %d", #answer, task.count)
  end
  for _, name in ipairs(answer) do
    local row = db.sql("SELECT price, shelf FROM things WHERE name = ?", name)[1]
    if not row then
      violate("known", "there is no %s", name)
    else
      if row.shelf ~= 1 then violate("shelf", "%s is on shelf %d, not 1", name, row.shelf) end
      if seen[name] then violate("once", "%s is chosen twice", name) end
      seen[name] = true
      sum = sum + row.price
      proof[#proof + 1] = { constraint = "price", name = name, price = row.price }
    end
  end
  if sum ~= task.sum then violate("sum", "the sum is %d, must be %d", sum, task.sum) end
  return { ok = #violations == 0, violations = violations, proof = proof, sum = sum }
end

return NAME
