/** A token bucket: `burst` requests at once, and `perSecond` more each second. */
export type Rate = { readonly burst: number; readonly perSecond: number };

/** Limits by category of action. */
export type ThrottleLimits = { readonly mutating: Rate; readonly describe: Rate };

/** The categories "mutating" and "non-mutating" of the EC2 Developer Guide's "Request throttling". */
export const AWS_LIMITS: ThrottleLimits = {
  mutating: { burst: 50, perSecond: 5 },
  describe: { burst: 100, perSecond: 20 },
};

/** Takes one token for an action; false means RequestLimitExceeded. */
export type Throttle = { take(action: string): boolean };

/**
 * EC2's request rate limiting ("Request throttling for the Amazon EC2 API", EC2 Developer Guide):
 * every API action has a bucket of its own, whose size depends on its category, so that a spent
 * CreateNetworkAclEntry leaves ReplaceNetworkAclEntry its tokens.
 *
 * @param limits - the rates, or `false` for no throttling
 * @param now - the time in milliseconds
 */
export function createThrottle(limits: ThrottleLimits | false, now: () => number): Throttle {
  if (limits === false) return { take: () => true };
  const buckets = new Map<string, { tokens: number; filledAtMs: number }>();
  return {
    take(action) {
      const rate = /^(Describe|Get)/.test(action) ? limits.describe : limits.mutating;
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
