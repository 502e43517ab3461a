"""What must happen to a job record in one step, as scripts that run inside Redis.

KEYS[1] is the record; the others are named at the top of each script. See workers.queue.jobs for the layout.
Every time is Redis' own: clients and workers whose clocks differ compare nothing of theirs.
"""

KEPT_S = 7 * 24 * 3600  # finished records stay this long

_NOW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
"""

_CLOSE = f"""{_NOW}
local function close_if_finished(record, chunks, failures, findings, running, job)
  local sealed = redis.call('HGET', record, 'sealed')
  if redis.call('HGET', record, 'state') ~= 'running' or redis.call('HLEN', chunks) > 0 then return end
  if sealed ~= 'sealed' and sealed ~= 'abandoned' then return end
  redis.call('HSET', record, 'state', 'done', 'finished_at', now)
  redis.call('SREM', running, job)
  for _, key in ipairs({{record, failures, findings}}) do redis.call('EXPIRE', key, {KEPT_S}) end
end
"""

# What a filler does before it adds to a job: opens it again if it ended because the filler was silent.
# Returns the state that forbids adding, else "running".
_OPEN = f"""{_NOW}
local function open(record, failures, findings, running, job)
  local state, sealed = redis.call('HGET', record, 'state'), redis.call('HGET', record, 'sealed')
  if state == 'done' and sealed == 'abandoned' then
    redis.call('HSET', record, 'state', 'running')
    redis.call('HDEL', record, 'finished_at')
    redis.call('SADD', running, job)
    for _, key in ipairs({{record, failures, findings}}) do redis.call('PERSIST', key) end
  elseif state ~= 'running' then
    return state or 'forgotten'
  end
  if sealed == 'abandoned' then redis.call('HSET', record, 'sealed', 'open') end
  redis.call('HSET', record, 'touched_at', now)
  return 'running'
end
"""

# args: items as JSON, their weight in the total, job. Returns as `open`.
APPEND = f"""{_OPEN}
local record, chunks, waiting, failures, findings, running = unpack(KEYS)
local state = open(record, failures, findings, running, ARGV[3])
if state ~= 'running' then return state end
local number = redis.call('HINCRBY', record, 'next', 1)
redis.call('HSET', chunks, number, ARGV[1])
redis.call('RPUSH', waiting, number)
redis.call('HINCRBY', record, 'total', ARGV[2])
return 'running'
"""

# args: job, items in all, number of counters, name and increment of each ..., failures as JSON ... Returns as `open`.
COUNT = f"""{_OPEN}
local record, failures, findings, running = unpack(KEYS)
local state = open(record, failures, findings, running, ARGV[1])
if state ~= 'running' then return state end
for _, name in ipairs({{'total', 'done'}}) do redis.call('HINCRBY', record, name, ARGV[2]) end
local first_failure = 4 + 2 * ARGV[3]
for i = 4, first_failure - 1, 2 do redis.call('HINCRBY', record, ARGV[i], ARGV[i + 1]) end
for i = first_failure, #ARGV do redis.call('RPUSH', failures, ARGV[i]) end
redis.call('LTRIM', failures, 0, 999)
return 'running'
"""

# args: job, "sealed" by its filler or "abandoned" by it, seconds of silence that make it abandoned.
# Returns 1 if it is now.
SEAL = f"""{_CLOSE}
local record, chunks, failures, findings, running = unpack(KEYS)
if redis.call('EXISTS', record) == 0 then return 0 end
if ARGV[2] == 'abandoned' then
  local touched_at = tonumber(redis.call('HGET', record, 'touched_at') or 0)
  if redis.call('HGET', record, 'sealed') ~= 'open' or now - touched_at <= tonumber(ARGV[3]) then return 0 end
