import { gunzipSync } from "node:zlib";
import * as v from "valibot";
import { type Cidr, InvalidAddressError, parseCidr } from "../../shared/domain/cidr.ts";

/** What CloudWatch Logs sent is not a batch of log lines. */
export class NoLogLinesError extends Error {
  override readonly name = "NoLogLinesError";
}

/** Rejected packets from one source. */
export type Rejected = { readonly source: Cidr; readonly packets: number };

/** The content of a batch of flow-log records. */
export type Records = {
  readonly rejected: readonly Rejected[];
  /** Number of lines that are not in the default format. */
  readonly notUnderstood: number;
};

/** Lambda takes 6 MB; log lines compress to about a tenth. */
const MAX_BYTES = 64 * 1_048_576;

const event = v.object({ awslogs: v.object({ data: v.string() }) });
const batch = v.object({
  messageType: v.string(),
  logEvents: v.array(v.object({ message: v.string() })),
});

/** The log lines of an event; none for a CloudWatch Logs control message. @throws NoLogLinesError */
export function linesOf(received: unknown): readonly string[] {
  try {
    const { awslogs } = v.parse(event, received);
    const json = gunzipSync(Buffer.from(awslogs.data, "base64"), { maxOutputLength: MAX_BYTES });
    const { messageType, logEvents } = v.parse(batch, JSON.parse(json.toString()));
    return messageType === "DATA_MESSAGE" ? logEvents.map(({ message }) => message) : [];
  } catch (cause) {
    throw new NoLogLinesError("This is no batch of log lines.", { cause });
  }
}

/** The fields of the default format, version 2. */
const FIELDS = 14;
const [VERSION, SOURCE, PACKETS, ACTION, STATUS] = [0, 3, 8, 12, 13] as const;

/**
 * The rejected packets among flow-log records, by source.
 *
 * @see https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html
 */
export function rejectedIn(lines: readonly string[]): Records {
  const packetsBy = new Map<string, Rejected>();
  let notUnderstood = 0;
  for (const line of lines) {
    const fields = line.trim().split(" ");
    // No traffic was seen, or not all of it could be recorded.
    if (["NODATA", "SKIPDATA"].includes(fields[STATUS] ?? "")) continue;
    const source = sourceOf(fields);
    const packets = Number(fields[PACKETS]);
    if (!source || !Number.isSafeInteger(packets) || packets < 0) notUnderstood++;
    else if (fields[ACTION] === "REJECT") {
      const before = packetsBy.get(source.text)?.packets ?? 0;
      packetsBy.set(source.text, { source, packets: before + packets });
    }
  }
  return { rejected: [...packetsBy.values()], notUnderstood };
}

function sourceOf(fields: readonly string[]): Cidr | undefined {
  const isDefault = fields.length === FIELDS && fields[VERSION] === "2" && fields[STATUS] === "OK";
  if (!isDefault || !["ACCEPT", "REJECT"].includes(fields[ACTION] ?? "")) return undefined;
  try {
    return parseCidr(fields[SOURCE] ?? "");
  } catch (error) {
    if (!(error instanceof InvalidAddressError)) throw error;
    return undefined;
  }
}
