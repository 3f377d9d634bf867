import * as v from "valibot";
import type { Seconds } from "../domain/time.ts";

/** What a detector says about one address. */
export type Finding = {
  /** As the detector wrote it; judged later like any `ip`. */
  readonly ip: unknown;
  /** It withdraws its own report. */
  readonly withdraws?: boolean;
  /**
   * How long it wants the block, from now on: whole seconds, at least 1, or Infinity for ever, which is cut
   * to the caller's limit. The deployment's default if absent.
   */
  readonly seconds?: Seconds;
  /** A whole number from 1 to 10; the deployment's default if absent. */
  readonly severity?: number;
  /** May be long or empty; put on one line later like any `reason`. */
  readonly reason?: string;
};

/** Addresses that one request may name, in whatever documents; no more than that is taken apart. */
export const MAX_FINDINGS = 10_000;

/** Why one part of a group was not understood: the others still count. */
export type Misunderstanding = { readonly notUnderstood: string };

/** The request's other parameters, as given in its query string. */
export type Options = Readonly<Record<string, unknown>>;

/** Parses what one program sends. Pure: the same document always yields the same findings. */
export type Detector = {
  readonly name: string;
  /** Empty if the document is understood but there is nobody to block. @throws NotUnderstoodError */
  readonly findings: (
    document: unknown,
    options: Options,
  ) => readonly (Finding | Misunderstanding)[];
};

/**
 * The document, or an option, is not what the detector sends. The message is one sentence that names what
 * was looked for and where; it holds none of the document's values, which may be secret.
 */
export class NotUnderstoodError extends Error {
  override readonly name = "NotUnderstoodError";
  /** How much was looked at to find that out. */
  readonly parts: number;

  constructor(message: string, parts = 1) {
    super(message);
    this.parts = parts;
  }
}

type Schema = v.GenericSchema<unknown, unknown>;

const NO_OPTIONS = v.strictObject({});

/**
 * Creates a detector from the shape of its documents and of its options, both strict about what they need
 * and about nothing else.
 *
 * @example
 *   export const zeek = createDetector({
 *     name: "zeek",
 *     document: v.object({ note: v.string(), src: v.unknown() }),
 *     findings: ({ note, src }) => [{ ip: src, reason: `Zeek ${note}` }],
 *   });
 */
export function createDetector<
  Document extends Schema,
  Own extends v.ObjectEntries = Record<never, never>,
>(parts: {
  readonly name: string;
  readonly document: Document;
  /** The only options that it takes. */
  readonly options?: Own;
  readonly findings: (
    document: v.InferOutput<Document>,
    options: v.InferOutput<v.StrictObjectSchema<Own, undefined>>,
  ) => readonly (Finding | Misunderstanding)[];
}): Detector {
  const { name, document: schema, options: entries, findings } = parts;
  const own = entries ? v.strictObject(entries) : NO_OPTIONS;
  return {
    name,
    findings: (document, options) =>
      findings(
        understand(schema, document),
        understandOptions(own, options) as v.InferOutput<v.StrictObjectSchema<Own, undefined>>,
      ),
  };
}

/** Parses the value by the schema. @throws NotUnderstoodError that names the place, below `path` */
export function understand<S extends Schema>(
  schema: S,
  value: unknown,
  path = "",
): v.InferOutput<S> {
  const { success, output, issues } = v.safeParse(schema, value);
  if (success) return output;
  throw new NotUnderstoodError(sentenceOf(issues[0], path));
}

/**
 * Parses each part of a group by itself: a bad one must not cost the others.
 *
 * @throws NotUnderstoodError where none of them is understood, or as soon as they say more than may be
 */
export function ofEach<S extends Schema>(
  group: readonly unknown[],
  path: string,
  schema: S,
  findings: (part: v.InferOutput<S>, path: string) => readonly (Finding | Misunderstanding)[],
): readonly (Finding | Misunderstanding)[] {
  const said: (Finding | Misunderstanding)[] = [];
  let first: NotUnderstoodError | undefined;
  let isUnderstood = false;
  let looked = 0;
  for (const [index, part] of group.entries()) {
    const place = `${path}.${index}`;
    const found = tried(() => findings(understand(schema, part, place), place));
    looked += found instanceof NotUnderstoodError ? found.parts : found.length;
    // A bad part costs a thousand times the byte or two that it is sent in.
    if (looked > MAX_FINDINGS) throw tooMany(path, looked);
    if (found instanceof NotUnderstoodError) {
      first ??= found;
      said.push({ notUnderstood: found.message });
    } else {
      isUnderstood = true;
      said.push(...found);
    }
  }
  if (first && !isUnderstood) throw new NotUnderstoodError(first.message, looked);
  return said;
}

/** What is found, or why that is not understood. */
export function tried<T>(find: () => T): T | NotUnderstoodError {
  try {
    return find();
  } catch (error) {
    if (!(error instanceof NotUnderstoodError)) throw error;
    return error;
  }
}

/** The list, which says no more than may be. @throws NotUnderstoodError */
export function bounded<T>(list: readonly T[], path: string): readonly T[] {
  if (list.length > MAX_FINDINGS) throw tooMany(path, list.length);
  return list;
}

const tooMany = (path: string, parts: number) =>
  new NotUnderstoodError(`${path}: more than ${MAX_FINDINGS} were found.`, parts);

function understandOptions(schema: v.GenericSchema, options: Options): unknown {
  const { success, output, issues } = v.safeParse(schema, options);
  if (success) return output;
  const [issue] = issues;
  // An unknown name is the caller's own text, so it is not repeated.
  if (issue.expected === "never")
    throw new NotUnderstoodError("The request has a parameter that this detector does not take.");
  throw new NotUnderstoodError(`The parameter ${sentenceOf(issue, "")}`);
}

/** Valibot's names for what schemas expect, in plain words. */
const PLAIN: Readonly<Record<string, string>> = {
  Array: "a list",
  Object: "an object",
  number: "a number",
  string: "text",
};

/** Leaves the value out: valibot's own messages repeat it, ours (those of a `check`) do not. */
function sentenceOf(issue: v.BaseIssue<unknown>, path: string): string {
  const below = v.getDotPath(issue);
  const place = [path, below].filter(Boolean).join(".") || "The document";
  if (issue.received === "undefined") return `${place} was looked for and not found.`;
  const expected = issue.type === "check" ? issue.message : (issue.expected ?? issue.type);
  return `${place} was looked for as ${PLAIN[expected] ?? expected} and is something else.`;
}
