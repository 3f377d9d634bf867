import * as v from "valibot";
import { WafError } from "./errors.ts";

const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/;

const name = text(1, 128, /^[\w-]+$/);
const scope = v.picklist(["REGIONAL", "CLOUDFRONT"]);
const id = text(1, 36, UUID);
const description = text(1, 256, /^[\w+=:#@/\-,.][\w+=:#@/\-,.\s]+[\w+=:#@/\-,.]$/);
const addresses = v.array(text(1, 50));
const tags = v.pipe(
  v.array(v.object({ Key: text(1, 128), Value: text(0, 256) })),
  v.minLength(1, "Member must have length greater than or equal to 1"),
);
const arn = text(20, 2048);

const key = { Name: name, Scope: scope, Id: id };

/** The requests, with the constraints of the API's model (API reference: WAFV2). */
export const requests = {
  CreateIPSet: v.object({
    Name: name,
    Scope: scope,
    Description: v.optional(description),
    IPAddressVersion: v.picklist(["IPV4", "IPV6"]),
    Addresses: addresses,
    Tags: v.optional(tags),
  }),
  GetIPSet: v.object(key),
  UpdateIPSet: v.object({
    ...key,
    Description: v.optional(description),
    Addresses: addresses,
    LockToken: id,
  }),
  DeleteIPSet: v.object({ ...key, LockToken: id }),
  ListIPSets: v.object({
    Scope: scope,
    NextMarker: v.optional(text(1, 256, /\S/)),
    Limit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(100))),
  }),
  TagResource: v.object({ ResourceARN: arn, Tags: tags }),
  ListTagsForResource: v.object({ ResourceARN: arn }),
};

/**
 * A request that keeps to the model. One that does not is a ValidationException, which AWS's front
 * end answers before WAF itself sees the request, and which the SDK has no class for.
 */
export function parse<Schema extends v.GenericSchema>(
  schema: Schema,
  body: unknown,
): v.InferOutput<Schema> {
  const parsed = v.safeParse(schema, body);
  if (parsed.success) return parsed.output;
  const problems = parsed.issues.map((issue) => {
    const at = v.getDotPath(issue) ?? "";
    const value = typeof issue.input === "string" ? issue.input : JSON.stringify(issue.input);
    return `Value '${value}' at '${at}' failed to satisfy constraint: ${issue.message}`;
  });
  const errors = problems.length === 1 ? "error" : "errors";
  throw new WafError(
    "ValidationException",
    `${problems.length} validation ${errors} detected: ${problems.join("; ")}`,
  );
}

function text(minimum: number, maximum: number, pattern = /^/) {
  return v.pipe(
    v.string(),
    v.minLength(minimum, `Member must have length greater than or equal to ${minimum}`),
    v.maxLength(maximum, `Member must have length less than or equal to ${maximum}`),
    v.regex(pattern, `Member must satisfy regular expression pattern: ${pattern.source}`),
  );
}
