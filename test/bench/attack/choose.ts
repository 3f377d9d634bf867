import type { Wanted } from "./simulate.ts";

/** The addresses of the blocks with the greatest strengths; of equal ones, those that come first. */
export function strongest(
  wanted: Iterable<Wanted>,
  slots: number,
  strengthOf: (block: Wanted) => number,
): ReadonlySet<string> {
  /** Strongest first. */
  const chosen: { readonly address: string; readonly strength: number }[] = [];
  for (const block of wanted) {
    const strength = strengthOf(block);
    if (chosen.length === slots) {
      if (strength <= (chosen.at(-1)?.strength ?? 0)) continue;
      chosen.pop();
    }
    const index = chosen.findLastIndex((other) => other.strength >= strength) + 1;
    chosen.splice(index, 0, { address: block.address, strength });
  }
  return new Set(chosen.map(({ address }) => address));
}
