"""Pulls counted in Redis or Valkey, for several nodes; while it is away each node allows its share of a limit.

A subject is a hash of bucket index to count, which lives for one window after its last pull. One script reads the
server's clock, forgets what has left the window, and counts: scripts run one after another, so it is exact.
"""

import asyncio
import math
import time
from typing import Any

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from entrepot.access.pulls import PullCounter, PullLimit, Spent
from entrepot.counters.window import BUCKETS

_CONNECTIONS = 16  # of a worker: a script takes microseconds
_SECONDS = 1.0  # that Redis may be silent before it counts as away
_PAUSE = 1.0  # seconds before an absent Redis is asked again
_SCRIPT = """
local window, limit, count, buckets = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local width = window / buckets
local index = math.floor(now / width)
local used, all = 0, redis.call('HGETALL', KEYS[1])
local ages = {}
for place = 1, #all, 2 do
  local bucket, pulls = tonumber(all[place]), tonumber(all[place + 1])
  if bucket <= index - buckets then
    redis.call('HDEL', KEYS[1], all[place])
  else
    used = used + pulls
    ages[#ages + 1] = {bucket, pulls}
  end
end
if used < limit then
  if count == 1 then
    redis.call('HINCRBY', KEYS[1], string.format('%.0f', index), 1)
    redis.call('EXPIRE', KEYS[1], math.ceil(window + width))
    used = used + 1
  end
  return {1, limit - used, '0'}
end
table.sort(ages, function (one, other) return one[1] < other[1] end)
local over = used - limit
for _, each in ipairs(ages) do
  over = over - each[2]
  if over < 0 then
    return {0, 0, tostring((each[1] + buckets) * width - now)}
  end
end
return {0, 0, tostring(window)}
"""
_log = structlog.get_logger()


class RedisCounter:
    """The port PullCounter."""

    waits = True

    def __init__(self, url: str, alone: PullCounter, nodes: int) -> None:
        """`alone` counts while Redis is away, each of `nodes` nodes its share."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_SECONDS,
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
        )
        self._redis: Redis = Redis(connection_pool=pool)
        self._script = self._redis.register_script(_SCRIPT)
        self._alone = alone
        self._nodes = nodes
        self._ask_again = 0.0
        self.away = False

    def spend_ahead(self, subject: str, limit: PullLimit) -> int | None:
        """See the port: nothing is counted ahead."""
        return None

    async def spend(self, subject: str, limit: PullLimit) -> Spent:
        """See the port."""
        found = await self._asked(subject, limit, 1)
        return found or await self._alone.spend(subject, self._share(limit))

    async def look(self, subject: str, limit: PullLimit) -> Spent:
        """See the port."""
        found = await self._asked(subject, limit, 0)
        return found or await self._alone.look(subject, self._share(limit))

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose(close_connection_pool=True)

    async def _asked(self, subject: str, limit: PullLimit, count: int) -> Spent | None:
        """What Redis says; None while it is away."""
        if self.away and time.monotonic() < self._ask_again:
            return None
        key = f"entrepot:pulls:{subject}:{limit.window}"
        try:
            async with asyncio.timeout(_SECONDS * 2):
                answer: Any = await self._script(keys=[key], args=[limit.window, limit.limit, count, BUCKETS])
        except (RedisError, OSError, TimeoutError) as error:
            self._ask_again = time.monotonic() + _PAUSE
            if not self.away:
                self.away = True
                _log.warning("Redis does not answer; pulls are counted by each node for itself", error=str(error))
            return None
        if self.away:
            self.away = False
            _log.info("Redis answers again; pulls are counted for all nodes together")
        allowed, remaining, wait = int(answer[0]), int(answer[1]), float(answer[2])
        return Spent(bool(allowed), remaining, 0 if allowed else max(1, math.ceil(wait)))

    def _share(self, limit: PullLimit) -> PullLimit:
        return PullLimit(min(limit.limit, max(1, limit.limit // self._nodes)), limit.window)
