import { Logger } from "@aws-lambda-powertools/logger";
import type { APIGatewayProxyEventV2, Context } from "aws-lambda";
import { createApp } from "../../services/blacklist/app.ts";
import type { Blacklist } from "../../services/blacklist/blacklist.ts";
import { createFold } from "../../services/blacklist/fold.ts";
import { createUnblocks } from "../../services/blacklist/unblocks.ts";
import { type Queue, QueueUnavailableError } from "../../shared/aws/queue.ts";
import { createTokens } from "../../shared/aws/tokens.ts";
import type { Message } from "../../shared/domain/decide.ts";
import { SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import { createMemoryTable } from "./memoryTable.ts";
import { NOW } from "./reports.ts";
import { DETECTOR_TOKEN, TOKEN_LIST } from "./tokens.ts";

export const SOURCE_IP = "198.51.100.7";
export const ACL = "acl-0123456789abcdef0";

/** A queue that keeps what it is sent, and fails while it has a failure. */
export function fakeQueue() {
  const queue = {
    sent: [] as { message: Message; deduplicationId: string }[],
    failure: undefined as Error | undefined,
    async send(message, deduplicationId) {
      if (queue.failure) throw queue.failure;
      queue.sent.push({ message, deduplicationId });
    },
    async sendAll(entries) {
      if (queue.failure) return entries.map(() => false);
      queue.sent.push(...entries);
      return entries.map(() => true);
    },
  } satisfies Queue & Record<string, unknown>;
  return queue;
}

export const queueDown = () => new QueueUnavailableError("The queue could not take the message.");

/**
 * What makes an instance's count of the unblocks, over one counter. Their clock stands still, but for
 * those who wait.
 */
export function unblocksOver(
  counter: Parameters<typeof createUnblocks>[0],
  log: Parameters<typeof createUnblocks>[1] = new Logger({ logLevel: "SILENT" }),
) {
  let now = NOW;
  const wait = async (ms: number) => {
    now += ms;
  };
  return { wait, instance: () => createUnblocks(counter, log, () => now, wait) };
}

export type Call = {
  readonly headers?: Readonly<Record<string, string>>;
  /** As text, or as an object that is sent as JSON. */
  readonly body?: string | object;
  readonly isBase64Encoded?: boolean;
  readonly sourceIp?: string;
};

/** The endpoint as the function wires it, over a fake queue. Its time is `endpoint.now`. */
export function startEndpoint(change: Partial<Blacklist> & { tokenList?: () => string } = {}) {
  const { tokenList = () => TOKEN_LIST, ...parts } = change;
  const queue = fakeQueue();
  const table = createMemoryTable();
  const log = parts.log ?? new Logger({ logLevel: "SILENT" });
  const tokens = createTokens({ get: async () => tokenList() }, "/tokens", log);
  const blacklist: Blacklist = {
    fold: createFold(queue, unblocksOver(table.unblockCount).instance()),
    neverBlock: async () => SPECIAL_RANGES,
    expirySeconds: 3_600,
    maxExpirySeconds: 2_592_000,
    holdSeconds: 0,
    blocks: table.blocks,
    states: table.states,
    targets: [{ id: ACL, kind: "networkAcl" }],
    log,
    ...parts,
  };
  const app = createApp(tokens, blacklist, () => endpoint.now);

  const endpoint = {
    now: NOW,
    queue,
    table,
    /** What was queued, in order, with the addresses as texts. */
    messages: () => queue.sent.map(({ message }) => ({ ...message, cidr: message.cidr.text })),
    call: (method: string, url: string, call: Call = {}) =>
      endpoint.answer(eventOf(method, url, call)),
    /** The answer to an event as API Gateway makes it. */
    async answer(event: APIGatewayProxyEventV2) {
      const { statusCode, headers, body } = await app(event, {} as Context);
      const raw = String(body);
      return { status: statusCode, headers: headers ?? {}, body: JSON.parse(raw), raw };
    },
    /** A detector's report, with the token where it belongs. */
    report(fields: object, call: Call = {}) {
      return endpoint.call("POST", "/blacklistip", {
        ...call,
        headers: { ...bearer(DETECTOR_TOKEN), ...json, ...call.headers },
        body: fields,
      });
    },
  };
  return endpoint;
}

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
export const json = { "content-type": "application/json" };

/** The event of payload format 2.0 that API Gateway makes of a request. */
function eventOf(method: string, url: string, call: Call): APIGatewayProxyEventV2 {
  const [path = "", query = ""] = url.split("?");
  const { headers = {}, body, isBase64Encoded = false, sourceIp = SOURCE_IP } = call;
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath: path,
    rawQueryString: query,
    headers: { ...headers },
    requestContext: { http: { method, path, sourceIp } },
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
    isBase64Encoded,
  } as unknown as APIGatewayProxyEventV2;
}
