-- Kinds of tasks, by name.

local kinds = {}

-- What `known` has under `kind`; an error that a person reads names all there are.
function kinds.expect(known, kind)
  if known[kind] then return known[kind] end
  local names = {}
  for name in pairs(known) do
    names[#names + 1] = name
  end
  table.sort(names)
  local all = table.concat(names, ", ")
  error("there is no kind '" .. tostring(kind) .. "', there are: " .. all, 0)
end

return kinds
