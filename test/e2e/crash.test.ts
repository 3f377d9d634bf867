import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { type Engines, startEngines } from "../../infra/local/engines.ts";
import { eventually, newDir, startTestCloud, type TestCloud } from "./cloud.ts";

// The runner is killed with -9 at the moment in which a certain call has taken effect at its engine
// and before the caller hears of it; then it is started again on the same engines.

type Watch = { readonly matches: (body: string, target: string) => boolean; kill(): Promise<void> };

/** Passes everything on to an engine; at the first call that the watch matches, it kills instead of answering. */
class EngineProxy {
  watch: Watch | undefined;
  hits = 0;
  private readonly server: Server;
  private readonly upstream: string;

  constructor(upstream: string) {
    this.upstream = upstream;
    this.server = createServer((request, response) => {
      this.pass(request, response).catch(() => response.destroy());
    });
  }

  private async pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await read(request);
    const { host: _host, connection: _connection, ...headers } = request.headers;
    const answer = await fetch(new URL(request.url ?? "/", this.upstream), {
      method: request.method ?? "POST",
      headers: { ...(headers as Record<string, string>), connection: "close" },
      ...(body.length > 0 && { body }),
    });
    const bytes = Buffer.from(await answer.arrayBuffer());
    const watch = this.watch;
    if (answer.ok && watch?.matches(body.toString(), String(headers["x-amz-target"] ?? ""))) {
      this.watch = undefined;
      this.hits++;
      await watch.kill();
      response.destroy();
      return;
    }
    const type = answer.headers.get("content-type") ?? "application/json";
    response.writeHead(answer.status, { "content-type": type }).end(bytes);
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const enginesDir = newDir();
let engines: Engines;
let proxies: { sqs: EngineProxy; dynamodb: EngineProxy; ec2: EngineProxy };
let env: Record<string, string>;

beforeAll(async () => {
  engines = await startEngines({
    stateDir: join(enginesDir, "state"),
    logDir: join(enginesDir, "logs"),
    region: "us-east-1",
    env: {},
  });
  const { sqs, dynamodb, ec2, ssm } = engines.endpoints;
  proxies = {
    sqs: new EngineProxy(sqs),
    dynamodb: new EngineProxy(dynamodb),
    ec2: new EngineProxy(ec2),
  };
  env = {
    AWS_ENDPOINT_URL_SQS: await proxies.sqs.start(),
    AWS_ENDPOINT_URL_DYNAMODB: await proxies.dynamodb.start(),
    AWS_ENDPOINT_URL_DYNAMODB_STREAMS: dynamodb,
    AWS_ENDPOINT_URL_EC2: await proxies.ec2.start(),
    AWS_ENDPOINT_URL_SSM: ssm,
    ACL_ID: "acl-0a1b2c3d4e5f60718",
    RECONCILE_SECONDS: "5",
  };
}, 60_000);

afterAll(async () => {
  for (const proxy of Object.values(proxies)) proxy.stop();
  await engines.stop();
});

describe("what was accepted is enforced, though the runner was killed", () => {
  test.each<[string, keyof typeof proxies, Watch["matches"]]>([
    ["after the queue took it", "sqs", (_body, target) => target.endsWith(".SendMessage")],
    [
      "after the table write",
      "dynamodb",
      (body, target) => target.endsWith(".PutItem") && body.includes("block#"),
    ],
    [
      "after the slot record",
      "dynamodb",
      (body, target) => target.endsWith(".PutItem") && body.includes('"sk":{"S":"state"}'),
    ],
    ["after the EC2 call", "ec2", (body) => body.includes("Action=CreateNetworkAclEntry")],
  ])(
    "%s",
    async (_when, hop, matches) => {
      const number = proxies.sqs.hits + proxies.dynamodb.hits + proxies.ec2.hits + 1;
      const ip = `203.0.113.${100 + number}`;
      const dir = newDir();
      let cloud: TestCloud = await startTestCloud(env, dir);
      await eventually("the first reconciliation is over", 20, async () =>
        cloud.log("enforcer").includes("Converged"),
      );
      const { hits } = proxies[hop];
      proxies[hop].watch = { matches, kill: () => cloud.kill() };
      await cloud.block({ ip }).catch(() => "killed before it could answer");
      await eventually("the runner is killed", 40, async () => proxies[hop].hits > hits);

      cloud = await startTestCloud(env, dir);
      try {
        // A message in flight when its worker dies comes back after the visibility timeout of 30 s.
        await eventually(`${ip} is denied`, 45, async () =>
          (await cloud.denied()).includes(`${ip}/32`),
        );
        const mine = (await cloud.denied()).filter((cidr) => cidr === `${ip}/32`);
        expect(mine).toHaveLength(1);
      } finally {
        await cloud.stop();
      }
    },
    180_000,
  );
});
