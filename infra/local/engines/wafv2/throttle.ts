/** A token bucket: a number of requests at once, and a number more each second. */
export type Rate = { readonly burst: number; readonly perSecond: number };

/**
 * "AWS WAF quotas", AWS WAF Developer Guide: one request a second to any individual Create, Put or
 * Update action, for account and region. Delete is not listed; it is held to the same.
 */
export const AWS_MUTATING: Rate = { burst: 1, perSecond: 1 };

/** "AWS WAF quotas": five requests a second to any individual Get or List action. */
const AWS_READING: Rate = { burst: 5, perSecond: 5 };

/** Takes one token for an action; false means ThrottlingException. */
export type Throttle = { take(action: string): boolean };

/**
 * WAF's request rate limiting: each action has a bucket of its own, all sets share it.
 *
 * @param mutating - the rate of what changes something, or `false` for no throttling at all
 * @param now - the time in milliseconds
 */
export function createThrottle(mutating: Rate | false, now: () => number): Throttle {
  if (mutating === false) return { take: () => true };
  const buckets = new Map<string, { tokens: number; filledAtMs: number }>();
  return {
    take(action) {
      const rate = /^(Get|List)/.test(action) ? AWS_READING : mutating;
      const atMs = now();
      const bucket = buckets.get(action) ?? { tokens: rate.burst, filledAtMs: atMs };
      const refill = ((atMs - bucket.filledAtMs) / 1000) * rate.perSecond;
      const tokens = Math.min(rate.burst, bucket.tokens + refill);
      const granted = tokens >= 1;
      buckets.set(action, { tokens: granted ? tokens - 1 : tokens, filledAtMs: atMs });
      return granted;
    },
  };
}
