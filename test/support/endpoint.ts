import { Logger } from "@aws-lambda-powertools/logger";
import type { APIGatewayProxyEventV2, Context } from "aws-lambda";
import { createDetectorActivity } from "../../services/blacklist/activity.ts";
import { createApp } from "../../services/blacklist/app.ts";
import type { Blacklist, Metric } from "../../services/blacklist/blacklist.ts";
import { createBudget } from "../../services/blacklist/budget.ts";
import { createFold } from "../../services/blacklist/fold.ts";
import { createStandingOrders } from "../../services/blacklist/orders.ts";
import { createRefusals } from "../../services/blacklist/refusals.ts";
import { createCallerSources } from "../../services/blacklist/sources.ts";
import { createCallers } from "../../shared/aws/callers.ts";
import type { Parameters as ParameterStore } from "../../shared/aws/parameters.ts";
import { type Outgoing, type Queue, QueueUnavailableError } from "../../shared/aws/queue.ts";
import type { Activities, Activity, Seen } from "../../shared/aws/table/activity.ts";
import type { Budgets } from "../../shared/aws/table/budgets.ts";
import type { Sources } from "../../shared/aws/table/sources.ts";
import { createTokens } from "../../shared/aws/tokens.ts";
import type { Cidr } from "../../shared/domain/cidr.ts";
import { SPECIAL_RANGES } from "../../shared/domain/neverBlock.ts";
import { createMemoryTable } from "./memoryTable.ts";
import { NOW } from "./reports.ts";
import { CALLER_LIST, DETECTOR_TOKEN, TOKEN_LIST } from "./tokens.ts";

export const SOURCE_IP = "198.51.100.7";
export const GATEWAY_REQUEST = "JKJaXmPLvHcESHA=";
export const ACL = "acl-0123456789abcdef0";

/** A queue that keeps what it is sent, and fails while it has a failure. */
export function fakeQueue() {
  const queue = {
    sent: [] as Outgoing[],
    failure: undefined as Error | undefined,
    async send(message, deduplicationId, lane) {
      if (queue.failure) throw queue.failure;
      queue.sent.push({ message, deduplicationId, lane });
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
 * What makes an instance's standing orders, over one book. Their clock stands still, but for those who
 * wait.
 */
export function ordersOver(
  book: Parameters<typeof createStandingOrders>[0],
  log: Parameters<typeof createStandingOrders>[1] = new Logger({ logLevel: "SILENT" }),
) {
  let now = NOW;
  const wait = async (ms: number) => {
    now += ms;
  };
  return { wait, instance: () => createStandingOrders(book, log, () => now, wait) };
}

/** The counter that all instances draw on. Tests break it. */
export function memoryBudgets() {
  const taken = new Map<string, number>();
  const budgets = {
    taken,
    calls: 0,
    failure: undefined as Error | undefined,
    async take(caller, minute, count) {
      budgets.calls++;
      if (budgets.failure) throw budgets.failure;
      const key = `${caller} ${minute}`;
      const total = (taken.get(key) ?? 0) + count;
      taken.set(key, total);
      return total;
    },
  } satisfies Budgets & Record<string, unknown>;
  return budgets;
}

/** The addresses that callers called from. Tests break it. */
export function memorySources() {
  const sources = {
    seen: [] as Cidr[],
    reads: 0,
    failure: undefined as Error | undefined,
    async saw(source: Cidr) {
      if (sources.failure) throw sources.failure;
      sources.seen.push(source);
    },
    async recent(): Promise<readonly Cidr[]> {
      sources.reads++;
      if (sources.failure) throw sources.failure;
      return sources.seen.slice(0, 1_000);
    },
  } satisfies Sources & Record<string, unknown>;
  return sources;
}

/** What each detector did. Tests break it. */
export function memoryActivities() {
  const known = new Map<string, Activity>();
  const activities = {
    writes: 0,
    failure: undefined as Error | undefined,
    async add(detector: string, { accepted, refused, lastRefusal }: Seen, now: number) {
      activities.writes++;
      if (activities.failure) throw activities.failure;
      const before = known.get(detector);
      known.set(detector, {
        detector,
        accepted: (before?.accepted ?? 0) + accepted,
        refused: (before?.refused ?? 0) + refused,
        lastRefusal: lastRefusal ?? before?.lastRefusal,
        lastSeenAt: now,
      });
    },
    async all() {
      if (activities.failure) throw activities.failure;
      return [...known.values()];
    },
  } satisfies Activities & Record<string, unknown>;
  return activities;
}

/** Parameters that are what tests make them. Their reads are counted. */
const storing = (values: Readonly<Record<string, () => string>>) => ({
  reads: 0,
  async get(name: string) {
    this.reads++;
    return values[name]?.() ?? "";
  },
});

export type Call = {
  readonly headers?: Readonly<Record<string, string>>;
  /** As text, or as an object that is sent as JSON. */
  readonly body?: string | object;
  readonly isBase64Encoded?: boolean;
  readonly sourceIp?: string;
};

type Change = Partial<Blacklist> & {
  readonly tokenList?: () => string;
  readonly callerList?: () => string;
  readonly blockLimit?: number;
  /** Instead of both lists. */
  readonly store?: ParameterStore;
};

/** The endpoint as the function wires it, over a fake queue. Its time is `endpoint.now`. */
export function startEndpoint(change: Change = {}) {
  const {
    tokenList = () => TOKEN_LIST,
    callerList = () => CALLER_LIST,
    blockLimit = 200_000,
    store,
    ...parts
  } = change;
  const queue = fakeQueue();
  const table = createMemoryTable();
  const budgets = memoryBudgets();
  const sources = memorySources();
  const activities = memoryActivities();
  const metrics: Metric[] = [];
  const clock = () => endpoint.now;
  const log = parts.log ?? new Logger({ logLevel: "SILENT" });
  const parameters = storing({ "/tokens": tokenList, "/callers": callerList });
  const nothingAdded = async () => [];
  const callers = createCallers(store ?? parameters, "/callers", nothingAdded, log, clock);
  const tokens = createTokens(store ?? parameters, "/tokens", nothingAdded, callers, log, clock);
  // Who waits for the leases to end finds them ended.
  let waitedMs = 0;
  const leaseClock = () => endpoint.now + waitedMs;
  const orders = createStandingOrders(table.orders, log, leaseClock, async (ms) => {
    waitedMs += ms;
  });
  const blacklist: Blacklist = {
    fold: createFold(queue, orders),
    orders,
    orderBook: table.orders,
    budget: createBudget(budgets, table.outstanding, blockLimit, log),
    sources: createCallerSources(sources, log),
    activity: createDetectorActivity(activities, log),
    neverBlock: async () => SPECIAL_RANGES,
    expirySeconds: 3_600,
    maxExpirySeconds: 2_592_000,
    holdSeconds: 0,
    blocks: table.blocks,
    states: table.states,
    targets: [{ id: ACL, kind: "networkAcl" }],
    log,
    refusals: createRefusals(log, clock),
    measure: (metric) => metrics.push(metric),
    ...parts,
  };
  const app = createApp(tokens, blacklist, clock);

  const endpoint = {
    now: NOW,
    queue,
    table,
    budgets,
    sources,
    activities,
    parameters,
    metrics,
    /** What was queued, in order, with the addresses as texts. */
    messages: () =>
      queue.sent.map(({ message }) => ({
        ...message,
        cidr: "cidr" in message ? message.cidr.text : "",
      })),
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
    requestContext: { requestId: GATEWAY_REQUEST, http: { method, path, sourceIp } },
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
    isBase64Encoded,
  } as unknown as APIGatewayProxyEventV2;
}
