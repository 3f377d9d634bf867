import { NOW } from "../../../support/reports.ts";
import {
  DETECTOR_TOKEN,
  digestOf,
  OPERATOR_TOKEN,
  READER_TOKEN,
  signingKeyOf,
} from "../../../support/tokens.ts";

// Who calls in the fuzz, and how far each may go.

export const CALLER = "198.51.100.7";

export const UNKNOWN_TOKEN = "c41d08-token-of-nobody-of-32-characters";

/** What the list of callers says of one, beside its token. */
export type Holder = {
  readonly token: string;
  readonly role: "detector" | "operator" | "reader";
  readonly addressesPerMinute: number;
  readonly leastPrefix4: number;
  readonly leastPrefix6: number;
  readonly mostSeverity: number;
  readonly longest: number;
  /** The beginning of the addresses that it may call from, as text. */
  readonly from?: string;
  readonly expiresAt?: number;
};

const WIDE = {
  addressesPerMinute: 100_000,
  leastPrefix4: 16,
  leastPrefix6: 32,
  mostSeverity: 10,
  longest: 31_536_000,
};

export const HOLDERS: Readonly<Record<string, Holder>> = {
  suricata: { ...WIDE, token: DETECTOR_TOKEN, role: "detector" },
  "night-shift": { ...WIDE, token: OPERATOR_TOKEN, role: "operator" },
  "wall-board": { ...WIDE, token: READER_TOKEN, role: "reader" },
  probe: {
    token: "ee3107-token-of-a-probe-of-32-characters",
    role: "detector",
    addressesPerMinute: 5,
    leastPrefix4: 32,
    leastPrefix6: 64,
    mostSeverity: 3,
    longest: 120,
  },
  elsewhere: {
    ...WIDE,
    token: "0b94aa-token-from-elsewhere-of-32-characters",
    role: "detector",
    from: "192.0.2.",
  },
  temporary: {
    ...WIDE,
    token: "5d52f1-token-that-ends-of-32-characters",
    role: "operator",
    expiresAt: NOW / 1000 + 60,
  },
};

export const TOKEN_LIST = JSON.stringify(
  Object.entries(HOLDERS).map(([name, { token }]) => ({
    name,
    sha256: [digestOf(`old ${token}`), digestOf(token)],
    signingKey: signingKeyOf(token),
  })),
);

export const CALLER_LIST = JSON.stringify(
  Object.entries(HOLDERS).map(([name, { token: _, from, ...limits }]) => ({
    name,
    ...limits,
    ...(from && { from: [`${from}0/24`] }),
  })),
);
