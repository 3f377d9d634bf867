import type { Blacklist, Request } from "./blacklist.ts";
import { unavailable } from "./errors.ts";
import type { Answer } from "./http.ts";

/**
 * What each detector does: how many of its reports were accepted and refused so far, why it was last
 * refused, and when it was last seen. Counts lag by a few seconds.
 *
 * @throws Refusal 503 if that cannot be read
 */
export async function listDetectors(
  { now }: Pick<Request, "now">,
  { activity }: Pick<Blacklist, "activity">,
): Promise<Answer> {
  const all = await activity.all(now).catch((cause) => {
    throw unavailable("What the detectors do cannot be read now.", cause);
  });
  const detectors = all
    .map(({ lastRefusal = null, ...one }) => ({ ...one, lastRefusal }))
    .toSorted((a, b) => (a.detector < b.detector ? -1 : 1));
  return { status: 200, body: { detectors } };
}
