// Seconds and milliseconds, moments and durations, kept apart by type. A plain number is assignable to any
// of them; none of them is assignable to another.

/** A number that carries its unit only in its type. */
type Unit<Name extends string> = number & { readonly unit?: Name };

/** A moment, in seconds since 1970: what DynamoDB's TTL and every answer of the API use. */
export type EpochSeconds = Unit<"epoch seconds">;
/** A moment, in milliseconds since 1970: what `Date.now()` gives. */
export type EpochMillis = Unit<"epoch milliseconds">;
/** A duration in seconds. */
export type Seconds = Unit<"seconds">;
/** A duration in milliseconds. */
export type Millis = Unit<"milliseconds">;

/** The whole second that contains the moment. */
export function toEpochSeconds(moment: EpochMillis): EpochSeconds {
  return Math.floor(moment / 1000);
}

/** Whether something that ends at `expiresAt` has ended. */
export function isExpired(
  { expiresAt }: { readonly expiresAt: EpochSeconds },
  now: EpochMillis,
): boolean {
  return expiresAt * 1000 <= now;
}
