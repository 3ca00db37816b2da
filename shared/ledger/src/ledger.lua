-- The ledger's acts, each one atomic step: Record::apply of shared/model in Lua.
--
-- ARGV[1] is the prefix of every key, ARGV[2] the act, the rest its arguments.
-- A reply is an array: its first element is `lost`, `stale`, or what the act says.
--
-- Keys: <prefix>epoch     the run_id of the Redis process for which the ledger was restored
--       <prefix>quarantine until when nothing is cooled, Unix ms
--       <prefix>routes    hash: app -> JSON of its route
--       <prefix>ids       set of instances that have a record
--       <prefix>i:<id>    hash: the record
--       <prefix>l:<id>    sorted set: lease -> its end, Unix ms
-- Limits come from shared/model; they are put in front of this text when it is loaded.

local prefix, act = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function int(n) return string.format('%.0f', n) end
local function record_key(id) return prefix .. 'i:' .. id end
local function lease_key(id) return prefix .. 'l:' .. id end
local function tell(change) redis.call('PUBLISH', prefix .. 'changes', change) end
local function tell_instance(id) tell('{"instance":"' .. id .. '"}') end

-- A Redis that was restarted, emptied, or came back with old data has another run_id than the one it was restored for.
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local restored = redis.call('GET', prefix .. 'epoch') == run_id

local function load(id)
  local h = redis.call('HMGET', record_key(id), 'gen', 'phase', 'until', 'addr', 'owner', 'used', 'failures', 'retired',
    'poised', 'start', 'retired_at')
  if not h[1] then return nil end
  return { gen = tonumber(h[1]), phase = h[2], till = tonumber(h[3]), addr = h[4], owner = h[5],
           used = tonumber(h[6]), failures = tonumber(h[7]), retired = h[8] == '1', poised = h[9] or '', start = tonumber(h[10] or 0),
           retired_at = tonumber(h[11] or 0) }
end

local function save(id, r)
  redis.call('HSET', record_key(id), 'gen', int(r.gen), 'phase', r.phase, 'until', int(r.till), 'addr', r.addr,
    'owner', r.owner, 'used', int(r.used), 'failures', int(r.failures), 'retired', r.retired and '1' or '0',
    'poised', r.poised, 'start', int(r.start), 'retired_at', int(r.retired_at))
  redis.call('SADD', prefix .. 'ids', id)
end

local function fresh()
  return { gen = now, phase = 'cold', till = 0, addr = '', owner = '', used = now, failures = 0, retired = false,
           poised = '', start = 0, retired_at = 0 }
end

-- `poised` is the JSON of what was made ahead, or nothing.
local function turn(r, phase, till, addr, owner, poised)
  r.gen, r.phase, r.till, r.addr, r.owner, r.poised = r.gen + 1, phase, till or 0, addr or '', owner or '', poised or ''
end

local function lease(id, r, name)
  redis.call('ZADD', lease_key(id), int(now + LEASE_MS), name)
  r.used = math.max(r.used, now)
end

local function leased(id)
  redis.call('ZREMRANGEBYSCORE', lease_key(id), '-inf', int(now))
  return redis.call('ZCARD', lease_key(id)) > 0
end

local function unclaimed(r)
  return r.phase == 'cold' or r.phase == 'frozen' or r.phase == 'broken' or (r.phase == 'waking' and r.till <= now)
end

local function enter(id, r, name)
  if r.retired then return { 'retired' } end
  if r.phase == 'warm' then
    lease(id, r, name)
    save(id, r)
    return { 'warm', r.addr, int(r.gen) }
  end
  if r.phase == 'waking' and r.till > now then
    if r.owner == name then return { 'claimed', int(r.gen), r.poised } end
    return { 'wait' }
  end
  if r.phase == 'cooling' then return { 'wait' } end
  if r.phase == 'broken' and r.till > now then return { 'broken', int(r.till - now) } end
  -- What is free goes with the claim. What an earlier claim took does not: its holder may still open it.
  turn(r, 'waking', now + CLAIM_MS, '', name, r.phase == 'cold' and r.poised or '')
  save(id, r)
  return { 'claimed', int(r.gen), r.poised }
end

local function backoff(failures)
  return math.min(BACKOFF_MS_MIN * 2 ^ math.min(math.max(failures - 1, 0), 30), BACKOFF_MS_MAX)
end

local function retire(id, r)
  if not r.retired then r.retired, r.retired_at = true, now end
  save(id, r)
end

local function retire_all_but(app, live)
  for _, id in ipairs(redis.call('SMEMBERS', prefix .. 'ids')) do
    -- `blog-v7.1`: the app is what stands before the last `-v`.
    if string.match(id, '^(.*)%-v%d+%.%d+$') == app and id ~= live then
      local r = load(id)
      if r then retire(id, r) end
    end
  end
