// The counting proxies' thread: passes every call on to its engine, and counts it.
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import type { Answer, Question, RuleCall, Upstreams } from "./proxyProtocol.ts";

type Service = keyof Upstreams;

const upstreams = workerData as Upstreams;
const agent = new Agent({ keepAlive: true });
let calls: Record<string, number> = {};
let writes: Record<string, number> = {};
let ruleCalls: RuleCall[] = [];
let addressesRead = 0;

const urls: Upstreams = {
  sqs: await listen("sqs"),
  dynamodb: await listen("dynamodb"),
  ec2: await listen("ec2"),
};
parentPort?.on("message", (question: Question) => parentPort?.postMessage(answer(question)));

function answer(question: Question): Answer {
  if (question === "urls") return { kind: "urls", urls };
  if (question === "counts") {
    return { kind: "counts", counts: { calls, ruleCalls, writes, addressesRead } };
  }
  calls = {};
  writes = {};
  ruleCalls = [];
  addressesRead = 0;
  return { kind: "done" };
}

async function listen(service: Service): Promise<string> {
  const server = createServer((incoming, response) => {
    pass(service, incoming, response).catch(() => response.destroy());
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function pass(service: Service, incoming: IncomingMessage, response: ServerResponse) {
  const body = Buffer.concat(await incoming.toArray());
  const upstream = request(new URL(incoming.url ?? "/", upstreams[service]), {
    agent,
    method: incoming.method,
    headers: incoming.headers,
  });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    upstream.once("response", resolve).once("error", reject);
  });
  upstream.end(body);
  const reply = await answered;
  const bytes = Buffer.concat(await reply.toArray());
  count(service, incoming, body.toString(), reply.statusCode === 200);
  response.writeHead(reply.statusCode ?? 502, reply.headers).end(bytes);
}

function count(service: Service, { headers }: IncomingMessage, body: string, ok: boolean): void {
  const query = service === "ec2" ? new URLSearchParams(body) : undefined;
  const target = String(headers["x-amz-target"] ?? "");
  const action = query?.get("Action") ?? target.slice(target.lastIndexOf(".") + 1);
  const name = `${service}.${action}`;
  calls[name] = (calls[name] ?? 0) + 1;
  if (query && /^(Create|Replace|Delete)NetworkAclEntry$/.test(action)) {
    const cidr = query.get("CidrBlock") ?? query.get("Ipv6CidrBlock");
    ruleCalls.push({
      action,
      ruleNumber: Number(query.get("RuleNumber")),
      ...(cidr !== null && { cidr }),
      ok,
      at: performance.timeOrigin + performance.now(),
    });
  }
  if (action === "BatchGetItem") addressesRead += body.split('"suspect#').length - 1;
  if (ok && /^(Put|Update|Delete)Item$/.test(action)) {
    const kind = /"sk":\{"S":"([a-z]+)/.exec(body)?.[1] ?? "other";
    writes[kind] = (writes[kind] ?? 0) + 1;
  }
}
