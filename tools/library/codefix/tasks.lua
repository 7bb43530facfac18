-- Tasks of fixing code, each with a seed: a small program with one bug that its tests show.
--
--   generate(seed, kind) -> {id, kind, text, files, test, seconds, hidden, language,
--                            reference_patch}
--   count(kind)          -> how many places of bugs there are
--   classes()            -> the classes of bugs
--
-- A kind is a class, a language, or LANGUAGE/CLASS; "" means any. Consecutive seeds go through all places of bugs before one
-- comes again. Names of functions and variables are drawn; seeds of one million and more draw from
-- names, and use programs, that smaller seeds never see: what a model was trained on and what it is
-- measured with stay apart.

local languages = require("codefix.languages")
local mutation = require("codefix.mutation")
local programs = require("codefix.programs")
local random = require("ponder.random")

local tasks = {}

local FIRST_UNSEEN_SEED = 1000000
local LANGUAGES = { "python", "lua", "cpp" }

-- Every place of a bug: {program, language, site}.
local function list_places()
  local places = {}
  for _, program in ipairs(programs) do
    for _, language in ipairs(LANGUAGES) do
      for _, site in ipairs(mutation.sites(program[language])) do
        places[#places + 1] = { program = program, language = language, site = site }
      end
    end
  end
  return random.stream("codefix", "places"):shuffle(places)
end

local all_places = list_places()

local function matches(place, seed, language, class)
  return (language == "" or place.language == language)
    and (class == "" or place.site.class == class)
    and (seed >= FIRST_UNSEEN_SEED or not place.program.held_out)
end

-- The language and the class that a kind asks for; "" for any.
local function parts_of(kind)
  local language, class = kind:match("^(.-)/(.*)$")
  if language then return language, class end
  for _, known in ipairs(LANGUAGES) do
    if kind == known then return kind, "" end
  end
  return "", kind
end

local function places_for(seed, kind)
  local language, class = parts_of(kind)
  local fitting = {}
  for _, place in ipairs(all_places) do
    if matches(place, seed, language, class) then fitting[#fitting + 1] = place end
  end
  return fitting
end

function tasks.classes()
  local seen, names = {}, {}
  for _, place in ipairs(all_places) do
    if not seen[place.site.class] then
      seen[place.site.class] = true
      names[#names + 1] = place.site.class
    end
  end
  table.sort(names)
  return names
end

-- The program's names for this seed: of each list the first two thirds for training.
local function draw_names(program, seed)
  local stream = random.stream("codefix", "names", seed)
  local names = {}
  for _, entry in ipairs(program.names) do
    local words = entry.words
    local split = math.max(1, #words * 2 // 3)
    if seed >= FIRST_UNSEEN_SEED and split < #words then
      names[entry.key] = words[stream:int(split + 1, #words)]
    else
      names[entry.key] = words[stream:int(1, split)]
    end
  end
  return names
end

local function fill(text, names)
  return (text:gsub("%$([%a_]+)", function(key)
    return names[key] or error("no name for $" .. key)
  end))
end

local OPENINGS = {
  "%s gives wrong results. %s",
  "Something is wrong with %s. %s",
  "%s does not do what it should. %s",
  "Results of %s are off. %s",
  "There is a bug in %s. %s",
}
local CLOSINGS = {
  "Some tests fail. Find the bug and fix it; the tests are right.",
  "The tests show it. Please fix it.",
  "Please fix the code so that all tests pass. Do not change the tests.",
  "Have a look at the failing tests and correct the program.",
}

local function issue_text(id, file, purpose, seed)
  local stream = random.stream("codefix", "issue", seed)
  local opening = string.format(stream:pick(OPENINGS), "`" .. file .. "`", purpose)
  return string.format("%s %s\n\n(%s)\n", opening, stream:pick(CLOSINGS), id)
end

function tasks.count(kind) return #places_for(FIRST_UNSEEN_SEED, kind) end

function tasks.generate(seed, kind)
  local places = places_for(seed, kind)
  if #places == 0 then
    error(string.format("there is no task of the kind '%s'; a kind is one of %s, or %s, or both "
      .. "with a / between", kind, table.concat(LANGUAGES, ", "),
      table.concat(tasks.classes(), ", ")), 0)
  end
  local place = places[1 + seed % #places]
  local program = place.program
  local names = draw_names(program, seed)
  local render = languages[place.language]
  local right = fill(mutation.original(program[place.language]), names)
  local wrong = fill(mutation.mutant(program[place.language], place.site), names)
  local file = render.source_path(program.name)
  local id = string.format("codefix %d", seed)
  local files = render.support_files()
  files[file] = wrong
  files[render.test_path(program.name, "")] = render.tests(program, program.visible, names)
  return {
    id = id,
    kind = place.site.class,
    text = issue_text(id, file, fill(program.purpose, names), seed),
    files = files,
    test = render.command,
    seconds = 60,
    language = place.language,
    hidden = {
      [render.test_path(program.name, "more_")] = render.tests(program, program.hidden, names, "more "),
    },
    reference_patch = mutation.patch(file, wrong, right),
  }
end

return tasks