end

local acts = {}

function acts.enter(id, name)
  local r = load(id)
  if not r then return { 'retired' } end
  return enter(id, r, name)
end

function acts.introduce(id, name)
  local r = load(id) or fresh()
  r.retired = false
  save(id, r)
  return enter(id, r, name)
end

function acts.woken(id, gen, addr, name, start)
  local r = load(id)
  if not r then return { 'stale' } end
  gen = tonumber(gen)
  local said_before = r.phase == 'warm' and r.gen == gen + 1 and r.addr == addr
  if not said_before then
    if r.phase ~= 'waking' or r.gen ~= gen then return { 'stale' } end
    turn(r, 'warm', 0, addr)
  end
  r.failures = 0
  if start ~= '' then r.start = tonumber(start) end
  lease(id, r, name)
  save(id, r)
  tell_instance(id)
  return { 'warm', r.addr, int(r.gen) }
end

function acts.failed(id, gen)
  local r = load(id)
  if not r or r.phase ~= 'waking' or r.gen ~= tonumber(gen) then return { 'stale' } end
  r.failures = r.failures + 1
  local wait = backoff(r.failures)
  turn(r, 'broken', now + wait)
  save(id, r)
  tell_instance(id)
  return { 'broken', int(wait) }
end

function acts.extend(id, gen)
  local r = load(id)
  if not r or r.phase ~= 'waking' or r.till <= now or r.gen ~= tonumber(gen) then return { 'stale' } end
  r.till = now + CLAIM_MS
  save(id, r)
  return { 'done' }
end

function acts.give_back(id, gen)
  local r = load(id)
  if not r or r.phase ~= 'waking' or r.gen ~= tonumber(gen) then return { 'stale' } end
  turn(r, 'cold')
  save(id, r)
  tell_instance(id)
  return { 'done' }
end

-- renew count, then id and lease of each, then id, lease and idle time of each that is left
function acts.keep(count, args)
  local reply = { 'kept' }
  local at = 2 * tonumber(count) + 1
  while args[at] do
    local id, name, idle_for = args[at], args[at + 1], tonumber(args[at + 2])
    local r = load(id)
    if r and redis.call('ZREM', lease_key(id), name) == 1 then
      r.used = math.max(r.used, now - idle_for)
      save(id, r)
    end
    at = at + 3
  end
  for n = 1, tonumber(count) do
    local id, name = args[2 * n - 1], args[2 * n]
    local r = load(id)
    if r then
      lease(id, r, name)
      save(id, r)
    end
    if r and r.phase == 'warm' and not r.retired then
      table.insert(reply, r.addr)
      table.insert(reply, int(r.gen))
    else
      table.insert(reply, '')
      table.insert(reply, '0')
    end
  end
  return reply
end

function acts.routes()
  local reply = redis.call('HGETALL', prefix .. 'routes')
  table.insert(reply, 1, 'routes')
  return reply
end

