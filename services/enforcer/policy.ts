import type { Wanted } from "../../shared/domain/rank.ts";
import type { Mode } from "../../shared/targets/state.ts";

/**
 * What each mode makes of the blocks that a target could hold. In monitor mode nothing is denied, so
 * entries from before leave the target.
 */
export const wantedIn: Readonly<Record<Mode, (wanted: readonly Wanted[]) => readonly Wanted[]>> = {
  enforce: (wanted) => wanted,
  monitor: () => [],
};
