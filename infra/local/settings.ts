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

const schema = v.object({
  PORT: v.optional(wholeNumber(65_535), "3000"),
  PORTCULLIS_LOCAL_DIR: v.optional(v.string(), ".local"),
  /** Replaces the schedule's period; 0 turns the schedule off. */
  RECONCILE_SECONDS: v.optional(wholeNumber(86_400)),
  NEVER_BLOCK: v.optional(v.string()),
  ACL_ID: v.optional(v.string()),
  AWS_REGION: v.optional(v.string()),
  AWS_DEFAULT_REGION: v.optional(v.string()),
});

/** How the local cloud itself is to run; the product's own settings go to its functions. */
export type LocalSettings = {
  port: number;
  localDir: string;
  reconcileSeconds?: number;
  neverBlock?: string;
  aclId?: string;
  region: string;
};

/**
 * Reads the runner's environment; a variable that is set to nothing counts as not set.
 *
 * @throws SetupError when it says something that cannot be
 */
export function readSettings(env: Environment): LocalSettings {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value));
  const parsed = v.safeParse(schema, set);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    throw new SetupError(`${v.getDotPath(issue)}: ${issue.message}`);
  }
  const { PORT, PORTCULLIS_LOCAL_DIR: dir, RECONCILE_SECONDS, NEVER_BLOCK, ACL_ID } = parsed.output;
  return {
    port: PORT,
    localDir: isAbsolute(dir) ? dir : join(PROJECT_ROOT, dir),
    region: parsed.output.AWS_REGION ?? parsed.output.AWS_DEFAULT_REGION ?? "us-east-1",
    ...(RECONCILE_SECONDS !== undefined && { reconcileSeconds: RECONCILE_SECONDS }),
    ...(NEVER_BLOCK && { neverBlock: NEVER_BLOCK }),
    ...(ACL_ID && { aclId: ACL_ID }),
  };
}
