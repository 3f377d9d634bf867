import { randomBytes, randomInt } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { createOrderBook } from "../../shared/aws/table/orders.ts";
import { type Cidr, contains, parseCidr } from "../../shared/domain/cidr.ts";
import { type Millis, type Seconds, toEpochSeconds } from "../../shared/domain/time.ts";
import { createNetworkAcl } from "../../shared/targets/networkAcl/ec2.ts";
import { createIpSets } from "../../shared/targets/wafIpSet/wafv2.ts";
import { createCallerBook } from "./callers.ts";
import { FailedError } from "./errors.ts";
import type { Deployment, Stage } from "./stage.ts";

/** One step on a block's way, and how long it took; undefined if it did not happen in time. */
export type Hop = { readonly what: string; readonly ms: Millis | undefined };

/** How long the smoke test's own caller and its block last if nobody removes them. */
const LIFE: Seconds = 900;

/** WAF grants five reads a second per account and region, and the enforcer needs some of them. */
const LOOK_EVERY = { networkAcl: 250, wafIpSet: 1_000 } as const satisfies Record<string, Millis>;
const ASK_EVERY: Millis = 250;
const ANSWER_WITHIN: Millis = 10_000;

/**
 * Sends one address from a documentation range all the way: as a caller that it creates for itself, it
 * blocks the address, waits for the entry in every target, unblocks it, waits until the entries are gone,
 * and leaves no caller behind.
 *
 * @param timeout for each hop
 * @throws FailedError if nothing could be denied anyway
 */
export async function walk(
  stage: Pick<Stage, "dynamo" | "ssm" | "ec2" | "waf">,
  deployment: Deployment,
  api: string,
  timeout: Millis,
  onHop: (hop: Hop) => void,
): Promise<Hop[]> {
  const { mode = deployment.mode } = await createOrderBook(stage.dynamo, deployment).read(
    Date.now(),
  );
  if (mode !== "enforce") throw new FailedError(`The mode is ${mode}: nothing is denied.`);

  const book = createCallerBook(stage.dynamo, stage.ssm, deployment);
  const cidr = parseCidr(`192.0.2.${randomInt(1, 255)}`);
  const name = `smoke-${randomBytes(4).toString("hex")}`;
  const token = await book.add(
    { name, role: "operator", expiresAt: toEpochSeconds(Date.now()) + LIFE },
    false,
  );
  const call = async (method: string, path: string, body?: object) => {
    const response = await fetch(new URL(path, api), {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      signal: AbortSignal.timeout(ANSWER_WITHIN),
      ...(body && { body: JSON.stringify(body) }),
    });
    await response.arrayBuffer();
    return response.status;
  };
  const answers = async (wanted: number) => (await call("GET", "/blacklist?limit=1")) === wanted;
  const unblock = () => call("DELETE", `/blacklistip?ip=${cidr.text}`);
  const hops: Hop[] = [];
  const hop = async (what: string, every: Millis, isDone: () => Promise<boolean>) => {
    const taken = { what, ms: await timeUntil(isDone, every, timeout) };
    hops.push(taken);
    onHop(taken);
    return taken.ms !== undefined;
  };
  const inAll = async (what: string, isWanted: boolean) => {
    const looked = await Promise.all(
      deployment.targets.map(({ id, kind }) => {
        const isDenied = createLook(stage, deployment, id, kind);
        return hop(
          `${what} ${id}`,
          LOOK_EVERY[kind],
          async () => (await isDenied(cidr)) === isWanted,
        );
      }),
    );
    return looked.every(Boolean);
  };

  let isBlocked = false;
  try {
    if (!(await hop("a new token is known", ASK_EVERY, () => answers(200)))) return hops;
    const fields = { ip: cidr.text, severity: 10, expiryTime: LIFE, reason: "smoke test" };
    isBlocked = true;
    const isAccepted = await hop(
      "the block is accepted",
      ASK_EVERY,
      async () => (await call("POST", "/blacklistip", fields)) === 202,
    );
    if (!isAccepted || !(await inAll("the entry is in", true))) return hops;
    await hop("the unblock is accepted", ASK_EVERY, async () => (await unblock()) === 202);
    isBlocked = !(await inAll("the entry has left", false));
    await book.forget(name);
    await hop("a revoked token is refused", ASK_EVERY, () => answers(401));
    return hops;
  } finally {
    if (isBlocked) await unblock().catch(() => {});
    await book.forget(name);
  }
}

/** How long it took; undefined if it did not happen in time. A failed look is repeated. */
async function timeUntil(
  isDone: () => Promise<boolean>,
  every: Millis,
  timeout: Millis,
): Promise<Millis | undefined> {
  const begin = performance.now();
  for (;;) {
    const is = await isDone().catch(() => false);
    const ms = performance.now() - begin;
    if (is) return Math.round(ms);
    if (ms >= timeout) return undefined;
    await pause(every);
  }
}

/** A look at what the target itself denies, whatever the table says. */
function createLook(
  { ec2, waf }: Pick<Stage, "ec2" | "waf">,
  { ruleNumbers: { first, last } }: Pick<Deployment, "ruleNumbers">,
  id: string,
  kind: Deployment["targets"][number]["kind"],
): (cidr: Cidr) => Promise<boolean> {
  if (kind === "wafIpSet") {
    const sets = createIpSets(waf);
    return async (cidr) => {
      const { addresses } = await sets.read(`${id}-v${cidr.family}`);
      return addresses.some((one) => contains(one, cidr));
    };
  }
  const acl = createNetworkAcl(ec2, id);
  return async (cidr) => {
    const { entries } = await acl.describe();
    return [...entries.ingress, ...entries.egress].some(
      (entry) =>
        entry.kind === "deny" &&
        entry.ruleNumber >= first &&
        entry.ruleNumber <= last &&
        contains(entry.cidr, cidr),
    );
  };
}
