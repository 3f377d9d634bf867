import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import Fastify from "fastify";
import * as v from "valibot";
import { DEFAULT_VPC, type InitialVpc, initialState, provideAcl } from "./acls.ts";
import { findAction } from "./actions.ts";
import { controlSchema, createLedger, faultError, type Refusal, refusalError } from "./control.ts";
import { Ec2Error } from "./errors.ts";
import {
  answerXml,
  errorXml,
  list,
  optionalBoolean,
  optionalText,
  type Query,
} from "./protocol.ts";
import { createStore } from "./store.ts";
import { AWS_LIMITS, createThrottle, type Throttle, type ThrottleLimits } from "./throttle.ts";

/** How the emulator starts. */
export type Ec2Options = {
  /** 0, the default, is any free port of 127.0.0.1. */
  readonly port?: number;
  readonly region?: string;
  /** Where the state is kept; what it has wins over `vpcs`. Without it nothing is kept. */
  readonly stateFile?: string;
  readonly vpcs?: readonly InitialVpc[];
  /** Rules per ACL, direction and family, the default deny included ("Amazon VPC quotas"). */
  readonly quota?: number;
  /** AWS's own limits unless said otherwise; `false` is none. */
  readonly throttle?: Partial<ThrottleLimits> | false;
  /** DescribeNetworkAcls shows the state this long ago ("Eventual consistency", EC2 Developer Guide). */
  readonly readLagMs?: number;
  /** The time in milliseconds. */
  readonly now?: () => number;
};

/** Starts the emulator of EC2's network ACLs, on 127.0.0.1 only. */
export async function startEc2(
  options: Ec2Options = {},
): Promise<{ url: string; stop(): Promise<void> }> {
  const { region = "us-east-1", now = () => performance.now() } = options;
  const store = createStore(initialState(options.vpcs ?? [DEFAULT_VPC]), options.stateFile, now);
  const ledger = createLedger();
  const stopping = new AbortController();
  let { quota = 20, readLagMs = 0 } = options;
  let throttle = createThrottle(
    options.throttle === false ? false : { ...AWS_LIMITS, ...options.throttle },
    now,
  );
  const throttlesByAcl = new Map<string, Throttle>();
  let refusals: readonly Refusal[] = [];

  /** One call: throttled, failed by order, refused, or done. Answers the content of the XML. */
  async function handle(action: string, query: Query) {
    ledger.called(action);
    const run = findAction(action);
    if (run === undefined) {
      throw new Ec2Error(
        "InvalidAction",
        `The action ${action} is not valid for this web service.`,
      );
    }
    const aclIds = namedAcls(query);
    const throttles = [...aclIds.flatMap((id) => throttlesByAcl.get(id) ?? []), throttle];
    if (!throttles.every((each) => each.take(action))) {
      throw new Ec2Error("RequestLimitExceeded", "Request limit exceeded.");
    }
    const refusal = refusalError(refusals, action, aclIds);
    if (refusal !== undefined) throw refusal;
    const fault = ledger.nextFault(action);
    if (fault !== undefined && !fault.afterEffect) {
      await sleep(fault.delayMs, undefined, { signal: stopping.signal });
      throw faultError(fault);
    }
    const seen = action === "DescribeNetworkAcls" ? store.before(readLagMs) : store.current();
    const { answer, state } = run(query, seen, { quota, region });
    if (optionalBoolean(query, "DryRun")) {
      throw new Ec2Error(
        "DryRunOperation",
        "Request would have succeeded, but DryRun flag is set.",
      );
    }
    if (state !== undefined) store.commit(state);
    if (fault === undefined) return answer;
    await sleep(fault.delayMs, undefined, { signal: stopping.signal });
    throw faultError(fault);
  }

  /** A request of the Query protocol, answered in XML whatever becomes of it. */
  async function answer(query: Query): Promise<{ status: number; xml: string }> {
    const requestId = randomUUID();
    try {
      const action = optionalText(query, "Action");
      if (action === undefined) {
        throw new Ec2Error("MissingAction", "The request must contain the parameter Action");
      }
      return { status: 200, xml: answerXml(action, requestId, await handle(action, query)) };
    } catch (cause) {
      const error = cause instanceof Ec2Error ? cause : new Ec2Error("InternalError", `${cause}`);
      if (error.code === "RequestLimitExceeded") ledger.throttled();
      return { status: error.status, xml: errorXml(error, requestId) };
    }
  }

  const app = Fastify({ forceCloseConnections: true });
  app.addContentTypeParser(
    "application/x-www-form-urlencoded",
    { parseAs: "string" },
    (_request, body, done) => done(null, `${body}`),
  );
  app.route({
    method: ["GET", "POST"],
    url: "/",
    async handler(request, reply) {
      const inUrl = new URL(request.url, "http://127.0.0.1").searchParams;
      const query = request.method === "GET" ? inUrl : new URLSearchParams(`${request.body ?? ""}`);
      const { status, xml } = await answer(query);
      return reply.code(status).type("text/xml;charset=UTF-8").send(xml);
    },
  });
  app.get("/_control", async () => ledger.counters());
  app.post("/_control", async (request, reply) => {
    const control = v.safeParse(controlSchema, request.body);
    if (!control.success) return reply.code(400).send({ error: v.summarize(control.issues) });
    const { output } = control;
    try {
      if (output.createAcl) store.commit(provideAcl(store.current(), output.createAcl));
    } catch (error) {
      return reply.code(400).send({ error: `${error}` });
    }
    quota = output.quota ?? quota;
    readLagMs = output.readLagMs ?? readLagMs;
    if (output.throttle !== undefined) throttle = createThrottle(output.throttle, now);
    for (const [aclId, limits] of Object.entries(output.throttleAcl ?? {})) {
      if (limits === false) throttlesByAcl.delete(aclId);
      else throttlesByAcl.set(aclId, createThrottle(limits, now));
    }
    refusals = output.refuse ?? refusals;
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

/** The ACLs that a call names. */
function namedAcls(query: Query): string[] {
  const one = optionalText(query, "NetworkAclId");
  return one === undefined ? list(query, "NetworkAclId") : [one];
}
