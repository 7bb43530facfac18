-- The calls that solve a task: the lists of each day's city, then the solver's plan, checked and
-- submitted. A tool that fails the first time is called again.

local plan = require("travel.plan")
local solver = require("travel.solver")

local oracle = {}

function oracle.calls(task, db)
  local days = solver.solve(task, db)
  if not days then return {} end -- the right end is to submit nothing
  local list = {}
  local function add(tool, arguments)
    for _ = 1, tool == task.fault and 2 or 1 do
      list[#list + 1] = { tool = tool, arguments = arguments }
    end
    if tool == task.fault then task.fault = nil end
  end
  for _, day in ipairs(days) do
    add("get_all_hotels_by_city", { city = day.city })
    add("get_all_restaurants_by_city", { city = day.city })
    add("get_all_attractions_by_city", { city = day.city })
  end
  add("check_plan", { plan = plan.text(days) })
  add("submit_result", {})
  return list
end

return oracle