-- of one instance, or of all
function acts.records(one)
  local reply = { 'records', int(now) }
  for _, id in ipairs(one and { one } or redis.call('SMEMBERS', prefix .. 'ids')) do
    local r = load(id)
    if r then
      local leases = redis.call('ZRANGE', lease_key(id), 0, -1, 'WITHSCORES')
      for _, field in ipairs({ id, int(r.gen), r.phase, int(r.till), r.addr, r.owner, int(r.used), int(r.failures),
                               r.retired and '1' or '0', int(r.retired_at), r.poised, int(r.start), int(#leases / 2) }) do
        table.insert(reply, field)
      end
      for _, field in ipairs(leases) do table.insert(reply, field) end
    end
  end
  return reply
end

function acts.promote(app, id, route)
  local r = load(id) or fresh()
  r.retired = false
  save(id, r)
  retire_all_but(app, id)
  redis.call('HSET', prefix .. 'routes', app, route)
  tell('"routes"')
  return { 'done' }
end

function acts.retire(id)
  local r = load(id)
  if r then
    retire(id, r)
    tell_instance(id)
  end
  return { 'done' }
end

function acts.drop_route(app)
  redis.call('HDEL', prefix .. 'routes', app)
  retire_all_but(app, '')
  tell('"routes"')
  return { 'done' }
end

local function quarantined()
  local till = redis.call('GET', prefix .. 'quarantine')
  return till and tonumber(till) > now
end

-- Gives the right to stop or pause what nobody uses.
local function grant(id, r, unused)
  if quarantined() then return { 'quarantine' } end
  if leased(id) then return { 'leased' } end
  if now - r.used < unused then return { 'used' } end
  turn(r, 'cooling', now + COOLING_MS)
  save(id, r)
  return { 'granted', int(r.gen) }
end

function acts.cool(id, idle)
  local r = load(id)
  if not r or (r.phase ~= 'warm' and r.phase ~= 'frozen') then return { 'not_warm' } end
  return grant(id, r, r.retired and 0 or tonumber(idle))
end

-- The one stop that leases do not hold up.
function acts.cut(id, drain)
  local r = load(id)
  if not r or not r.retired or (r.phase ~= 'warm' and r.phase ~= 'frozen') then return { 'not_warm' } end
  if now - r.retired_at < tonumber(drain) then return { 'used' } end
  turn(r, 'cooling', now + COOLING_MS)
  save(id, r)
  return { 'granted', int(r.gen) }
end

function acts.freeze(id, after)
  local r = load(id)
  if not r or r.phase ~= 'warm' or r.retired then return { 'not_warm' } end
  return grant(id, r, tonumber(after))
end

function acts.frozen(id, gen, addr)
  local r = load(id)
  if not r or r.phase ~= 'cooling' or r.gen ~= tonumber(gen) or r.retired then return { 'stale' } end
  turn(r, 'frozen', 0, addr)
  save(id, r)
  tell_instance(id)
  return { 'done' }
end

function acts.cooled(id, gen)
  local r = load(id)
  if not r or r.phase ~= 'cooling' or r.gen ~= tonumber(gen) then return { 'stale' } end
  turn(r, 'cold')
  save(id, r)
  tell_instance(id)
  return { 'done' }
end

function acts.settle(id, gen, how, what)
  gen = tonumber(gen)
  local r = load(id)
  if gen == 0 then
    if r or how ~= 'discard' then return { 'stale' } end
    r = fresh()
    gen = r.gen
    retire(id, r)
  end
  if not r or r.gen ~= gen then return { 'stale' } end
  if how == 'gone' then
    if r.phase ~= 'warm' then return { 'stale' } end
  elseif how == 'recool' then
    if r.phase ~= 'cooling' then return { 'stale' } end
  elseif how == 'poise' then
    if r.phase ~= 'cold' or r.retired then return { 'stale' } end
  elseif not unclaimed(r) and not (how == 'adopt' and r.phase == 'cooling') then
    return { 'stale' }
  end
  if how == 'discard' and (quarantined() or leased(id)) then return { 'done' } end
  local reply = { 'done' }
  if how == 'adopt' then
    r.used = math.max(r.used, now)
    turn(r, 'warm', 0, what)
  elseif how == 'poise' then
    turn(r, 'cold', 0, '', '', what)
  elseif how == 'discard' or how == 'recool' then
    turn(r, 'cooling', now + COOLING_MS)
    reply = { 'granted', int(r.gen) }
  else
    turn(r, 'cold')
  end
  save(id, r)
  tell_instance(id)
  return reply
end

function acts.forget(id, gen)
  local r = load(id)
  if not r then return { 'done' } end
  if r.gen ~= tonumber(gen) or not r.retired or not unclaimed(r) then return { 'stale' } end
  if r.phase == 'frozen' or r.poised ~= '' or leased(id) then return { 'stale' } end
  redis.call('DEL', record_key(id), lease_key(id))
  redis.call('SREM', prefix .. 'ids', id)
  return { 'done' }
end

-- count of routes, then app and JSON of each, then of each instance: id, phase, address or what was made ahead, 1 if retired
function acts.restore(count, args)
  if restored then return { 'known' } end
  for _, key in ipairs(redis.call('KEYS', prefix .. '*')) do redis.call('DEL', key) end
  for n = 1, tonumber(count) do
    redis.call('HSET', prefix .. 'routes', args[2 * n - 1], args[2 * n])
  end
  local at = 2 * tonumber(count) + 1
  while args[at] do
    local r = fresh()
    r.phase = args[at + 1]
    if r.phase == 'cold' then r.poised = args[at + 2] else r.addr = args[at + 2] end
    r.retired, r.retired_at = args[at + 3] == '1', now
    save(args[at], r)
    at = at + 4
  end
  redis.call('SET', prefix .. 'quarantine', int(now + LEASE_MS))
  redis.call('SET', prefix .. 'epoch', run_id)
  tell('"unknown"')
  return { 'restored' }
end

if act ~= 'restore' and not restored then return { 'lost' } end
if act == 'keep' or act == 'restore' then
  -- As a table: what is unpacked onto the stack has a limit.
  local args = {}
  for n = 4, #ARGV do args[n - 3] = ARGV[n] end
  return acts[act](ARGV[3], args)
end
return acts[act](unpack(ARGV, 3))
