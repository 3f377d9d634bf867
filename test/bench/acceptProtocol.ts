/** What is measured in turn: bare SendMessage calls, requests that all differ, and one that repeats. */
export const KINDS = ["bare", "distinct", "repeats"] as const;
export type Kind = (typeof KINDS)[number];

/** What the endpoint's process is told. */
export type Order = {
  readonly bundle: string;
  readonly handler: string;
  readonly token: string;
  readonly queueUrl: string;
  readonly concurrency: number;
  /** Requests of each kind in a round. */
  readonly requests: number;
  readonly rounds: number;
};

/** What it measured, round by round. */
export type Rounds = Readonly<
  Record<Kind, readonly { readonly perSecond: number; readonly latenciesMs: readonly number[] }[]>
>;
