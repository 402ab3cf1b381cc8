-- Prints wrk's figures as one line of JSON. With BENCH_CONTACTS=n, requests the n seeded contacts in turn
-- instead of the one URL: their ids count up (see examples/seed.rs). BENCH_STRIDE=n advances by n each
-- time, so that adjacent contacts are not requested one after another.

local contacts = tonumber(os.getenv("BENCH_CONTACTS"))
local stride = tonumber(os.getenv("BENCH_STRIDE")) or 1

if contacts then
   local requests, next_one = {}, 0

   function init()
      for i = 1, contacts do
         local id = string.format("00000000-0000-4000-8000-%012x", i)
         requests[i] = wrk.format("GET", "/contacts/v4/attachments/" .. id)
      end
   end

   function request()
      next_one = (next_one + stride - 1) % contacts + 1
      return requests[next_one]
   end
end

function done(summary, latency)
   local e = summary.errors
   print(string.format(
      '{"requests":%d,"seconds":%.6f,"bytes":%d,"errors":%d,"p50_ms":%.3f,"p99_ms":%.3f}',
      summary.requests, summary.duration / 1e6, summary.bytes,
      e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
