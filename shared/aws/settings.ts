import * as v from "valibot";

/** A setting is missing or out of bounds. The message names the variable and what it must be. */
export class SettingsError extends Error {
  override readonly name = "SettingsError";
}

/** A whole number between `min` and `max`, written in decimal digits. */
export const wholeNumber = (min: number, max: number) =>
  v.pipe(
    v.string(),
    v.regex(/^\d{1,15}$/, `must be a whole number from ${min} to ${max}`),
    v.transform(Number),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  );

/** Names separated by commas, each once; none if the text is empty. */
export const names = v.pipe(
  v.string(),
  v.transform((list) => [...new Set(list.split(",").flatMap((name) => name.trim() || []))]),
);

/** The ids of network ACLs, separated by commas. */
export const aclIds = v.pipe(
  names,
  v.everyItem(
    (id) => /^acl-[0-9a-f]{8,17}$/.test(id),
    "must be ids of network ACLs, as acl-0123456789abcdef0, separated by commas",
  ),
);

/** The names of pairs of IP sets (`<name>-v4`, `<name>-v6`), separated by commas. */
export const ipSetNames = v.pipe(
  names,
  v.everyItem(
    (name) => /^[\w-]{1,125}$/.test(name),
    "must be names of letters, digits, - and _, separated by commas",
  ),
);

/** The names of callers, separated by commas. */
export const callerNames = v.pipe(
  names,
  v.everyItem(
    (name) => /^[\w.-]{1,64}$/.test(name),
    "must be names of callers, separated by commas",
  ),
);

/** `target=severity` pairs, separated by commas: the least severity that a target takes. */
export const severityByTarget = v.pipe(
  names,
  v.everyItem(
    (item) => /^[\w-]+=([1-9]|10)$/.test(item),
    "must be target=severity, with a severity from 1 to 10, separated by commas",
  ),
  v.transform(
    (items): Readonly<Record<string, number>> =>
      Object.fromEntries(
        items.map((item) => {
          const [target = "", severity] = item.split("=");
          return [target, Number(severity)];
        }),
      ),
  ),
);

/** Non-empty text: a name, a URL. */
export const text = v.pipe(v.string(), v.nonEmpty("must not be empty"));

/** The name of an SSM parameter; empty if the deployment does without. */
export const parameterName = v.optional(v.string(), "");

/**
 * The function's configuration, parsed once from its environment. Nothing else reads the environment.
 *
 * @throws SettingsError on the first invalid variable
 */
export function readSettings<const S extends v.GenericSchema>(
  schema: S,
  environment: NodeJS.ProcessEnv,
): v.InferOutput<S> {
  const result = v.safeParse(schema, environment);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const name = issue.path?.map(({ key }) => String(key)).join(".") ?? "environment";
  const given = environment[name] === undefined ? "is not set" : issue.message;
  throw new SettingsError(`${name} ${given}.`);
}
