import type { Mode } from "../../shared/domain/orders.ts";
import type { Wanted } from "../../shared/domain/rank.ts";

/**
 * Which of the blocks that a target could hold each mode enforces. In the modes `monitor` and `off` nothing
 * is denied, so earlier entries are removed from the target.
 */
export const wantedIn: Readonly<Record<Mode, (wanted: readonly Wanted[]) => readonly Wanted[]>> = {
  enforce: (wanted) => wanted,
  monitor: () => [],
  off: () => [],
};
