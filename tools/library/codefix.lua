-- Small programs in Python, Lua and C++, each with one bug that its tests show. A task is a project:
-- its files, and the command that runs its tests (docs/environments.md).

local tasks = require("codefix.tasks")

local codefix = {
  name = "codefix",
  description = "Small programs with a bug that their tests show: Python, Lua, C++.",
  project = true,
  kinds = tasks.classes(),
}

-- `kind`: a class of bugs, a language, or both as LANGUAGE/CLASS.
function codefix.task(seed, db, kind) return tasks.generate(seed, kind or "") end

function codefix.oracle(task, db)
  return { { tool = "apply_patch", arguments = { patch = task.reference_patch } } }
end

return codefix
