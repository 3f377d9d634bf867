// A placeholder for the WAF emulator: IP sets can be created, listed and read, nothing else.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { readJson, writeJson } from "../../files.ts";

type IpSet = { Name: string; Id: string; LockToken: string } & Record<string, unknown>;

const stateFile = process.env.WAFV2_STATE_FILE;
const sets = (stateFile && readJson<IpSet[]>(stateFile)) || [];

const actions: Record<string, (input: Partial<IpSet>) => object> = {
  CreateIPSet(input) {
    const Name = String(input.Name);
    const ARN = `arn:aws:wafv2:${process.env.AWS_REGION}:000000000000:regional/ipset/${Name}`;
    const set = { Addresses: [], ...input, Name, ARN, Id: randomUUID(), LockToken: randomUUID() };
    sets.push(set);
    if (stateFile) writeJson(stateFile, sets);
    return { Summary: set };
  },
  ListIPSets: () => ({ IPSets: sets }),
  GetIPSet(input) {
    const IPSet = sets.find(({ Id, Name }) => Id === input.Id && Name === input.Name);
    return { IPSet, LockToken: IPSet?.LockToken };
  },
};

const server = createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray()).toString();
  const action = String(request.headers["x-amz-target"]).replace("AWSWAF_20190729.", "");
  if (request.url === "/_control") return response.writeHead(204).end();
  const run = Object.hasOwn(actions, action) ? actions[action] : undefined;
  response.writeHead(run ? 200 : 400, { "content-type": "application/x-amz-json-1.1" });
  const answer = run?.(JSON.parse(body)) ?? { __type: "UnknownOperationException" };
  return response.end(JSON.stringify(answer));
});
server.listen(Number(process.env.WAFV2_PORT ?? 0), "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  console.log(JSON.stringify({ url: `http://127.0.0.1:${port}` }));
});
const stop = () => process.exit(0);
process.once("SIGTERM", stop);
if (process.env.EXIT_WITH_PARENT === "1") process.stdin.once("close", stop).resume();
