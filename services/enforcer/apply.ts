import type { Logger } from "../../shared/aws/log.ts";
import type { EpochMillis } from "../../shared/domain/time.ts";
import {
  type Applied,
  QuotaError,
  RefusedError,
  StaleReadError,
  TakenError,
  type Target,
  type TargetChange,
  TargetMissingError,
  ThrottledError,
} from "../../shared/targets/target.ts";

/** What became of a plan's changes. */
export type Outcome<Change> = Applied<Change> & {
  /** Changes left for the next plan: out of time, refused or failed. */
  readonly left: number;
  /** The ranges that AWS refused, with its error code. */
  readonly refused: Readonly<Record<string, string>>;
  /** How many changes were refused, deletions included. */
  readonly refusals: number;
  /** Changes were left because the target throttled or changed meanwhile, or the plan had grown old. */
  readonly isInterrupted: boolean;
  readonly isMissing: boolean;
};

/**
 * Applies the changes in order, and begins none after `stopAt`. What cannot be done now is left for the next
 * plan. A refused or failed change holds up only the changes that need it.
 */
export async function apply<Change extends TargetChange, Actual>(
  target: Pick<Target<unknown, Actual, Change>, "id" | "apply" | "describe">,
  changes: readonly Change[],
  actual: Actual,
  stopAt: EpochMillis,
  { log, clock }: { readonly log: Logger; readonly clock: () => EpochMillis },
): Promise<Outcome<Change>> {
  const done: Change[] = [];
  const notDone: Change[] = [];
  const quotasMet = new Set<string>();
  const undone = new Set<string>();
  const refused: Record<string, string> = {};
  let refusals = 0;
  let left = 0;
  let isInterrupted = false;
  let isMissing = false;
  let refusedForAll: string | undefined;

  function refuse(change: Change, code: string): void {
    refusals++;
    for (const { text } of change.denies) refused[text] = code;
    notDone.push(change);
  }

  for (const change of changes) {
    const line = { target: target.id, ...target.describe(change) };
    if (clock() >= stopAt) isInterrupted = true;
    const isPossible =
      !isInterrupted &&
      !isMissing &&
      !change.needs.some((key) => undone.has(key)) &&
      !(change.quota !== undefined && quotasMet.has(change.quota));
    if (refusedForAll !== undefined) {
      refuse(change, refusedForAll);
    } else if (!isPossible) {
      notDone.push(change);
    } else {
      try {
        await target.apply(change, actual);
        done.push(change);
        log.info("Changed the target", line);
        continue;
      } catch (error) {
        if (error instanceof ThrottledError || error instanceof StaleReadError) {
          isInterrupted = true;
          log.warn("The target takes no change now", { ...line, error });
        } else if (error instanceof TakenError) {
          isInterrupted = true;
          notDone.push(change);
          log.warn("A person has taken the place meanwhile", { ...line, error });
        } else if (error instanceof QuotaError) {
          if (change.quota !== undefined) quotasMet.add(change.quota);
          notDone.push(change);
          log.warn("The target's quota is met", line);
        } else if (error instanceof RefusedError) {
          if (error.isForAll) refusedForAll = error.code;
          refuse(change, error.code);
          log.error("A change is refused", { ...line, error });
        } else if (error instanceof TargetMissingError) {
          isMissing = true;
          notDone.push(change);
          log.error("The target does not exist", { ...line, error });
        } else {
          // It may have taken effect: the next plan finds out.
          log.error("A change failed", { ...line, error: error as Error });
        }
      }
    }
    undone.add(change.key);
    left++;
  }
  return { done, notDone, quotasMet, left, refused, refusals, isInterrupted, isMissing };
}
