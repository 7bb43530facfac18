-- The user's words. Every fifth opening is held out: only tasks with evaluation seeds may use it.
-- The rules by which travel.request reads these words back do not know the templates.

local random = require("ponder.random")

local wording = {}

-- Slots: N = "two days", A = "two-day", O = origin, C = named cities, D = a date phrase or nothing.
local free_openings = {
  "{N} from {O}{D}.",
  "Plan {N} from {O}{D}.",
  "I want a {A} trip from {O}{D}.",
  "Please plan a {A} trip from {O}{D}.",
  "A {A} trip from {O}{D}, please.",
  "I live in {O} and have {N}{D}. Where should I go?",
  "We start from {O}{D} and have {N}.",
  "Can you plan {N} for me, leaving from {O}{D}?",
  "Find me a {A} trip that starts from {O}{D}.",
  "I am in {O}. Plan a {A} trip{D}.",
  "Make a plan for {N}, from {O}{D}.",
  "{N} away from {O}{D}.",
  "I need a {A} plan from {O}{D}.",
  "Help me plan {N} from {O}{D}.",
  "We leave {O}{D} for {N}.",
  "Where can I go for {N} from {O}{D}?",
  "I have {N}{D} and leave from {O}.",
  "A plan for {N} from {O}{D}.",
  "My home is {O}. I want to travel {N}{D}.",
  "Could you make a {A} plan from {O}{D}?",
  "Leaving {O}{D} for {N}.",
  "Travel from {O} for {N}{D}.",
  "Let us travel {N} from {O}{D}.",
  "We want to see something new: {N} from {O}{D}.",
  "Please find places for {N} from {O}{D}.",
  "I am leaving {O}{D} and have {N} to travel.",
  "Give me a {A} plan, leaving from {O}{D}.",
  "We are in {O} and want a {A} trip{D}.",
  "Plan a {A} trip for us from {O}{D}.",
  "Starting from {O}{D}, {N}, please.",
  "I would like to travel for {N} from {O}{D}.",
  "Hello, please plan {N} from {O}{D}.",
  "My trip starts in {O}{D} and takes {N}.",
  "Choose good places for {N} from {O}{D}.",
  "Somewhere near {O} for {N}{D}.",
  "Take me away from {O} for {N}{D}.",
  "What can I do in {N} from {O}{D}?",
  "A short plan, please: {N} from {O}{D}.",
  "Travel plans wanted: {N} away from {O}{D}.",
  "I start in {O}{D} and travel for {N}.",
  "We live in {O} and want a {A} trip{D}.",
  "Departing {O}{D}, {N}.",
  "I am based in {O} and free for {N}{D}.",
  "Think of a {A} trip from {O}{D}.",
  "From {O}, {N}{D}.",
  "Our home is {O}. Plan {N}{D}.",
  "Good cities for {N} from {O}{D}, please.",
  "I will leave {O}{D} and travel for {N}.",
  "Show me a {A} trip from {O}{D}.",
  "Let us leave {O}{D} for {N}.",
  "My family starts from {O}{D} and has {N}.",
  "Which cities can we see in {N} from {O}{D}?",
  "The trip starts in {O}{D}. It takes {N}.",
  "{N}, please, from {O}{D}.",
  "Any ideas for {N} from {O}{D}?",
  "A trip of {N} from {O}{D}.",
  "We are leaving {O}{D}. We have {N}.",
  "Please make {N} from {O} nice{D}.",
  "I want to get out of town for {N}, from {O}{D}.",
  "Suggest a {A} trip from {O}{D}.",
  "There are two of us. We start from {O}{D}, {N}.",
  "Holiday time: {N} from {O}{D}.",
  "I have {N} and live in {O}. Plan something{D}.",
  "Where to go from {O} in {N}{D}?",
  "Need {N} of travel from {O}{D}.",
  "A {A} trip, leaving {O}{D}.",
  "Our trip starts in {O}{D} and lasts {N}.",
  "I am based in {O} and want {N} away{D}.",
  "Starting in {O}{D}: {N}.",
  "We are starting in {O}{D} and have {N}.",
  "{N}{D}, starting in {O}.",
  "We live in {O} and look for {N} away{D}.",
  "I am in {O}{D} with {N} to spend.",
  "We are in {O}{D} and free for {N}.",
  "Starting at {O}{D}, show me {N}.",
  "Based in {O}, we have {N}{D}.",
  "Near {O} there must be something for {N}{D}.",
  "From {O}{D}, {N} of travel, please.",
  "Let us leave {O} and spend {N} elsewhere{D}.",
  "I live in {O}. Where can I spend {N}{D}?",
}

