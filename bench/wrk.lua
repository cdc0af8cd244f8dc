-- Drives one scenario. Environment:
--   BENCH_METHOD, BENCH_PATH, BENCH_BODY_BYTES
--   BENCH_TOKENS  file with one token a line, or empty: no authorization header
--   BENCH_ONCE    1: each token is used once, and the run ends with the last one; else the first one is used always
local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } bench_timespec;
  int clock_gettime(int clock, bench_timespec *now);
]]
local timespec = ffi.new("bench_timespec")
local threads = {}
-- Read by `done` through the thread: wrk itself counts the whole duration, also when the tokens ended early.
started, ended = 0, 0

local function now()
  ffi.C.clock_gettime(1, timespec)
  return tonumber(timespec.seconds) + tonumber(timespec.nanoseconds) / 1e9
end

local method = os.getenv("BENCH_METHOD")
local path = os.getenv("BENCH_PATH")
local body_bytes = tonumber(os.getenv("BENCH_BODY_BYTES"))
local token_file = os.getenv("BENCH_TOKENS")
local once = os.getenv("BENCH_ONCE") == "1"
local body = body_bytes > 0 and string.rep("x", body_bytes) or nil
local encoded, next_request, fixed = {}, 0, nil

local function encode(token)
  local headers = { ["Host"] = "bench.test" }
  if token then headers["Authorization"] = "Bearer " .. token end
  return wrk.format(method, path, headers, body)
end

function init(args)
  -- All requests are made beforehand: what the load generator does per request slows what it measures.
  if token_file == "" then
    fixed = encode(nil)
  elseif not once then
    fixed = encode(io.lines(token_file)())
  else
    for line in io.lines(token_file) do encoded[#encoded + 1] = encode(line) end
  end
end

function setup(thread)
  threads[#threads + 1] = thread
end

function request()
  if started == 0 then started = now() end
  if fixed then return fixed end
  next_request = next_request + 1
  if next_request >= #encoded then
    ended = now()
    wrk.thread:stop()
  end
  return encoded[math.min(next_request, #encoded)]
end

function done(summary, latency, requests)
  local errors = summary.errors
  local seconds = summary.duration / 1e6
  for _, thread in ipairs(threads) do
    local thread_ended = thread:get("ended")
    if thread_ended > 0 then seconds = thread_ended - thread:get("started") end
  end
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.6f, "p50_us": %.1f, "p99_us": %.1f, "bad_statuses": %d, "broken": %d}\n',
    summary.requests, seconds, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
