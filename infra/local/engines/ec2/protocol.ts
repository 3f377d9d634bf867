import { XMLBuilder } from "fast-xml-parser";
import type { Ec2Error } from "./errors.ts";
import { invalidValue, missingParameter } from "./errors.ts";

/** The parameters of one request of the EC2 Query protocol. */
export type Query = URLSearchParams;

/** What an answer consists of: text, numbers and booleans, nested; lists are `{ item: […] }`. */
export type XmlValue =
  | string
  | number
  | boolean
  | undefined
  | XmlValue[]
  | { [element: string]: XmlValue };

const NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/";
const builder = new XMLBuilder({ ignoreAttributes: false, attributeNamePrefix: "@" });

/** A successful answer ("Query requests for Amazon EC2", EC2 Developer Guide). */
export function answerXml(
  action: string,
  requestId: string,
  content: Readonly<Record<string, XmlValue>>,
): string {
  return document({ [`${action}Response`]: { "@xmlns": NAMESPACE, requestId, ...content } });
}

/** An error answer ("Example error response", EC2 API error codes). */
export function errorXml(error: Pick<Ec2Error, "code" | "message">, requestId: string): string {
  return document({
    Response: {
      Errors: { Error: { Code: error.code, Message: error.message } },
      RequestID: requestId,
    },
  });
}

/** A parameter, or undefined. */
export function optionalText(query: Query, name: string): string | undefined {
  return query.get(name) ?? undefined;
}

/** A required parameter. */
export function text(query: Query, name: string): string {
  const value = query.get(name);
  if (value === null) throw missingParameter(spoken(name));
  return value;
}

/** An integer parameter, or undefined. */
export function optionalInteger(query: Query, name: string): number | undefined {
  const value = query.get(name);
  if (value === null) return undefined;
  if (!/^-?\d{1,9}$/.test(value)) throw invalidValue(value, spoken(name), "It must be an integer.");
  return Number(value);
}

/** A required integer parameter. */
export function integer(query: Query, name: string): number {
  const value = optionalInteger(query, name);
  if (value === undefined) throw missingParameter(spoken(name));
  return value;
}

/** A boolean parameter, or undefined. */
export function optionalBoolean(query: Query, name: string): boolean | undefined {
  const value = query.get(name)?.toLowerCase();
  if (value === undefined) return undefined;
  if (value === "true") return true;
  if (value === "false") return false;
  throw invalidValue(value, spoken(name), "It must be true or false.");
}

/** A required boolean parameter. */
export function boolean(query: Query, name: string): boolean {
  const value = optionalBoolean(query, name);
  if (value === undefined) throw missingParameter(spoken(name));
  return value;
}

/** The values of `name.1`, `name.2`, … in order. */
export function list(query: Query, name: string): string[] {
  return structures(query, name).flatMap((path) => query.get(path) ?? []);
}

/** The paths `name.1`, `name.2`, … that the request has, in order, for lists of structures. */
export function structures(query: Query, name: string): string[] {
  const prefix = `${name}.`;
  const indices = new Set<number>();
  for (const key of query.keys()) {
    if (!key.startsWith(prefix)) continue;
    const index = /^\d{1,4}(?=\.|$)/.exec(key.slice(prefix.length))?.[0];
    if (index !== undefined) indices.add(Number(index));
  }
  return [...indices].sort((a, b) => a - b).map((index) => `${prefix}${index}`);
}

/** A parameter's name as EC2 writes it in messages: `NetworkAclId` is networkAclId. */
function spoken(name: string): string {
  return name.replaceAll(/(^|\.)[A-Z]/g, (start) => start.toLowerCase());
}

function document(root: XmlValue): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${builder.build(root)}`;
}
