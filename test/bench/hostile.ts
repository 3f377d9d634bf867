import { bearer, type Call, json, startEndpoint } from "../support/endpoint.ts";
import { DETECTOR_TOKEN } from "../support/tokens.ts";
import type { Figure } from "./figure.ts";
import { median, timeOf } from "./statistics.ts";

const TIMES = 50;
const MOST = 3;

const ips = Array.from({ length: 100 }, (_, index) => `203.0.113.${index}`);
const one = { ip: "203.0.113.9" };
const typed = (type: string): Call => ({
  headers: { ...bearer(DETECTOR_TOKEN), "content-type": type },
  body: JSON.stringify(one),
});
const said = (fields: object): Call => ({
  headers: { ...bearer(DETECTOR_TOKEN), ...json },
  body: JSON.stringify(fields),
});

/** Requests that once took 93, 834 and 60 ms, each beside a harmless one that is as long. */
const REQUESTS: readonly { what: string; hostile: Call; harmless: Call }[] = [
  {
    what: "a content type of 10 kB of blanks",
    hostile: typed(`application/json${" ".repeat(10_000)}x`),
    harmless: typed(`application/json;${"x".repeat(10_000)}`),
  },
  {
    what: "a reason of 40 kB of control characters for 100 addresses",
    hostile: said({ ips, reason: "\u0000 ".repeat(20_000) }),
    harmless: said({ ips, reason: "scanning".repeat(15_000) }), // as long in JSON
  },
  {
    what: "an address of 900 kB",
    hostile: said({ ip: "/".repeat(900_000) }),
    harmless: said({ ...one, reason: "x".repeat(900_000) }),
  },
];

/** What a request may cost: no more than its length does. */
export async function hostile(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [index, request] of REQUESTS.entries()) {
    const endpoint = startEndpoint();
    const send = (call: Call) => timeOf(() => endpoint.call("POST", "/blacklistip", call));
    const times = { hostile: [] as number[], harmless: [] as number[] };
    for (let time = 0; time < TIMES; time++) {
      endpoint.now += 60_000; // another minute, another budget
      times.hostile.push(await send(request.hostile));
      times.harmless.push(await send(request.harmless));
    }
    const [value, floor] = [median(times.hostile), median(times.harmless)];
    figures.push({
      name: `hostile${index + 1}`,
      what: `${request.what}: what it costs the endpoint`,
      value: { value, unit: "ms" },
      floor: { what: "a harmless request as long", value: floor, unit: "ms" },
      ratio: value / floor,
      goal: { text: `≤ ${MOST}`, isMet: value / floor <= MOST },
    });
  }
  return figures;
}
