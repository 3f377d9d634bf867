import { gunzipSync, gzipSync } from "node:zlib";
import * as v from "valibot";
import { parseCidr } from "../../domain/cidr.ts";
import type { RecordOf } from "../target.ts";

/** What is recorded for a pair of IP sets: the addresses in them that are ours. */
export type WafRecord = {
  /** By their texts. */
  readonly ours: ReadonlySet<string>;
  /** Those of them that WAF has confirmed. */
  readonly confirmed: ReadonlySet<string>;
};

const empty: WafRecord = { ours: new Set(), confirmed: new Set() };

/** Ten thousand ranges of each family fit into a DynamoDB item only if compressed. */
const packed = v.pipe(
  v.instance(Uint8Array),
  v.transform((bytes) => {
    const text = gunzipSync(bytes, { maxOutputLength: 2_000_000 }).toString();
    return new Set(text === "" ? [] : text.split(" "));
  }),
);
const pack = (texts: ReadonlySet<string>) => gzipSync([...texts].join(" "));

const schema: v.GenericSchema<unknown, WafRecord> = v.pipe(
  v.object({ confirmed: packed, unconfirmed: packed }),
  v.transform(({ confirmed, unconfirmed }) => ({
    ours: new Set([...confirmed, ...unconfirmed]),
    confirmed,
  })),
);

function stored({ ours, confirmed }: WafRecord): object {
  const unconfirmed = new Set([...ours].filter((text) => !confirmed.has(text)));
  return { confirmed: pack(confirmed), unconfirmed: pack(unconfirmed) };
}

/** How the table holds the record of a pair of IP sets. */
export const wafRecord: RecordOf<WafRecord> = {
  schema,
  empty,
  stored,
  entries: ({ confirmed }) => [...confirmed].map((text) => ({ cidr: parseCidr(text) })),
  ours: ({ ours }) => [...ours],
};

/** Adds to the record what an older one proves to be ours: those of its addresses that the sets hold. */
export function reclaimSets(
  record: WafRecord,
  older: WafRecord,
  shown: readonly string[],
): WafRecord {
  const proven = shown.filter((text) => older.ours.has(text) && !record.ours.has(text));
  return {
    ours: new Set([...record.ours, ...proven]),
    confirmed: new Set([...record.confirmed, ...proven]),
  };
}
