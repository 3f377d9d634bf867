import * as v from "valibot";
import { type Cidr, InvalidAddressError, parseCidr } from "../domain/cidr.ts";

/** A canonical range as the table and the queue hold it: parsed here, and carried parsed. */
export const cidr = v.pipe(
  v.string(),
  v.maxLength(64),
  v.rawTransform(({ dataset, addIssue, NEVER }): Cidr => {
    const parsed = canonical(dataset.value);
    if (parsed) return parsed;
    addIssue({ message: "is not a canonical CIDR" });
    return NEVER;
  }),
);

function canonical(text: string): Cidr | undefined {
  try {
    const parsed = parseCidr(text);
    return parsed.text === text ? parsed : undefined;
  } catch (error) {
    if (!(error instanceof InvalidAddressError)) throw error;
    return undefined;
  }
}
