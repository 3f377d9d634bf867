import { pause } from "../../infra/local/waiting.ts";
import { createRandom } from "../bench/random.ts";
import { inParallel } from "../bench/statistics.ts";
import type { Lane } from "./lane.ts";

/** What detectors and operators were promised. */
export type Promised = {
  /** The latest end, in epoch seconds, of each range that was accepted since it was unblocked. */
  readonly blocks: Map<string, number>;
  readonly unblocked: Set<string>;
  accepted: number;
  /** Answers other than 2xx, lost answers included: the caller tried again. */
  refused: number;
};

type Report = { ip: string; severity: number; expiryTime: number };

const CONCURRENCY = 6;
const RETRY_MS = 200;
/** The indexes of the addresses that are unblocked; all but the first two are reported again. */
const UNBLOCKED = [1, 29, 2, 3, 4, 8, 31, 33];
/** A detector that is refused so long gives up. */
const PATIENCE_MS = 90_000;

export const newPromises = (): Promised => ({
  blocks: new Map(),
  unblocked: new Set(),
  accepted: 0,
  refused: 0,
});

/**
 * A storm of about 150 requests for 36 addresses: each several times, some severer than before, some
 * for a few seconds only, some together in one request; at the end some are unblocked, and most of
 * these reported again exactly as before. `pass` is called when a third of the storm is
 * through.
 */
export async function storm(
  lane: Lane,
  promised: Promised,
  run: number,
  pass: () => void,
): Promise<void> {
  const random = createRandom(run);
  const addresses = addressesOf(run);
  const usual = addresses.map((ip, index) => ({
    ip,
    severity: random.between(1, 8),
    expiryTime: index % 6 === 0 ? random.between(3, 6) : 600,
  }));
  const reports: Report[][] = usual.flatMap((one) =>
    Array.from({ length: random.between(3, 5) }, (_, time) => [
      time === 3 ? { ...one, severity: one.severity + 2 } : one,
    ]),
  );
  const some = () => random.between(0, addresses.length - 11);
  const bulks = [some(), some()].map((from) =>
    addresses.slice(from, from + 10).map((ip): Report => ({ ip, severity: 5, expiryTime: 600 })),
  );
  const requests = shuffled([...reports, ...bulks], random);
  let sent = 0;
  await inParallel(requests.length, CONCURRENCY, async (index) => {
    await report(lane, promised, requests[index] ?? []);
    if (++sent === Math.ceil(requests.length / 3)) pass();
  });
  const unblocked = usual.filter((_, index) => UNBLOCKED.includes(index));
  // All at once, so that unblock and report reach different instances of the endpoint.
  await Promise.all(unblocked.map(({ ip }) => unblock(lane, promised, ip)));
  await Promise.all(unblocked.slice(2).map((one) => report(lane, promised, [one])));
}

/** Every address of a run is its own; no two are neighbours, so that none merge. */
function addressesOf(run: number): string[] {
  const four = Array.from({ length: 28 }, (_, n) => `45.${run >> 8}.${run & 255}.${4 * n}`);
  const six = Array.from(
    { length: 8 },
    (_, n) => `2a00:${(run + 1).toString(16)}::${(4 * n).toString(16)}`,
  );
  return [...four, ...six];
}

/** As detectors do: again and again until it is accepted. */
export async function report(
  lane: Lane,
  promised: Promised,
  reports: readonly Report[],
): Promise<void> {
  const [first] = reports;
  const body =
    reports.length === 1
      ? first
      : {
          ips: reports.map(({ ip }) => ip),
          severity: first?.severity,
          expiryTime: first?.expiryTime,
        };
  const answer = await insist(lane, promised, "/blacklistip", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const results = (answer.results ?? [answer]) as {
    status: string;
    cidr: string;
    expiresAt: number;
  }[];
  for (const { status, cidr, expiresAt } of results) {
    if (status !== "queued") continue;
    promised.accepted++;
    promised.unblocked.delete(cidr);
    promised.blocks.set(cidr, Math.max(expiresAt, promised.blocks.get(cidr) ?? 0));
  }
}

async function unblock(lane: Lane, promised: Promised, ip: string): Promise<void> {
  const token = lane.cloud().stack.operatorToken;
  await insist(lane, promised, `/blacklistip?ip=${ip}`, { method: "DELETE", token });
  const cidr = ip.includes(":") ? `${ip}/128` : `${ip}/32`;
  promised.blocks.delete(cidr);
  promised.unblocked.add(cidr);
}

async function insist(
  lane: Lane,
  promised: Promised,
  path: string,
  init: Parameters<ReturnType<Lane["cloud"]>["call"]>[1],
): Promise<Record<string, unknown>> {
  for (const until = Date.now() + PATIENCE_MS; Date.now() < until; ) {
    try {
      const signal = AbortSignal.timeout(10_000);
      const response = await lane.cloud().call(path, { ...init, signal });
      const body = (await response.json()) as Record<string, unknown>;
      if (response.ok) return body;
      // A killed instance takes its share of the minute's budget with it: 429 ends with the minute.
      const isForGood = response.status < 500 && response.status !== 429;
      if (isForGood) throw new TypeError(`${response.status} for ${path}`);
    } catch (error) {
      if (error instanceof TypeError && /^4\d\d/.test(error.message)) throw error;
    }
    promised.refused++;
    await pause(RETRY_MS);
  }
  throw new Error(`Never accepted: ${path}`);
}

function shuffled<T>(items: T[], { between }: ReturnType<typeof createRandom>): T[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = between(0, last);
    [items[last], items[other]] = [items[other] as T, items[last] as T];
  }
  return items;
}
