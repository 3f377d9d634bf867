import { type Cidr, parseCidr } from "../../shared/domain/cidr.ts";
import { rankOf } from "../../shared/domain/rank.ts";
import type { Random } from "./random.ts";

// A thousand attackers as an attack has them, the same ones in every run:
//
//   40 %  botnet    infected hosts of one provider: /24s with 8 to 40 bad addresses each, anywhere in it
//   30 %  cloud     rented machines: runs of 4 to 32 consecutive addresses, nine in ten of them bad
//   30 %  scattered single addresses, anywhere
//
// The addresses of one cluster have one severity and come within ten minutes of each other, as one
// detector sees one campaign; so they stand together in the ranking, but not in a block.

const CAMPAIGN_MS = 600_000;
const DAY_MS = 86_400_000;

/** So many distinct addresses, strongest first. */
export function attackers(count: number, random: Random): Cidr[] {
  const found = new Map<string, { readonly cidr: Cidr; readonly rank: string }>();
  const add = (address: string, severity: number, firstSeenAt: number) => {
    const cidr = parseCidr(address);
    const rank = rankOf({ cidr, byOperator: false, severity, score: firstSeenAt });
    if (found.size < count && !found.has(cidr.text)) found.set(cidr.text, { cidr, rank });
  };
  const kinds = [
    { share: 0.4, addresses: botnet },
    { share: 0.7, addresses: cloud },
    { share: 1, addresses: (source: Random) => [source.address()] },
  ];
  for (const { share, addresses } of kinds) {
    while (found.size < Math.round(count * share)) {
      const severity = random.between(1, 10);
      const begin = random.between(0, DAY_MS);
      for (const address of addresses(random)) {
        add(address, severity, begin + random.between(0, CAMPAIGN_MS));
      }
    }
  }
  return [...found.values()].toSorted((a, b) => (a.rank < b.rank ? 1 : -1)).map(({ cidr }) => cidr);
}

function botnet(random: Random): string[] {
  const net = random.address().replace(/\d+$/, "");
  const hosts = new Set<number>();
  for (let left = random.between(8, 40); left > 0; left--) hosts.add(random.between(1, 254));
  return [...hosts].map((host) => net + host);
}

function cloud(random: Random): string[] {
  const net = random.address().replace(/\d+$/, "");
  const length = random.between(4, 32);
  const first = random.between(0, 255 - length);
  const run = Array.from({ length }, (_, index) => net + (first + index));
  return run.filter(() => random.next() < 0.9);
}
