import { isAbsolute, join } from "node:path";
import * as v from "valibot";
import { SetupError } from "./errors.ts";
import { PROJECT_ROOT } from "./package.ts";

/** The environment of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

const wholeNumber = (maximum: number) =>
  v.pipe(
    v.string(),
    v.regex(/^\d+$/, "must be a whole number"),
    v.transform(Number),
    v.maxValue(maximum),
  );

/** Comma-separated, each once. */
const list = v.pipe(
  v.string(),
  v.transform((text) => [...new Set(text.split(",").map((item) => item.trim()))].filter(Boolean)),
);

const schema = v.object({
  PORT: v.optional(wholeNumber(65_535), "3000"),
  PORTCULLIS_LOCAL_DIR: v.optional(v.string(), ".local"),
  /** Replaces the schedule's period; 0 turns the schedule off. */
  RECONCILE_SECONDS: v.optional(wholeNumber(86_400)),
  NEVER_BLOCK: v.optional(v.string()),
  /** The URL of a CrowdSec LAPI, and a bouncer's key for it: with these, its pull runs. */
  CROWDSEC_URL: v.optional(v.string()),
  CROWDSEC_KEY: v.optional(v.string()),
  /** Replaces the period of the pull. */
  PULL_SECONDS: v.optional(wholeNumber(86_400)),
  ACL_ID: v.optional(list, ""),
  WAF_IP_SETS: v.optional(
    v.pipe(
      list,
      v.everyItem((name) => /^[\w-]{1,125}$/.test(name), "must be names of IP sets"),
    ),
    "",
  ),
  /** off: the table's items outlive their time to live. */
  TTL: v.optional(v.picklist(["on", "off"]), "on"),
  FUNCTION_PRELOAD: v.optional(v.pipe(v.string(), v.startsWith("file:", "must be a file: URL"))),
  AWS_REGION: v.optional(v.string()),
  AWS_DEFAULT_REGION: v.optional(v.string()),
});

/** How the local cloud itself is to run; the product's own settings go to its functions. */
export type LocalSettings = {
  port: number;
  localDir: string;
  reconcileSeconds?: number;
  neverBlock?: string;
  /** The key for CrowdSec's LAPI; without it, the LAPI is not asked. */
  crowdsecKey?: string;
  pullSeconds?: number;
  /** None: the default ACL. */
  aclIds: readonly string[];
  /** Names of pairs of IP sets. */
  wafIpSets: readonly string[];
  timeToLive: boolean;
  /** A module that each execution environment loads before its function, as a URL. */
  preload?: string;
  region: string;
};

/**
 * Reads the runner's environment; an empty variable counts as not set.
 *
 * @throws SetupError if a value is invalid
 */
export function readSettings(env: Environment): LocalSettings {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value));
  const parsed = v.safeParse(schema, set);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    throw new SetupError(`${v.getDotPath(issue)}: ${issue.message}`);
  }
  const { PORT, PORTCULLIS_LOCAL_DIR: dir, RECONCILE_SECONDS, NEVER_BLOCK } = parsed.output;
  const { FUNCTION_PRELOAD: preload } = parsed.output;
  const { CROWDSEC_URL, CROWDSEC_KEY, PULL_SECONDS } = parsed.output;
  if ((CROWDSEC_URL === undefined) !== (CROWDSEC_KEY === undefined))
    throw new SetupError("CROWDSEC_URL and CROWDSEC_KEY go together.");
  return {
    port: PORT,
    aclIds: parsed.output.ACL_ID,
    wafIpSets: parsed.output.WAF_IP_SETS,
    timeToLive: parsed.output.TTL === "on",
    localDir: isAbsolute(dir) ? dir : join(PROJECT_ROOT, dir),
    region: parsed.output.AWS_REGION ?? parsed.output.AWS_DEFAULT_REGION ?? "us-east-1",
    ...(RECONCILE_SECONDS !== undefined && { reconcileSeconds: RECONCILE_SECONDS }),
    ...(NEVER_BLOCK && { neverBlock: NEVER_BLOCK }),
    ...(preload !== undefined && { preload }),
    ...(CROWDSEC_KEY && { crowdsecKey: CROWDSEC_KEY }),
    ...(PULL_SECONDS !== undefined && { pullSeconds: PULL_SECONDS }),
  };
}
