import type { Mode } from "../../shared/domain/orders.ts";
import type { Wanted } from "../../shared/domain/rank.ts";

/**
 * What each mode makes of the blocks that a target could hold. In monitor mode and off nothing is denied,
 * so entries from before leave the target.
 */
export const wantedIn: Readonly<Record<Mode, (wanted: readonly Wanted[]) => readonly Wanted[]>> = {
  enforce: (wanted) => wanted,
  monitor: () => [],
  off: () => [],
};
