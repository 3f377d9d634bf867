export type Upstreams = Readonly<Record<"sqs" | "dynamodb" | "ec2", string>>;

/** A rule that EC2 was asked to change. */
export type RuleCall = {
  readonly action: string;
  readonly ruleNumber: number;
  /** What the rule denies afterwards; absent for a delete. */
  readonly cidr?: string;
  /** Whether EC2 granted and did it. */
  readonly ok: boolean;
  /** Epoch milliseconds at which EC2 had answered. */
  readonly at: number;
};

export type Counts = {
  /** Successful or not, by `service.action`. */
  readonly calls: Readonly<Record<string, number>>;
  readonly ruleCalls: readonly RuleCall[];
  /** Item writes, by what they write: `block`, `target`, `offender` … */
  readonly writes: Readonly<Record<string, number>>;
  /** Addresses in the worker's reads: one for each address of each batch. */
  readonly addressesRead: number;
};

export type Question = "urls" | "counts" | "reset";
export type Answer =
  | { readonly kind: "urls"; readonly urls: Upstreams }
  | { readonly kind: "counts"; readonly counts: Counts }
  | { readonly kind: "done" };