end
redis.call('HSET', record, 'sealed', ARGV[2])
close_if_finished(record, chunks, failures, findings, running, ARGV[1])
return 1
"""

# args: job, state, detail as JSON or nothing; keys after the fourth hold the job's chunks and go.
# Returns 1 if it was still running.
END = f"""{_NOW}
local record, failures, findings, running = unpack(KEYS)
if redis.call('HGET', record, 'state') ~= 'running' then return 0 end
redis.call('HSET', record, 'state', ARGV[2], 'finished_at', now)
redis.call('HDEL', record, 'waits_for')
if ARGV[3] ~= '' then redis.call('HSET', record, 'detail', ARGV[3]) end
for i = 5, #KEYS do redis.call('DEL', KEYS[i]) end
redis.call('SREM', running, ARGV[1])
for _, key in ipairs({{record, failures, findings}}) do redis.call('EXPIRE', key, {KEPT_S}) end
return 1
"""

# args: seconds until a nudge counts as lost, width, prefix of worker keys. Lost chunks go before waiting ones.
NEXT = f"""{_NOW}
local record, chunks, waiting, leases, holders = unpack(KEYS)
if redis.call('HGET', record, 'state') ~= 'running' then return {{}} end
local due = {{}}
local function tell(number)
  redis.call('ZADD', leases, now + tonumber(ARGV[1]), number)
  redis.call('HDEL', holders, number)
  due[#due + 1] = number
end
for _, number in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do tell(number) end
local claimed = redis.call('HGETALL', holders)
for i = 1, #claimed, 2 do
  if redis.call('EXISTS', ARGV[3] .. claimed[i + 1]) == 0 then tell(claimed[i]) end
end
local room = tonumber(ARGV[2]) - redis.call('ZCARD', leases)
while room > 0 do
  local number = redis.call('LPOP', waiting)
  if not number then break end
  tell(number)
  room = room - 1
end
return due
"""

# args: number, worker, seconds until a claim counts as lost, prefix of worker keys
CLAIM = f"""{_NOW}
local record, chunks, leases, holders, attempts = unpack(KEYS)
local number, worker = ARGV[1], ARGV[2]
if redis.call('HGET', record, 'state') ~= 'running' then return nil end
local items = redis.call('HGET', chunks, number)
if not items then return nil end
local holder = redis.call('HGET', holders, number)
if holder and redis.call('EXISTS', ARGV[4] .. holder) == 1 then
  local deadline = redis.call('ZSCORE', leases, number)
  if deadline and tonumber(deadline) > now then return nil end
end
redis.call('ZADD', leases, now + tonumber(ARGV[3]), number)
redis.call('HSET', holders, number, worker)
local attempt = redis.call('HINCRBY', attempts, number, 1)
return {{items, attempt, redis.call('HGET', record, 'params')}}
"""

# args: number, seconds until the claim counts as lost
RENEW = f"""{_NOW}
redis.call('ZADD', KEYS[2], 'XX', now + tonumber(ARGV[2]), ARGV[1])
"""

# args: number, job, number of counters, name and increment of each ..., failures as JSON ...
FINISH = f"""{_CLOSE}
local record, chunks, leases, holders, attempts, intents, waits, failures, findings, running = unpack(KEYS)
local number = ARGV[1]
if redis.call('HDEL', chunks, number) == 0 then return 0 end
redis.call('ZREM', leases, number)
for _, key in ipairs({{holders, attempts, intents}}) do redis.call('HDEL', key, number) end
redis.call('DEL', waits)
redis.call('HDEL', record, 'waits_for')
local first_failure = 4 + 2 * ARGV[3]
for i = 4, first_failure - 1, 2 do redis.call('HINCRBY', record, ARGV[i], ARGV[i + 1]) end
for i = first_failure, #ARGV do redis.call('RPUSH', failures, ARGV[i]) end
redis.call('LTRIM', failures, 0, 999)
close_if_finished(record, chunks, failures, findings, running, ARGV[2])
return 1
"""

# args: number, seconds until it is due again
RELEASE = f"""{_NOW}
local record, chunks, leases, holders = unpack(KEYS)
if redis.call('HEXISTS', chunks, ARGV[1]) == 0 then return 0 end
redis.call('ZADD', leases, now + tonumber(ARGV[2]), ARGV[1])
redis.call('HDEL', holders, ARGV[1])
return 1
"""

# args: number, first pause, longest pause, what is waited for. The attempt does not count; pauses double while no chunk
# of the job is finished. Returns for how many seconds it has been waited.
POSTPONE = f"""{_NOW}
local record, chunks, leases, holders, attempts, waits = unpack(KEYS)
local number = ARGV[1]
if redis.call('HEXISTS', chunks, number) == 0 then return '0' end
redis.call('HSETNX', waits, 'since', now)
local times = redis.call('HINCRBY', waits, number, 1)
local pause = math.min(tonumber(ARGV[3]), tonumber(ARGV[2]) * 2 ^ (times - 1))
redis.call('ZADD', leases, now + pause, number)
redis.call('HDEL', holders, number)
redis.call('HINCRBY', attempts, number, -1)
redis.call('HSET', record, 'waits_for', ARGV[4])
redis.call('EXPIRE', waits, {KEPT_S})
return tostring(now - tonumber(redis.call('HGET', waits, 'since')))
"""

# args: number, single items as JSON ... What was intended of the chunk is intended of each of its items.
SPLIT = """
local record, chunks, waiting, leases, holders, attempts, intents = unpack(KEYS)
local intended = redis.call('HGET', intents, ARGV[1])
if redis.call('HDEL', chunks, ARGV[1]) == 0 then return 0 end
redis.call('ZREM', leases, ARGV[1])
for _, key in ipairs({holders, attempts, intents}) do redis.call('HDEL', key, ARGV[1]) end
for i = 2, #ARGV do
  local number = redis.call('HINCRBY', record, 'next', 1)
  redis.call('HSET', chunks, number, ARGV[i])
  if intended then redis.call('HSET', intents, number, intended) end
  redis.call('RPUSH', waiting, number)
end
return 1
"""
