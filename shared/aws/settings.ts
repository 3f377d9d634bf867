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

/** The network ACL's id. */
export const aclId = v.pipe(
  v.string(),
  v.regex(/^acl-[0-9a-f]{8,17}$/, "must be a network ACL's id, as acl-0123456789abcdef0"),
);

/** A text that is not empty: a name, an URL. */
export const text = v.pipe(v.string(), v.nonEmpty("must not be empty"));

/**
 * The function's configuration, parsed once from its environment. Nobody else reads the environment.
 *
 * @throws SettingsError on the first variable that does not fit
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
