import { subscribe } from "node:diagnostics_channel";
import { appendFileSync } from "node:fs";
import type { ClientRequest } from "node:http";
import { PLACE, TARGETS } from "./place.ts";
import { type Request, requestsOf } from "./requests.ts";

// Loaded into each execution environment of the local cloud before the function (FUNCTION_PRELOAD): notes what
// IAM would be asked about its calls, each thing once. That is an action, a resource and partitions' keys: no
// body, no header and no answer is kept.

/** A line of a recording. */
export type Line = { readonly name: string } & (
  | { readonly request: Request }
  | { readonly unknown: string }
);

const file = String(new URL(import.meta.url).searchParams.get("file"));
// The local cloud has the SDK name the function in each call.
const name = String(process.env.AWS_SDK_UA_APP_ID);
const networkAcls = (process.env.ACL_ID ?? "").split(",");
const ipSets = (process.env.WAF_IP_SETS ?? "").split(",");
const noted = new Set<string>();

subscribe("http.client.request.created", (message) => {
  const { request } = message as { request: ClientRequest };
  const end = request.end.bind(request);
  request.end = (...args: unknown[]) => {
    for (const line of linesOf(request, args[0])) note(JSON.stringify({ name, ...line }));
    return (end as (...args: unknown[]) => ClientRequest)(...args);
  };
});

function linesOf(request: ClientRequest, body: unknown): object[] {
  const signature = String(request.getHeader("authorization"));
  const [, service] = /Credential=[^/]+\/\d+\/[^/]+\/([^/]+)\/aws4_request/.exec(signature) ?? [];
  if (service === undefined) return []; // no call of AWS
  const text = body instanceof Uint8Array ? Buffer.from(body).toString() : String(body);
  const target = request.getHeader("x-amz-target");
  const action = String(target ?? new URLSearchParams(text).get("Action")).replace(/^.*\./, "");
  try {
    const requests = requestsOf({ service, action, body: text }, PLACE);
    return requests.map((one) => ({ request: { ...one, resource: staged(one.resource) } }));
  } catch {
    return [{ unknown: `${service}:${action}` }];
  }
}

/** A resource as the stage file names it, in the place of the target that this run was given instead. */
function staged(resource: string): string {
  return resource
    .replace(/(?<=:network-acl\/).+$/, (id) => (networkAcls.includes(id) ? TARGETS.networkAcl : id))
    .replace(/(?<=\/ipset\/)(.+)(-v[46])\/[^/]+$/, (all, set, family) =>
      ipSets.includes(set) ? `${TARGETS.ipSets}${family}/id` : all,
    );
}

function note(line: string): void {
  if (noted.has(line)) return;
  noted.add(line);
  appendFileSync(file, `${line}\n`);
}
