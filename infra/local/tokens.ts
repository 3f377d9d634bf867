import { createHash, createHmac, randomBytes } from "node:crypto";
import { SetupError } from "./errors.ts";
import { readJson, writeJson } from "./files.ts";

/** The access tokens of a local run. */
export type Tokens = { detector: string; operator: string };

/** Random tokens, or those of the run whose state is resumed. */
export function makeTokens(file: string): Tokens {
  const kept = readJson<Tokens>(file);
  if (kept) return kept;
  const random = () => randomBytes(24).toString("base64url");
  const tokens = { detector: random(), operator: random() };
  writeJson(file, tokens);
  return tokens;
}

/**
 * Who may call, besides the two callers that always exist, whose limits it may set: the content of `CALLERS`,
 * a JSON list like the callers parameter's, in which new callers also have a `token`.
 */
type Entry = { readonly name: string; readonly role?: string; readonly token?: string };

/**
 * The two lists, as a deployment's parameters hold them: digests and signing keys, and callers.
 *
 * @param pulls names of detectors that never call the endpoint, and so have no token
 */
export function parametersOf(
  tokens: Tokens,
  callers = "[]",
  pulls: readonly string[] = [],
): { readonly tokens: string; readonly callers: string } {
  const given = readEntries(callers);
  const own = Object.entries(tokens).map(([name, token]) => ({
    ...{ name, role: name, token },
    ...given.find((entry) => entry.name === name),
  }));
  const all: Entry[] = [...own, ...given.filter(({ name }) => !(name in tokens))];
  const further = pulls.filter((name) => !all.some((entry) => entry.name === name));
  return {
    tokens: JSON.stringify(
      all.map(({ name, token = "" }) => ({
        name,
        sha256: createHash("sha256").update(token).digest("hex"),
        signingKey: createHmac("sha256", token).update("portcullis-signature").digest("hex"),
      })),
    ),
    callers: JSON.stringify([
      ...all.map(({ token: _, ...caller }) => caller),
      ...further.map((name) => ({ name, role: "detector" })),
    ]),
  };
}

function readEntries(callers: string): Entry[] {
  const entries: unknown = parseJson(callers);
  const isEntry = (entry: unknown): entry is Entry =>
    typeof entry === "object" && entry !== null && "name" in entry;
  if (Array.isArray(entries) && entries.every(isEntry)) return entries;
  throw new SetupError("CALLERS must be a JSON list of callers, each with its name.");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
