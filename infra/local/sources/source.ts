/** Something that invokes functions until it is stopped. */
export type EventSource = {
  /** Takes nothing new, and resolves once everything taken has been handled. */
  stop(): Promise<void>;
};
