// The endpoint's process: calls the packaged handler and bare SendMessage in turn. It is told what
// to do by its argument, and answers its parent.
import { randomUUID } from "node:crypto";
import { pathToFileURL } from "node:url";
import { PurgeQueueCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import type {
  APIGatewayProxyEventV2,
  APIGatewayProxyStructuredResultV2,
  Context,
} from "aws-lambda";
import { createSqs } from "../../shared/aws/clients.ts";
import { KINDS, type Kind, type Order } from "./acceptProtocol.ts";
import { inParallel, timeOf } from "./statistics.ts";

type Handler = (
  event: APIGatewayProxyEventV2,
  context: Context,
) => Promise<APIGatewayProxyStructuredResultV2>;

const order = JSON.parse(process.argv[2] ?? "{}") as Order;
const { queueUrl, concurrency, requests, rounds, token } = order;
const bundle = (await import(pathToFileURL(order.bundle).href)) as Record<string, Handler>;
const handler = bundle[order.handler] as Handler;
/** The floor is what the SDK does by itself, without what the product's client spares it. */
const sqs = createSqs();
Object.assign(sqs.config, { cacheMiddleware: false });
const aclId = String(process.env.ACL_ID);

/** Rounds that are not counted: V8 takes some thousand requests to have compiled what is hot. */
const WARM_UP = 12;

let sent = 0;
/** What API Gateway, or whoever sends bare messages, has ready is made before the time is taken. */
const works: Record<Kind, () => () => Promise<unknown>> = {
  bare: () => {
    const input = {
      QueueUrl: queueUrl,
      MessageBody: bareBody(addressOf(sent++)),
      MessageGroupId: aclId,
      MessageDeduplicationId: randomUUID(),
    };
    return () => sqs.send(new SendMessageCommand(input));
  },
  distinct: () => accepting(addressOf(sent++)),
  repeats: () => accepting("203.0.113.9"),
};

const results = { bare: [], distinct: [], repeats: [] } as Record<Kind, Round[]>;
type Round = { perSecond: number; latenciesMs: number[] };
for (let round = -WARM_UP; round < rounds; round++) {
  for (let turn = 0; turn < KINDS.length; turn++) {
    const kind = KINDS[(round + WARM_UP + turn) % KINDS.length] as Kind;
    const measured = await measure(works[kind]);
    if (round >= 0) results[kind].push(measured);
    // So that no kind pays for how full the others left the queue.
    await sqs.send(new PurgeQueueCommand({ QueueUrl: queueUrl }));
  }
}
process.send?.(results, () => process.disconnect());

async function measure(prepare: () => () => Promise<unknown>): Promise<Round> {
  const latenciesMs: number[] = [];
  const jobs = Array.from({ length: requests }, prepare);
  const ms = await timeOf(() =>
    inParallel(requests, concurrency, async (index) => {
      latenciesMs.push(await timeOf(() => jobs[index]?.()));
    }),
  );
  return { perSecond: (requests / ms) * 1000, latenciesMs };
}

function accepting(ip: string): () => Promise<void> {
  const event = eventOf(ip);
  return async () => {
    const { statusCode, body } = await handler(event, {} as Context);
    if (statusCode !== 202) throw new Error(`The endpoint answered ${statusCode}: ${body}`);
  };
}

/** A message as long as the endpoint's own. */
function bareBody(ip: string): string {
  const now = Date.now();
  return JSON.stringify({
    kind: "block",
    cidr: `${ip}/32`,
    expiresAt: Math.floor(now / 1000) + 3600,
    reportedAt: now,
    severity: 7,
    reason: "ssh brute force",
    detector: "bench",
    requestId: randomUUID(),
    count: 1,
    origin: { sourceIp: "198.51.100.7", gatewayRequestId: randomUUID() },
  });
}

/** The event that API Gateway makes of a detector's POST (payload format 2.0). */
function eventOf(ip: string): APIGatewayProxyEventV2 {
  const now = new Date();
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath: "/blacklistip",
    rawQueryString: "",
    headers: {
      accept: "*/*",
      authorization: `Bearer ${token}`,
      "content-type": "application/json",
      host: "api.example.com",
      "user-agent": "bench",
      "x-forwarded-for": "198.51.100.7",
    },
    requestContext: {
      accountId: "000000000000",
      apiId: "local",
      domainName: "api.example.com",
      domainPrefix: "api",
      http: {
        method: "POST",
        path: "/blacklistip",
        protocol: "HTTP/1.1",
        sourceIp: "198.51.100.7",
        userAgent: "bench",
      },
      requestId: randomUUID(),
      routeKey: "$default",
      stage: "$default",
      time: now.toUTCString(),
      timeEpoch: now.getTime(),
    },
    body: JSON.stringify({ ip, severity: 7, expiryTime: 3600, reason: "ssh brute force" }),
    isBase64Encoded: false,
  };
}

/** The n-th of the addresses from 45.0.0.1 on. */
function addressOf(n: number): string {
  return `45.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`;
}
