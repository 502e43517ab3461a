"""What must happen to a job record in one step, as scripts that run inside Redis.

KEYS[1] is the record; the others are named at the top of each script. See workers.queue.jobs for the layout.
"""

# args: items as JSON, their weight in the total, now
APPEND = """
local record, chunks, waiting = unpack(KEYS)
if redis.call('HGET', record, 'state') ~= 'running' then return 0 end
local number = redis.call('HINCRBY', record, 'next', 1)
redis.call('HSET', chunks, number, ARGV[1])
redis.call('RPUSH', waiting, number)
redis.call('HINCRBY', record, 'total', ARGV[2])
redis.call('HSET', record, 'touched_at', ARGV[3])
return 1
"""

# args: now, job
SEAL = """
local record, chunks, running = unpack(KEYS)
redis.call('HSET', record, 'sealed', 1)
if redis.call('HLEN', chunks) == 0 and redis.call('HGET', record, 'state') == 'running' then
  redis.call('HSET', record, 'state', 'done', 'finished_at', ARGV[1])
  redis.call('SREM', running, ARGV[2])
  redis.call('EXPIRE', record, 604800)
end
"""

# args: now, seconds until a nudge counts as lost, width, prefix of worker keys. Lost chunks go before waiting ones.
NEXT = """
local record, chunks, waiting, leases, holders = unpack(KEYS)
if redis.call('HGET', record, 'state') ~= 'running' then return {} end
local now, due = tonumber(ARGV[1]), {}
local function tell(number)
  redis.call('ZADD', leases, now + tonumber(ARGV[2]), number)
  redis.call('HDEL', holders, number)
  due[#due + 1] = number
end
for _, number in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do tell(number) end
local claimed = redis.call('HGETALL', holders)
for i = 1, #claimed, 2 do
  if redis.call('EXISTS', ARGV[4] .. claimed[i + 1]) == 0 then tell(claimed[i]) end
end
local room = tonumber(ARGV[3]) - redis.call('ZCARD', leases)
while room > 0 do
  local number = redis.call('LPOP', waiting)
  if not number then break end
  tell(number)
  room = room - 1
end
return due
"""

# args: number, worker, now, seconds until a claim counts as lost, prefix of worker keys
CLAIM = """
local record, chunks, leases, holders, attempts, intents = unpack(KEYS)
local number, worker = ARGV[1], ARGV[2]
if redis.call('HGET', record, 'state') ~= 'running' then return nil end
local items = redis.call('HGET', chunks, number)
if not items then return nil end
local holder = redis.call('HGET', holders, number)
if holder and redis.call('EXISTS', ARGV[5] .. holder) == 1 then
  local deadline = redis.call('ZSCORE', leases, number)
  if deadline and tonumber(deadline) > tonumber(ARGV[3]) then return nil end
end
redis.call('ZADD', leases, tonumber(ARGV[3]) + tonumber(ARGV[4]), number)
redis.call('HSET', holders, number, worker)
local attempt = redis.call('HINCRBY', attempts, number, 1)
return {items, attempt, redis.call('HGET', record, 'params'), redis.call('HGET', intents, number) or ''}
"""

# args: number, now, job, number of counters, name and increment of each ..., failures as JSON ...
FINISH = """
local record, chunks, leases, holders, attempts, intents, failures, running = unpack(KEYS)
local number = ARGV[1]
if redis.call('HDEL', chunks, number) == 0 then return 0 end
redis.call('ZREM', leases, number)
for _, key in ipairs({holders, attempts, intents}) do redis.call('HDEL', key, number) end
local first_failure = 5 + 2 * ARGV[4]
for i = 5, first_failure - 1, 2 do redis.call('HINCRBY', record, ARGV[i], ARGV[i + 1]) end
for i = first_failure, #ARGV do redis.call('RPUSH', failures, ARGV[i]) end
redis.call('LTRIM', failures, 0, 999)
if redis.call('HLEN', chunks) == 0 and redis.call('HGET', record, 'sealed') == '1' then
  redis.call('HSET', record, 'state', 'done', 'finished_at', ARGV[2])
  redis.call('SREM', running, ARGV[3])
  redis.call('EXPIRE', record, 604800)
  redis.call('EXPIRE', failures, 604800)
end
return 1
"""

# args: number, time at which it is due again, whether the attempt does not count
RELEASE = """
local record, chunks, leases, holders, attempts = unpack(KEYS)
if redis.call('HEXISTS', chunks, ARGV[1]) == 1 then
  redis.call('ZADD', leases, ARGV[2], ARGV[1])
  redis.call('HDEL', holders, ARGV[1])
  if ARGV[3] == '1' then redis.call('HINCRBY', attempts, ARGV[1], -1) end
end
"""

# args: number, single items as JSON ... What was intended of the chunk is intended of each of its items.
SPLIT = """
local record, chunks, waiting, leases, holders, attempts, intents = unpack(KEYS)
local intended = redis.call('HGET', intents, ARGV[1])
if redis.call('HDEL', chunks, ARGV[1]) == 0 then return end
redis.call('ZREM', leases, ARGV[1])
for _, key in ipairs({holders, attempts, intents}) do redis.call('HDEL', key, ARGV[1]) end
for i = 2, #ARGV do
  local number = redis.call('HINCRBY', record, 'next', 1)
  redis.call('HSET', chunks, number, ARGV[i])
  if intended then redis.call('HSET', intents, number, intended) end
  redis.call('RPUSH', waiting, number)
end
"""
