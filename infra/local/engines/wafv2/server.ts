import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import Fastify from "fastify";
import * as v from "valibot";
import { findAction } from "./actions.ts";
import { controlSchema, createLedger, findRefusal, orderedError, type Refusal } from "./control.ts";
import { throttling, WafError } from "./errors.ts";
import { createStore } from "./store.ts";
import { AWS_MUTATING, createThrottle, type Rate } from "./throttle.ts";

/** How the emulator starts. */
export type Wafv2Options = {
  /** 0, the default, is any free port of 127.0.0.1. */
  readonly port?: number;
  /** Scope CLOUDFRONT exists in us-east-1 only. */
  readonly region?: string;
  /** Where the state is kept. Without it nothing is kept. */
  readonly stateFile?: string;
  /** The rate of each mutating action, AWS's own unless said otherwise; `false` is no throttling. */
  readonly throttle?: Rate | false;
  /** The time in milliseconds. */
  readonly now?: () => number;
};

const TARGET_PREFIX = "AWSWAF_20190729.";
const CONTENT_TYPE = "application/x-amz-json-1.1";
/** Room for more addresses than a set may have. */
const BODY_LIMIT_BYTES = 8 * 1024 * 1024;

/** Starts the emulator of WAF's IP sets, on 127.0.0.1 only. */
export async function startWafv2(
  options: Wafv2Options = {},
): Promise<{ url: string; stop(): Promise<void> }> {
  const { region = "us-east-1", now = () => performance.now() } = options;
  const store = createStore(options.stateFile, now);
  const ledger = createLedger();
  const stopping = new AbortController();
  let throttle = createThrottle(options.throttle ?? AWS_MUTATING, now);
  let throttledSets: readonly string[] = [];
  let refusals: readonly Refusal[] = [];
  let readLagMs = 0;

  /** One call: throttled, refused, failed by order, or done. */
  async function handle(action: string, body: unknown): Promise<object> {
    ledger.called(action);
    const run = findAction(action);
    if (run === undefined) {
      throw new WafError("UnknownOperationException", `Unknown operation ${action}`);
    }
    const setName = nameIn(body);
    const always = action === "UpdateIPSet" && throttledSets.includes(setName ?? "");
    if (always || !throttle.take(action)) {
      ledger.throttled();
      throw throttling();
    }
    const refusal = findRefusal(refusals, action, setName);
    if (refusal !== undefined) throw orderedError(refusal);
    const fault = ledger.nextFault(action);
    if (fault !== undefined && !fault.afterEffect) {
      await sleep(fault.delayMs, undefined, { signal: stopping.signal });
      throw orderedError(fault);
    }
    const isRead = /^(Get|List)/.test(action);
    const { answer, state } = run(body, isRead ? store.before(readLagMs) : store.current(), region);
    if (state !== undefined) store.commit(state);
    if (fault === undefined) return answer;
    await sleep(fault.delayMs, undefined, { signal: stopping.signal });
    throw orderedError(fault);
  }

  /** A request of the AWS JSON 1.1 protocol, answered in JSON whatever becomes of it. */
  async function answer(target: string, body: string): Promise<{ status: number; json: object }> {
    try {
      const action = target.startsWith(TARGET_PREFIX) ? target.slice(TARGET_PREFIX.length) : "";
      return { status: 200, json: await handle(action, parseJson(body)) };
    } catch (cause) {
      const error =
        cause instanceof WafError ? cause : new WafError("WAFInternalErrorException", `${cause}`);
      const { code, status, message, details } = error;
      return { status, json: { __type: code, Message: message, ...details } };
    }
  }

  const app = Fastify({ forceCloseConnections: true, bodyLimit: BODY_LIMIT_BYTES });
  app.addContentTypeParser(CONTENT_TYPE, { parseAs: "string" }, (_request, body, done) =>
    done(null, `${body}`),
  );
  app.post("/", async (request, reply) => {
    const target = `${request.headers["x-amz-target"] ?? ""}`;
    const { status, json } = await answer(target, `${request.body ?? ""}`);
    return reply
      .code(status)
      .header("x-amzn-requestid", randomUUID())
      .type(CONTENT_TYPE)
      .send(JSON.stringify(json));
  });
  app.get("/_control", async () => ledger.counters());
  app.post("/_control", async (request, reply) => {
    const control = v.safeParse(controlSchema, request.body);
    if (!control.success) return reply.code(400).send({ error: v.summarize(control.issues) });
    const { output } = control;
    readLagMs = output.readLagMs ?? readLagMs;
    throttledSets = output.throttleSet ?? throttledSets;
    refusals = output.refuse ?? refusals;
    if (output.throttle !== undefined) throttle = createThrottle(output.throttle, now);
    if (output.failNext !== undefined) ledger.order(output.failNext);
    return reply.code(204).send();
  });
  app.delete("/_control", async (_request, reply) => {
    ledger.reset();
    return reply.code(204).send();
  });

  const url = await app.listen({ host: "127.0.0.1", port: options.port ?? 0 });
  return {
    url,
    async stop() {
      stopping.abort();
      await app.close();
    },
  };
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    throw new WafError("SerializationException", "The request body is not JSON");
  }
}

/** The name of the set that a request is about, if it names one. */
function nameIn(body: unknown): string | undefined {
  if (typeof body !== "object" || body === null || !("Name" in body)) return undefined;
  return typeof body.Name === "string" ? body.Name : undefined;
}
