import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { badRequest, Refusal, tooLarge } from "./errors.ts";

/** The largest body of a whole group, both as sent and unpacked. */
export const GROUP = { bytes: 6_000_000, text: "6 MB" };

/** At most this many documents per request. */
const MAX_DOCUMENTS = 10_000;

const unpack = promisify(gunzip);

/**
 * The documents in a body: a JSON object, the elements of an array, or consecutive objects, as log shippers
 * send them line by line and CrowdSec's templates with nothing in between. A line that is not JSON yields
 * undefined, so that a torn one does not cost the others.
 *
 * @throws Refusal 400, 413, 415
 */
export async function documentsOf(
  body: Uint8Array,
  encoding: string | undefined,
): Promise<readonly unknown[]> {
  const text = (await unpacked(body, encoding)).toString("utf8");
  const whole = parsed(text);
  const documents =
    whole === undefined ? parsedLines(text) : Array.isArray(whole) ? whole : [whole];
  if (documents.length > MAX_DOCUMENTS) throw tooMany();
  if (whole === undefined && documents.every((one) => one === undefined)) {
    throw badRequest("invalid_json", "The body is not valid JSON, nor lines of it.");
  }
  return documents;
}

async function unpacked(body: Uint8Array, encoding = "identity"): Promise<Buffer> {
  if (body.byteLength >= GROUP.bytes) throw tooLarge(GROUP.text);
  switch (encoding.trim().toLowerCase()) {
    case "":
    case "identity":
      return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    case "gzip":
    case "x-gzip":
      return unpack(body, { maxOutputLength: GROUP.bytes - 1 }).catch(
        (error: NodeJS.ErrnoException) => {
          if (error.code === "ERR_BUFFER_TOO_LARGE") throw tooLarge(GROUP.text);
          throw badRequest("invalid_gzip", "The body is not what its content-encoding gzip says.");
        },
      );
    default:
      throw new Refusal(415, "unsupported_media_type", "The body must be plain or gzip.");
  }
}

function parsedLines(text: string): readonly unknown[] {
  const documents: unknown[] = [];
  for (const [line] of text.matchAll(/[^\r\n]+/g)) {
    if (line.trim() === "") continue;
    // The whole text has already been tried.
    const one = line.length === text.length ? undefined : parsed(line);
    documents.push(...(one === undefined ? parsedObjects(line) : [one]));
    if (documents.length > MAX_DOCUMENTS) throw tooMany();
  }
  return documents;
}

/** The objects in a line with nothing between them; whatever is left over is torn. */
function parsedObjects(line: string): readonly unknown[] {
  const objects: unknown[] = [];
  let begin = 0;
  let depth = 0;
  let isText = false;
  for (let at = 0; at < line.length && objects.length <= MAX_DOCUMENTS; at += 1) {
    const sign = line[at];
    if (isText && sign === "\\") at += 1;
    else if (sign === '"') isText = !isText;
    else if (!isText && sign === "{") depth += 1;
    else if (!isText && sign === "}") depth -= 1;
    else continue;
    if (sign !== "}" || isText || depth !== 0) continue;
    objects.push(parsed(line.slice(begin, at + 1)));
    begin = at + 1;
  }
  return line.slice(begin).trim() === "" ? objects : [...objects, undefined];
}

/** Undefined if the text is not JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const tooMany = () =>
  badRequest("too_many", `The body may hold ${MAX_DOCUMENTS} documents at most.`);
