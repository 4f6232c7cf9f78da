-- The simulator's SED inside HAProxy: least (own requests + 1) / weight, scanned from a random server on.
-- Weights are those of `set server be/s1 weight N`. HAProxy writes into the Lua string when it splits "be/s1", so that
-- its next use fails: fetches get the bare name of the server.
local servers = {}
math.randomseed(os.time() + tonumber(tostring(servers):match("0x(%x+)"), 16) % 1000003)
core.register_init(function()
  for name, server in pairs(core.backends["be"].servers) do servers[#servers + 1] = {name, server} end
  table.sort(servers, function(a, b) return a[1] < b[1] end)
end)
core.register_fetches("sed", function(txn)
  local n, connections = #servers, txn.f.srv_conn
  local j, best, least = math.random(n), nil, math.huge
  for _ = 1, n do
    local name, weight = servers[j][1], servers[j][2]:get_weight()
    if weight > 0 then
      local x = (connections(txn.f, name) + 1) / weight
      if x < least then best, least = name, x end
    end
    j = j % n + 1
  end
  return best
end)
