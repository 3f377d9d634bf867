import * as v from "valibot";
import { MODES } from "../../shared/domain/orders.ts";
import type { Blacklist, Request } from "./blacklist.ts";
import { badRequest, unavailable } from "./errors.ts";
import type { Answer } from "./http.ts";
import type { Fields } from "./request.ts";

const wantedMode = v.picklist([...MODES, "default"]);

/**
 * An operator orders what the targets are to hold, overriding the deployment's own mode; `default` restores
 * that. The order is written directly: the kill switch must work when the queue does not.
 *
 * @throws Refusal
 */
export async function setMode(
  fields: Fields,
  { trace }: Request,
  { orderBook, log }: Pick<Blacklist, "orderBook" | "log">,
): Promise<Answer> {
  const { success, output: mode } = v.safeParse(wantedMode, fields.mode);
  if (!success) {
    const modes = wantedMode.options.join(", ");
    throw badRequest("invalid_mode", `The parameter mode must be one of ${modes}.`);
  }
  await orderBook.setMode(mode === "default" ? undefined : mode).catch((cause) => {
    throw unavailable("The mode cannot be written now.", cause);
  });
  log.warn("Ordered a mode", { mode, ...trace });
  return { status: 200, body: { mode } };
}