local named_openings = {
  "{N} in {C}{D}.",
  "Plan {N} in {C}{D}.",
  "I want a {A} trip to {C}{D}.",
  "Please plan a {A} trip to {C}{D}.",
  "A {A} trip to {C}{D}, please.",
  "I have {N}{D} and want to see {C}.",
  "We want to visit {C} in {N}{D}.",
  "Can you plan {N} for me in {C}{D}?",
  "Find me a {A} trip to {C}{D}.",
  "From {O} to {C}, {N}{D}.",
  "Make a plan for {N} in {C}{D}.",
  "{C} in {N}{D}.",
  "I need a {A} plan for {C}{D}.",
  "Help me plan {N} in {C}{D}.",
  "We leave {O}{D} for {N} in {C}.",
  "Visit {C}, {N}{D}.",
  "I am in {O} and want to see {C}{D}. I have {N}.",
  "A plan for {N} in {C}{D}.",
  "My home is {O}. I want to travel {N} in {C}{D}.",
  "Could you make a {A} plan for {C}{D}?",
  "Leaving {O}{D} for {N} in {C}.",
  "Travel to {C} for {N}{D}.",
  "Let us see {C} in {N}{D}.",
  "We want to see {C}: {N}{D}.",
  "Please find places for {N} in {C}{D}.",
  "I am going to {C}{D} and have {N}.",
  "Give me a {A} plan for {C}{D}.",
  "We are going to {C}{D}, {N}.",
  "Plan a {A} trip for us to {C}{D}.",
  "Starting from {O}{D}, {N} in {C}, please.",
  "I would like to see {C}{D}. I have {N}.",
  "Hello, please plan {N} in {C}{D}.",
  "My trip to {C} takes {N}{D}.",
  "Choose good places in {C} for {N}{D}.",
  "{N} from {O} to {C}{D}.",
  "Take me to {C} for {N}{D}.",
  "What can I do in {C} in {N}{D}?",
  "A short plan, please: {N} in {C}{D}.",
  "{C}, {N}{D}, please.",
  "We travel to {C}{D} and stay {N}.",
  "I start in {O}{D} and want to see {C}. I have {N}.",
  "We fly to {C}{D} and have {N}.",
  "{A} trip, {C}{D}.",
  "Think of a {A} trip to {C}{D}.",
  "From {O}, {N} in {C}{D}.",
  "Our home is {O}. Plan {N} in {C}{D}.",
  "I am free for {N}{D} and choose {C}.",
  "I will leave {O}{D} and see {C}. I have {N}.",
  "Show me {C} in {N}{D}.",
  "Let us go to {C}{D} for {N}.",
  "My family wants to see {C} in {N}{D}.",
  "The cities are {C}. It takes {N}{D}.",
  "We have chosen {C} for {N}{D}.",
  "{N}, please, in {C}{D}.",
  "Any ideas for {N} in {C}{D}?",
  "A trip of {N} to {C}{D}.",
  "Our route is {C}, {N}{D}.",
  "The route is {C} from {O}{D}. We have {N}.",
  "Please make {N} in {C} nice{D}.",
  "Suggest a {A} trip to {C}{D}.",
  "There are two of us. We visit {C}{D}, {N}.",
  "Holiday time: {N} in {C}{D}.",
  "I have {N} for {C}{D}. Plan something.",
  "How should I spend {N} in {C}{D}?",
  "Need {N} of travel to {C}{D}.",
  "A {A} trip with a stop in {C}{D}.",
  "I am in {O} and want to visit {C} for {N}{D}.",
  "We live in {O} and go to {C} for {N}{D}.",
  "Starting in {O}{D}, we see {C} in {N}.",
  "My trip starts in {O} and goes to {C}: {N}{D}.",
  "In {C} for {N}{D}.",
  "Go to {C} for {N}{D}.",
  "{N} to spend in {C}{D}.",
  "We look for good places in {C}: {N}{D}.",
  "Take {N}{D} and show us {C}.",
  "Leaving {O}{D}, we visit {C} in {N}.",
  "My days go to {C}: {N}{D}.",
  "Based in {O}, I want to see {C}{D}. I have {N}.",
  "A {A} visit to {C}{D}.",
  "{C} for {N}{D}.",
}

