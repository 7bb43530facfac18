-- Pieces of invented names. A name is a combination of known pieces; which combinations a database
-- may use depends on its seed, so that the names of evaluation databases are unseen combinations.

local random = require("ponder.random")

local names = {}

local function words(text)
  local list = {}
  for word in text:gmatch("%S+") do
    list[#list + 1] = word
  end
  return list
end

names.first = words [[
  Jade Golden Silver Red Blue Green White Purple Amber Crystal Pearl Coral Ivory Scarlet Copper
  Bronze Misty Sunny Quiet Happy Lucky Royal Grand Little Old New Ancient Hidden Floating Flying
  Sleeping Dancing Singing Smiling Rising Falling Eastern Western Northern Southern Upper Lower
  Central Twin Seven Nine Hundred Thousand Dragon Phoenix Tiger Crane Swallow Panda Fox Deer
  Horse Turtle Carp Lotus Bamboo Maple Willow Plum Peach Cherry Orchid Cedar Pine Ginkgo
  Osmanthus Moon Sun Star Cloud Rain Snow Wind Thunder Dawn Evening Spring Summer Autumn Winter
  River Lake Ocean Harbor Island Valley Mountain Forest Stone Iron Silk Paper Lantern Tea Rice
  Salt Honey Ginger Pepper]]

names.second = words [[
  Gate Bridge Tower Court Yard Square Street Lane Corner Terrace View Shore Bay Bank Field
  Meadow Orchard Grove Hill Peak Cliff Rock Well Pond Stream Falls Harbor Anchor Sail Boat Wheel
  Mill Bell Drum Flute Fan Brush Scroll Mirror Window Pavilion Arch Wall Steps Path Crossing
  Market Palace Temple Library]]

names.hotel = words [[Inn Hotel Lodge House Suites Hostel Resort Guesthouse]]

names.restaurant = words [[
  Kitchen Wok Table Noodles Grill Teahouse Diner Bistro Canteen Dumplings Hotpot Bakery Cafe
  Barbecue Tavern Bowl Spoon Oven Porridge Skewers Buffet Cellar Feast Pantry]]

names.attraction = words [[
  Temple Garden Museum Tower Park Pagoda Bridge Palace Theater Gallery Zoo Aquarium Cave
  Waterfall Square Shrine Fort Observatory Library Market Wetland Canyon Monastery Memorial
  Lighthouse Arboretum Spring Wall]]

-- Training databases (seed below one million) use two thirds of all pairs of pieces, evaluation
-- databases the rest.
names.first_evaluation_seed = 1000000

local function allowed(db_seed, a, b)
  local held_out = random.hash("pair", a, b) % 3 == 0
  return held_out == (db_seed >= names.first_evaluation_seed)
end

-- Large worlds run out of short names for restaurants and attractions: then a name gets a third
-- piece.
local short_draws = 50

-- A name of `kind` ("hotel", "restaurant", "attraction") that is not in `taken`; marks it there.
function names.draw(rng, db_seed, kind, taken)
  local draws = 0
  while true do
    draws = draws + 1
    local first, noun = rng:pick(names.first), rng:pick(names[kind])
    local is_long = kind == "hotel" or draws > short_draws
    local second = is_long and rng:pick(names.second) or nil
    local text = second and (first .. " " .. second .. " " .. noun) or (first .. " " .. noun)
    local is_plain = first ~= noun and first ~= second and second ~= noun
    if is_plain and not taken[text] and allowed(db_seed, first, second or noun) then
      taken[text] = true
      return text
    end
  end
end

return names
