import { hash, randomBytes } from "node:crypto";
import { DEFAULT_VPC } from "../../infra/local/engines/ec2/acls.ts";
import { callerKey } from "../../shared/aws/callers.ts";
import { createDynamo } from "../../shared/aws/clients.ts";
import { createNeverBlockParser, neverBlockKey } from "../../shared/aws/neverBlock.ts";
import { type Change, createAdditions, writeAdditions } from "../../shared/aws/table/additions.ts";
import { partition } from "../../shared/aws/table/items.ts";
import { tokenKey } from "../../shared/aws/tokens.ts";
import { parseCidr } from "../../shared/domain/cidr.ts";
import { protectedBy } from "../../shared/domain/neverBlock.ts";
import { recordVpc, run } from "./accept.ts";
import type { Rounds } from "./acceptProtocol.ts";
import type { Figure } from "./figure.ts";
import { packagedFunction } from "./functions.ts";
import type { Stage } from "./stage.ts";
import { median, timeOf } from "./statistics.ts";

const REQUESTS_PER_ROUND = 250;
const ROUNDS = 8;
const GOAL = 0.95;
/** Reads of all items, as after a change. */
const READS = 5;

/** A deployment's list, with so many callers and never-block ranges that operators have added. */
type Side = { readonly list: string; readonly tokens: number; readonly ranges: number };
const FEW: Side = { list: "bench-few", tokens: 10, ranges: 10 };
const MANY: Side = { list: "bench-many", tokens: 1_000, ranges: 10_000 };

/**
 * How many requests the packaged endpoint accepts with a thousand tokens and ten thousand never-block
 * ranges in the table, against ten of each: each as a share of the bare SendMessage calls of its own run.
 */
export async function acceptManyRatio(stage: Stage): Promise<Figure[]> {
  const few = await shareOf(stage, FEW);
  const many = await shareOf(stage, MANY);
  const value = many / few;
  return [
    {
      name: "acceptManyRatio",
      what: "requests accepted with 1,000 tokens and 10,000 never-block ranges ÷ with ten of each",
      value: { value },
      floor: { what: "with ten of each, share of bare SendMessage calls", value: few },
      goal: { text: `≥ ${GOAL}`, isMet: value >= GOAL },
      details: { fewShare: few, manyShare: many },
    },
    {
      name: "addedReadMs",
      what: "what an instance pays once after a change: 1,000 callers and 10,000 ranges, read and parsed",
      value: { value: await timeToRead(stage, MANY), unit: "ms" },
    },
  ];
}

async function shareOf(stage: Stage, side: Side): Promise<number> {
  const token = randomBytes(32).toString("base64url");
  const blacklist = packagedFunction(stage, "blacklist", DEFAULT_VPC.defaultNetworkAclId);
  const { bundle, handler, env } = blacklist;
  await fill(stage, side, token);
  await recordVpc(stage, side.list);
  const rounds = await run(
    stage,
    {
      ...{ bundle, handler, token, queueUrl: String(env.QUEUE_URL) },
      ...{ concurrency: 1, requests: REQUESTS_PER_ROUND, rounds: ROUNDS },
    },
    {
      ...{ ...env, LIST_NAME: side.list },
      ...{ TOKENS_PARAMETER: "", CALLERS_PARAMETER: "", NEVER_BLOCK_PARAMETER: "" },
    },
  );
  const rate = (kind: keyof Rounds) => median(rounds[kind].map(({ perSecond }) => perSecond));
  return rate("distinct") / rate("bare");
}

/** The token is the last caller's: nothing finds it early. */
async function fill({ model }: Stage, side: Side, token: string): Promise<void> {
  const { list, tokens, ranges } = side;
  const [settings, secrets] = [partition.settings(list), partition.tokens(list)];
  const limits = { addressesPerMinute: 100_000, outstanding: 1_000_000 };
  const callers = Array.from({ length: tokens }, (_, n): Change[] => {
    const name = `detector-${String(n).padStart(4, "0")}`;
    const sha256 = hash("sha256", n === tokens - 1 ? token : `${token}${n}`);
    const caller = { name, role: "detector", ...limits };
    return [
      { partition: settings, sk: callerKey(name), item: { caller } },
      { partition: secrets, sk: tokenKey(name), item: { secrets: [{ sha256 }] } },
    ];
  });
  const protectedRanges = Array.from({ length: ranges }, (_, n): Change => {
    const sk = neverBlockKey(parseCidr(`46.${n >> 8}.${n & 255}.7`).text);
    return { partition: settings, sk, item: { why: "an office", addedBy: "bench" } };
  });
  await writeAdditions(createDynamo(), { tableName: model.table.name }, [
    ...callers.flat(),
    ...protectedRanges,
  ]);
}

/** What an instance pays once after a change: all items read, parsed and asked for one address. */
async function timeToRead({ model }: Stage, { list }: Side): Promise<number> {
  const additions = createAdditions(
    createDynamo(),
    { tableName: model.table.name },
    partition.settings(list),
  );
  const times: number[] = [];
  for (let read = 0; read < READS; read++) {
    const look = async () => {
      const neverBlock = createNeverBlockParser()("", await additions.items(), []);
      protectedBy(neverBlock, parseCidr("203.0.113.9"));
    };
    times.push(await timeOf(look));
  }
  return median(times);
}