local clauses = {
  hotel_max = {
    "hotel at most {X}",
    "hotels up to {X} a night",
    "no hotel over {X}",
    "at most {X} a night for the hotel",
    "the hotel may cost up to {X}",
    "hotel no more than {X} a night",
    "hotel price up to {X}",
    "not more than {X} for a hotel",
    "each hotel at most {X} a night",
    "the hotel costs at most {X}",
    "hotel max {X}",
    "hotel within {X} a night",
    "max {X} per night",
    "the room costs at most {X}",
    "hotel price at most {X} per night",
    "maximum {X} for the hotel",
  },
  hotel_rating_min = {
    "hotel rated {X} or better",
    "hotel rating at least {X}",
    "no hotel below {X}",
    "hotels with at least {X}",
    "the hotel rated at least {X}",
    "hotels rated {X} and up",
    "a hotel of {X} or more",
    "hotel rating {X} or better",
    "each hotel rated at least {X}",
    "the hotel needs a rating of {X} or more",
    "hotel rating {X} or more",
    "hotels of at least {X}",
    "hotel rated {X} or higher",
    "minimum hotel rating {X}",
    "a hotel with {X} stars or more",
    "hotel rating from {X}",
  },
  restaurant_max = {
    "meals at most {X} each",
    "no meal over {X}",
    "restaurants up to {X}",
    "at most {X} for a meal",
    "each meal may cost up to {X}",
    "meals no more than {X}",
    "not more than {X} a meal",
    "restaurant price up to {X}",
    "each restaurant at most {X}",
    "a meal costs at most {X}",
    "lunch and dinner at most {X} each",
    "max {X} per meal",
    "food at most {X} a meal",
    "restaurants max {X}",
    "maximum {X} for a meal",
    "meal price at most {X}",
  },
  restaurant_rating_min = {
    "restaurants rated {X} or better",
    "restaurant rating at least {X}",
    "no restaurant below {X}",
    "restaurants with at least {X}",
    "meals rated at least {X}",
    "restaurants rated {X} and up",
    "every restaurant {X} or more",
    "restaurant rating {X} or better",
    "each restaurant rated at least {X}",
    "meals need a rating of {X} or more",
    "restaurant rating {X} or more",
    "restaurants of at least {X}",
    "restaurants rated {X} or higher",
    "minimum restaurant rating {X}",
    "food rated {X} or better",
    "restaurant rating from {X}",
  },
  ticket_max = {
    "tickets at most {X}",
    "no ticket over {X}",
    "tickets up to {X} each",
    "at most {X} for a ticket",
    "a ticket may cost up to {X}",
    "tickets no more than {X}",
    "not more than {X} a ticket",
    "ticket price up to {X}",
    "each ticket at most {X}",
    "sights up to {X}",
    "max {X} per ticket",
    "attractions at most {X}",
    "entrance at most {X}",
    "tickets max {X}",
    "maximum {X} for a ticket",
    "attraction price at most {X}",
  },
  total_max = {
    "at most {X} in all",
    "total at most {X}",
    "no more than {X} altogether",
    "the total is up to {X}",
    "I can spend {X} in all",
    "up to {X} in total",
    "not more than {X} in total",
    "the whole trip costs at most {X}",
    "a total of at most {X}",
    "a budget of {X} in all",
    "max {X} in all",
    "total budget {X}",
    "total cost at most {X}",
    "my budget is {X} in all",
    "maximum {X} altogether",
    "everything together at most {X} in total",
  },
  dry = {
    "no rain",
    "only dry days",
    "dry weather only",
    "without rain",
    "I do not want rain",
    "avoid rain",
    "it must not rain",
    "no rainy days",
    "only cities without rain",
    "no rain, please",
  },
}

wording.day_two_rules = {
  "Day 2 depends on the hotel: from 800, both meals rated 4.0 or better and under 350 together, "
    .. "ticket under 120; from 500 to 799, one meal rated 4.0 or better, ticket under 180; from "
    .. "200 to 499, one meal rated 3.2 or better.",
  "On day 2, if the hotel costs 800 or more: both restaurants together under 350, both rated 4.0 "
    .. "or better, ticket under 120; 500 to 799: one restaurant 4.0 or better, ticket under 180; "
    .. "200 to 499: one restaurant 3.2 or better.",
  "For day 2: hotel 800 or more means meals under 350 together, both 4.0 or better, ticket under "
    .. "120. Hotel 500 to 799 means one meal 4.0 or better, ticket under 180. Hotel 200 to 499 "
    .. "means one meal 3.2 or better.",
}

