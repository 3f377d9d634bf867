/** Something that invokes functions until it is stopped. */
export type EventSource = {
  /** Takes nothing new, and resolves when what was taken has been dealt with. */
  stop(): Promise<void>;
};
