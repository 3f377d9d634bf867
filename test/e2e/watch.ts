import { setTimeout as sleep } from "node:timers/promises";
import type { NetworkAclEntry } from "@aws-sdk/client-ec2";
import type { TestCloud } from "./cloud.ts";

/** What an ACL was at some moment between two times of our clock. */
export type Sample = {
  readonly fromMs: number;
  readonly toMs: number;
  /** Its inbound entries. */
  readonly entries: readonly NetworkAclEntry[];
};

/** Ranges that Portcullis denies: its rule numbers are below 100, and persons' denies are none here. */
export const deniedIn = ({ entries }: Pick<Sample, "entries">): string[] =>
  entries
    .filter(({ RuleAction, RuleNumber = 0 }) => RuleAction === "deny" && RuleNumber < 100)
    .map(({ CidrBlock, Ipv6CidrBlock }) => CidrBlock ?? Ipv6CidrBlock ?? "");

/**
 * Looks at the ACL again and again until it is stopped. Calls of ours do not count against the
 * enforcer's rate; that of mutations stays as on AWS.
 */
export async function watch(
  { control, entries }: TestCloud,
  everyMs = 100,
): Promise<{ readonly samples: readonly Sample[]; stop(): Promise<readonly Sample[]> }> {
  const unlimited = { burst: 1_000_000, perSecond: 1_000_000 };
  await control("ec2", { throttle: { describe: unlimited } });
  const samples: Sample[] = [];
  let isOver = false;
  const watching = (async () => {
    while (!isOver) {
      const fromMs = Date.now();
      // A refusal that a test has ordered is no sight of the ACL.
      const seen = await entries().catch(() => undefined);
      if (seen) samples.push({ fromMs, toMs: Date.now(), entries: seen });
      await sleep(everyMs);
    }
  })();
  return {
    samples,
    async stop() {
      isOver = true;
      await watching;
      return samples;
    },
  };
}

/** Addresses that are no siblings of each other, so that nothing merges. */
export const addressOf = (index: number) => `203.0.${100 + (index >> 5)}.${(index & 31) * 8 + 1}`;

/** Pays for the functions' cold starts with a block that is over when this resolves. */
export async function warmUp(cloud: TestCloud): Promise<void> {
  await cloud.block({ ip: "198.51.100.9", severity: 1, expiryTime: 3 });
  await sleep(5_500);
}
