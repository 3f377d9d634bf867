import { randomUUID } from "node:crypto";
import type { Logger } from "../../shared/aws/log.ts";
import type { Caller } from "../../shared/aws/tokens.ts";
import { contains, parseCidr } from "../../shared/domain/cidr.ts";
import { type NeverBlock, protectedBy, SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import type { createFold } from "./fold.ts";
import type { Answer } from "./http.ts";
import { addressOf, blockableAddressOf, type Fields, numberOf, reasonOf } from "./request.ts";

export type Blacklist = {
  readonly fold: ReturnType<typeof createFold>;
  readonly neverBlock: () => Promise<NeverBlock>;
  readonly expirySeconds: number;
  readonly maxExpirySeconds: number;
  readonly log: Logger;
};

const DEFAULT_SEVERITY = 5;

/**
 * A detector's word that an address attacks: validated, checked against the never-block list and
 * queued. From the answer 202 on it is durable.
 *
 * @throws Refusal for bad input, QueueUnavailableError
 */
export async function block(
  fields: Fields,
  caller: Caller,
  sourceIp: string,
  blacklist: Blacklist,
  now: number,
): Promise<Answer> {
  const cidr = blockableAddressOf(fields);
  const seconds = numberOf(fields, "expiryTime", {
    min: 1,
    max: blacklist.maxExpirySeconds,
    otherwise: blacklist.expirySeconds,
    code: "invalid_expiry",
  });
  const severity = numberOf(fields, "severity", {
    min: 1,
    max: 10,
    otherwise: DEFAULT_SEVERITY,
    code: "invalid_severity",
  });
  const reason = reasonOf(fields);

  const why = contains(cidr, parseCidr(sourceIp))
    ? "the caller's own address"
    : protectedBy(await currentNeverBlock(blacklist), cidr)?.why;
  if (why) {
    blacklist.log.info("Ignored", { cidr: cidr.text, caller: caller.name, why });
    return { status: 200, body: { status: "ignored", cidr: cidr.text, reason: why } };
  }

  const queued = await blacklist.fold.send({
    kind: "block",
    cidr: cidr.text,
    family: cidr.family,
    expiresAt: Math.floor(now / 1000) + seconds,
    reportedAt: now,
    severity,
    reason,
    detector: caller.name,
    requestId: randomUUID(),
  });
  const { requestId, expiresAt } = queued;
  blacklist.log.info("Queued", { cidr: cidr.text, caller: caller.name, requestId, expiresAt });
  return { status: 202, body: { status: "queued", requestId, cidr: cidr.text, expiresAt } };
}

/** The built-in ranges hold even while the list cannot be read; worker and `plan` ask again. */
async function currentNeverBlock({ neverBlock, log }: Blacklist): Promise<NeverBlock> {
  try {
    return await neverBlock();
  } catch (error) {
    log.error("The never-block list cannot be read", error as Error);
    return SPECIAL_RANGES;
  }
}

/** An operator's unblock, in order with the blocks. @throws Refusal, QueueUnavailableError */
export async function unblock(
  fields: Fields,
  caller: Caller,
  { fold, log }: Blacklist,
  now: number,
): Promise<Answer> {
  const cidr = addressOf(fields);
  const requestId = randomUUID();
  await fold.sendUnblock({
    kind: "unblock",
    cidr: cidr.text,
    requestedAt: now,
    operator: caller.name,
    requestId,
  });
  log.info("Queued an unblock", { cidr: cidr.text, caller: caller.name, requestId });
  return { status: 202, body: { status: "queued", requestId, cidr: cidr.text } };
}
