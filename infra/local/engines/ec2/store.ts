import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Ec2State } from "./state.ts";

/** Keeps the state, also on disk if a file is named, and remembers its recent past. */
export type Store = {
  /** The state now. */
  current(): Ec2State;
  /** The state as it was `lagMs` ago, for EC2's eventual consistency. */
  before(lagMs: number): Ec2State;
  /** Makes a state the current one: on disk first, so that nothing answered is ever lost. */
  commit(state: Ec2State): void;
};

/** How long past states are kept, and so the longest read lag. */
const HISTORY_MS = 120_000;

/**
 * A store that starts with what its file has, or with the initial state.
 *
 * Writing is synchronous, beside the file and then renamed over it: readers always see a whole
 * state, and a process killed between answers has lost nothing.
 */
export function createStore(
  initial: Ec2State,
  stateFile: string | undefined,
  now: () => number,
): Store {
  const saved = stateFile !== undefined && existsSync(stateFile);
  let current = saved ? load(stateFile) : initial;
  let past: { untilMs: number; state: Ec2State }[] = [];
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

function load(stateFile: string): Ec2State {
  const state: unknown = JSON.parse(readFileSync(stateFile, "utf8"));
  // A file from before some of these existed has none of them.
  if (isState(state)) {
    const kept: Partial<Ec2State> = state;
    const { subnets = [], addresses = [], natGateways = [], prefixLists = [] } = kept;
    return { ...state, subnets, addresses, natGateways, prefixLists };
  }
  throw new Error(`${stateFile} is not a state of the EC2 emulator: remove it to start afresh`);
}

function isState(value: unknown): value is Ec2State {
  if (typeof value !== "object" || value === null) return false;
  const { vpcs, acls } = value as Partial<Ec2State>;
  return Array.isArray(vpcs) && Array.isArray(acls);
}

function save(stateFile: string, state: Ec2State): void {
  mkdirSync(dirname(stateFile), { recursive: true });
  const temporary = `${stateFile}.tmp`;
  writeFileSync(temporary, JSON.stringify(state));
  renameSync(temporary, stateFile);
}
