import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { WafState } from "./ipSets.ts";

/** Keeps the state, on disk too where a file is named, and remembers what it lately was. */
export type Store = {
  /** The state now. */
  current(): WafState;
  /** The state as it was this many milliseconds ago, while a change propagates. */
  before(lagMs: number): WafState;
  /** Makes a state the current one: on disk first, so that nothing answered is ever lost. */
  commit(state: WafState): void;
};

/** How long past states are kept, and so the longest read lag. */
const HISTORY_MS = 120_000;

const EMPTY: WafState = { ipSets: [] };

/**
 * A store that starts with what its file has, or empty.
 *
 * Writing is synchronous, beside the file and then renamed over it: readers always see a whole
 * state, and a process killed between answers has lost nothing.
 */
export function createStore(stateFile: string | undefined, now: () => number): Store {
  const saved = stateFile !== undefined && existsSync(stateFile);
  let current = saved ? load(stateFile) : EMPTY;
  let past: { untilMs: number; state: WafState }[] = [];
  return {
    current: () => current,
    before(lagMs) {
      const atMs = now() - lagMs;
      return past.find(({ untilMs }) => untilMs > atMs)?.state ?? current;
    },
    commit(state) {
      if (state === current) return;
      if (stateFile !== undefined) save(stateFile, state);
      const atMs = now();
      past = past.filter(({ untilMs }) => untilMs > atMs - HISTORY_MS);
      past.push({ untilMs: atMs, state: current });
      current = state;
    },
  };
}

function load(stateFile: string): WafState {
  const state: unknown = JSON.parse(readFileSync(stateFile, "utf8"));
  if (isState(state)) return state;
  throw new Error(`${stateFile} is not a state of the WAF emulator: remove it to start afresh`);
}

function isState(value: unknown): value is WafState {
  if (typeof value !== "object" || value === null) return false;
  return Array.isArray((value as Partial<WafState>).ipSets);
}

function save(stateFile: string, state: WafState): void {
  mkdirSync(dirname(stateFile), { recursive: true });
  const temporary = `${stateFile}.tmp`;
  writeFileSync(temporary, JSON.stringify(state));
  renameSync(temporary, stateFile);
}
