-- The programs that tasks are made of. Those that are held out appear with unseen seeds only.

local NAMES = {
  "batches", "calendar", "grades", "integers", "intervals", "ledger", "matrix", "orders", "paths",
  "ranking", "running", "stats", "stock", "words",
}

local programs = {}
for i, name in ipairs(NAMES) do
  programs[i] = require("codefix.programs." .. name)
end
return programs