local number_words = { "one", "two", "three" }
local date_phrases =
  { " on {T}", " starting {T}", ", starting {T}", " from {T}", ", from {T}", ", {T}" }

local function usable(list, held_out, rng)
  while true do
    local index = rng:int(1, #list)
    if held_out and index % 5 == 0 or not held_out and index % 5 ~= 0 then return list[index] end
    if held_out and rng:chance(25) then return list[index] end
  end
end

local function join_cities(rng, cities)
  if #cities == 1 then return cities[1] end
  if #cities == 2 then
    return cities[1] .. rng:pick { " and ", " then ", " and then " } .. cities[2]
  end
  return cities[1] .. ", " .. cities[2] .. rng:pick { " and ", " then ", " and then " } .. cities[3]
end

local function capitalise(text) return text:sub(1, 1):upper() .. text:sub(2) end

local function day_words(rng, days)
  local count = rng:chance(30) and tostring(days) or number_words[days]
  local long = count .. (days == 1 and " day" or " days")
  if days == 1 and rng:chance(25) then long = "a day" end
  return long, count .. "-day"
end

local function opening(rng, task, held_out)
  local list, template = task.cities and named_openings or free_openings, nil
  repeat
    template = usable(list, held_out, rng)
    local has_origin = template:find("{O}", 1, true) ~= nil
  until has_origin == (task.origin ~= nil)
  local long, short = day_words(rng, task.days)
  local date = task.dated and rng:pick(date_phrases):gsub("{T}", task.start_date) or ""
  local slots = {
    N = long,
    A = short,
    O = task.origin or "",
    C = task.cities and join_cities(rng, task.cities) or "",
    D = date,
  }
  local text = capitalise((template:gsub("{(%u)}", slots)))
  return (
    text
      :gsub("([%.%?!]) (%l)", function(stop, letter) return stop .. " " .. letter:upper() end)
      :gsub("%f[%a]a one%-day", "a one-day")
  )
end

local clause_order = {
  "hotel_max",
  "hotel_rating_min",
  "restaurant_max",
  "restaurant_rating_min",
  "ticket_max",
  "total_max",
  "dry",
}

local function limit_text(name, value)
  return name:find("rating", 1, true) and string.format("%.1f", value) or tostring(value)
end

local function clause_list(rng, constraints)
  local list = {}
  for _, name in ipairs(clause_order) do
    local value = constraints[name]
    if value then
      local unit = name:find("rating", 1, true) and ""
        or rng:pick { "", "", "", "", " CNY", " yuan" }
      local number = value ~= true and limit_text(name, value) .. unit or ""
      list[#list + 1] = (rng:pick(clauses[name]):gsub("{X}", number))
    end
  end
  return rng:shuffle(list)
end

-- The limits as one list or as sentences.
local function limits(rng, constraints)
  local list = clause_list(rng, constraints)
  if #list == 0 then return "" end
  local style = rng:int(1, 4)
  if style == 1 then
    for i, text in ipairs(list) do
      list[i] = capitalise(text)
    end
    return " " .. table.concat(list, ". ") .. "."
  elseif style == 2 then
    return " " .. capitalise(table.concat(list, ", ")) .. "."
  elseif style == 3 then
    return " My limits: " .. table.concat(list, ", ") .. "."
  end
  local last = table.remove(list)
  if #list == 0 then return " " .. capitalise(last) .. "." end
  return " " .. capitalise(table.concat(list, ", ")) .. " and " .. last .. "."
end

local drafts = {
  "Here is my draft:",
  "Please check and mend this plan:",
  "My plan so far:",
  "Is this plan right? If not, mend it:",
  "This is my draft, please mend it:",
  "Check this draft:",
}

-- The request of `task` in words; `rng` decides the wording only.
function wording.render(task)
  local held_out = task.seed >= 1000000
  local rng = random.stream("wording", task.seed)
  local text = opening(rng, task, held_out) .. limits(rng, task.constraints)
  if task.constraints.conditional then text = text .. " " .. rng:pick(wording.day_two_rules) end
  if task.draft then text = text .. " " .. rng:pick(drafts) .. "\n" .. task.draft end
  return text
end

return wording
