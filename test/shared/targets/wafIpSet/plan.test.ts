import { hash } from "node:crypto";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { parseCidr } from "../../../../shared/domain/cidr.ts";
import { protect, protectedBy } from "../../../../shared/domain/neverBlock.ts";
import { MAX_ADDRESSES, plan } from "../../../../shared/targets/wafIpSet/plan.ts";
import { wafRecord } from "../../../../shared/targets/wafIpSet/record.ts";
import { ADDRESSES, cidrOf, RANGES, union } from "../../../support/ranges.ts";
import { NOW } from "../../../support/reports.ts";
import {
  allDone,
  converge,
  type Fate,
  type Input,
  isOfItsFamily,
  recordOf,
  setsOf,
  textsIn,
  wantedOf,
} from "./sets.ts";

const A = "203.0.113.1/32";
const B = "203.0.113.2/32";
const SIX = "2001:db8::/48";
/** A person's. */
const P = "198.51.100.7/32";

type Given = {
  readonly there?: readonly string[];
  readonly ours?: readonly string[];
  readonly wanted?: readonly string[];
};
const inputOf = (
  { there = [], ours = [], wanted = [] }: Given,
  change: Partial<Input> = {},
): Input => ({
  wanted: wantedOf(wanted),
  record: recordOf(ours),
  actual: setsOf(there),
  neverBlock: [],
  spared: [],
  now: NOW,
  ...change,
});
/** What the sets hold once the plan is applied, and what is ours then. */
const after = (input: Input) => {
  const { sets, record } = converge(input, allDone);
  return { there: textsIn(sets).toSorted(), ours: [...record.ours].toSorted() };
};
const changesOf = (input: Input) => plan(input).changes;

describe("a pair of sets that is full of others than are wanted", () => {
  /** Addresses that pack badly. */
  const addresses = (seed: number) =>
    Array.from({ length: MAX_ADDRESSES }, (_, index) => {
      const digest = hash("sha256", `${seed} ${index}`);
      const [a = 0, b = 0] = [digest.slice(0, 2), digest.slice(2, 4)].map((hex) =>
        parseInt(hex, 16),
      );
      const six = digest.slice(4, 28).match(/.{4}/g)?.join(":");
      return [`${11 + (index % 90)}.${a}.${b}.${index & 255}/32`, `2a0e:1:${six}/128`];
    }).flat();
  const sizeOf = (record: Input["record"]) =>
    Object.values(wafRecord.stored(record)).reduce((sum, packed) => sum + packed.length, 0);

  test("is replaced in a few steps, and each record fits into an item beside the rest", () => {
    const there = [...new Set(addresses(1).map((text) => cidrOf(text).text))];
    const wanted = [...new Set(addresses(2).map((text) => cidrOf(text).text))];
    let input = inputOf({ there, ours: there, wanted });
    let steps = 0;
    for (let planned = plan(input); planned.changes.length > 0; planned = plan(input)) {
      expect(sizeOf(planned.record)).toBeLessThan(360_000);
      const { sets, record } = converge(input, allDone);
      input = { ...input, actual: sets, record };
      steps++;
      expect(planned.isPartial).toBe(steps < 2);
    }
    expect(steps).toBe(2);
    expect(textsIn(input.actual).toSorted()).toEqual(wanted.toSorted());
  });
});

describe("an address in a set", () => {
  test.each<[string, Given, { there: string[]; ours: string[] }]>([
    ["ours, and wanted, stays", { there: [A], ours: [A], wanted: [A] }, { there: [A], ours: [A] }],
    ["ours, and not wanted, leaves", { there: [A], ours: [A] }, { there: [], ours: [] }],
    ["a person's, not wanted, stays", { there: [P] }, { there: [P], ours: [] }],
    [
      "a person's, wanted, stays the person's",
      { there: [P], wanted: [P] },
      { there: [P], ours: [] },
    ],
    ["that is wanted comes", { wanted: [A] }, { there: [A], ours: [A] }],
    [
      "comes and leaves beside a person's",
      { there: [P, A], ours: [A], wanted: [B] },
      { there: [P, B], ours: [B] },
    ],
    [
      "of ours that a person took away comes again",
      { there: [], ours: [A], wanted: [A] },
      { there: [A], ours: [A] },
    ],
    [
      "of ours that a person took away, and nobody wants, is forgotten",
      { there: [], ours: [A] },
      { there: [], ours: [] },
    ],
  ])("%s", (_what, given, expected) => {
    expect(after(inputOf(given))).toEqual(expected);
  });

  test("that is as it should be costs no call", () => {
    expect(changesOf(inputOf({ there: [A, P, SIX], ours: [A, SIX], wanted: [A, SIX] }))).toEqual(
      [],
    );
    expect(changesOf(inputOf({ there: [P], wanted: [P] }))).toEqual([]);
    expect(changesOf(inputOf({}))).toEqual([]);
  });

  test("leaves once its time is over, and never comes after", () => {
    const input = inputOf({ there: [A], ours: [A], wanted: [A, B] });
    expect(after({ ...input, now: NOW + 59_999 }).there).toEqual([A, B]);
    expect(after({ ...input, now: NOW + 60_000 }).there).toEqual([]);
  });

  test("leaves once it must never be blocked; a person's stays", () => {
    const given = { there: [A, P], ours: [A], wanted: [A, B] };
    const neverBlock = protect([
      [A, "office"],
      [P, "office"],
    ]);
    expect(after(inputOf(given, { neverBlock })).there).toEqual([P, B]);
  });
});

describe("while the never-block list cannot be read", () => {
  const neverBlock = undefined;

  test("nothing new is blocked, and what is blocked stays as long as it is wanted", () => {
    const given = { there: [A, SIX, P], ours: [A, SIX], wanted: [A, B] };
    expect(after(inputOf(given, { neverBlock })).there).toEqual([P, A]);
  });

  test("what was blocked with a wider range stays blocked", () => {
    const wide = "203.0.113.0/24";
    const given = { there: [wide], ours: [wide], wanted: [A] };
    expect(after(inputOf(given, { neverBlock })).there).toEqual([A]);
  });

  test("an address is not taken for blocked because a person blocks around it", () => {
    const given = { there: ["203.0.113.0/24"], wanted: [A] };
    expect(changesOf(inputOf(given, { neverBlock }))).toEqual([]);
  });
});

describe("a plan", () => {
  test("is at most one replacement for each set, of its own family and whole", () => {
    const changes = changesOf(inputOf({ there: [P, A], ours: [A], wanted: [B, SIX] }));
    expect(changes).toEqual([
      {
        ...{ key: "v4", needs: [], family: 4, denies: [parseCidr(B)] },
        ...{ addresses: [P, B], comes: 1, leaves: 1 },
      },
      {
        ...{ key: "v6", needs: [], family: 6, denies: [parseCidr(SIX)] },
        ...{ addresses: [SIX], comes: 1, leaves: 0 },
      },
    ]);
  });

  test("leaves the other set alone", () => {
    const given = { there: [A, SIX], ours: [A, SIX], wanted: [SIX] };
    expect(changesOf(inputOf(given))).toMatchObject([{ key: "v4", addresses: [], leaves: 1 }]);
  });

  test("records all that is there of ours, and all that is to come", () => {
    const { record } = plan(inputOf({ there: [A, P], ours: [A, "203.0.113.9/32"], wanted: [B] }));
    expect(record).toEqual(recordOf([], [A, B]));
  });

  test("names what is denied, by whomever, and counts what is a person's", () => {
    const planned = plan(inputOf({ there: [P, "198.51.100.8/32"], wanted: [A, P, SIX] }));
    expect(planned.chosen.map(({ text }) => text).toSorted()).toEqual([P, SIX, A].toSorted());
    expect(planned).toMatchObject({ foreign: 2, shadowed: [], drifted: 0 });
  });

  test("counts what a person took away of what WAF had confirmed", () => {
    const record = recordOf([A, B], ["203.0.113.3/32"]);
    expect(plan(inputOf({ there: [B], wanted: [A, B] }, { record })).drifted).toBe(1);
  });
});

describe("a set that is full", () => {
  const many = (length: number, second: number) =>
    Array.from({ length }, (_, i) => `20.${second}.${Math.floor(i / 256)}.${i % 256}/32`);
  const fourIn = (input: Input) => {
    const { sets, record } = converge(input, allDone);
    return { there: sets[4].map(({ text }) => text), ours: record.ours };
  };

  test("holds the strongest ten thousand, and no merged ones", () => {
    const wanted = many(MAX_ADDRESSES + 100, 0);
    const { there } = fourIn(inputOf({ wanted }));
    expect(there).toEqual(wanted.slice(0, MAX_ADDRESSES));
  });

  test("lets a stronger block take the place of the weakest", () => {
    const ours = many(MAX_ADDRESSES, 0);
    const [change] = changesOf(inputOf({ there: ours, ours, wanted: [A, ...ours] }));
    expect(change).toMatchObject({ comes: 1, leaves: 1, denies: [parseCidr(A)] });
    expect(change?.addresses).not.toContain(ours.at(-1));
  });

  test("of a person's addresses takes none", () => {
    const there = many(MAX_ADDRESSES, 1);
    expect(changesOf(inputOf({ there, wanted: [A, B] }))).toEqual([]);
    expect(changesOf(inputOf({ there, wanted: [A, SIX] }))).toMatchObject([{ family: 6 }]);
  });

  test("but for little room holds siblings merged", () => {
    const persons = many(MAX_ADDRESSES - 1, 1);
    const wanted = ["203.0.113.2/32", "203.0.113.3/32"];
    const { there, ours } = fourIn(inputOf({ there: persons, wanted }));
    expect(there).toEqual([...persons, "203.0.113.2/31"]);
    expect([...ours]).toEqual(["203.0.113.2/31"]);
  });

  test("never makes a person's range ours, though siblings merge into just that", () => {
    const persons = [...many(MAX_ADDRESSES - 2, 1), "203.0.113.2/31"];
    const wanted = ["203.0.113.2/32", "203.0.113.3/32"];
    const first = converge(inputOf({ there: persons, wanted }), allDone);
    expect(first.record.ours.has("203.0.113.2/31")).toBe(false);
    const second = plan(inputOf({}, { record: first.record, actual: first.sets }));
    expect(second.changes.flatMap(({ addresses }) => addresses)).toEqual(
      second.changes.length > 0 ? persons : [],
    );
  });
});

describe("settling", () => {
  /** `A` leaves, `B` and `SIX` come. */
  const input = inputOf({ there: [A, P], ours: [A], wanted: [B, SIX] });
  const settled = (four: Fate, six: Fate) => converge(input, { 4: four, 6: six }).record;

  test("what WAF has taken is ours and confirmed", () => {
    expect(settled("done", "done")).toEqual(recordOf([B, SIX]));
  });

  test("what was certainly not done leaves the record as it was, each set by itself", () => {
    expect(settled("not done", "not done")).toEqual(recordOf([A]));
    expect(settled("not done", "done")).toEqual(recordOf([A, SIX]));
    expect(settled("done", "not done")).toEqual(recordOf([B]));
  });

  test("where the answer was lost, both what was there and what was to come are ours", () => {
    expect(settled("lost, done", "lost, not done")).toEqual(recordOf([], [A, B, SIX]));
  });

  test.each<[Fate]>([["lost, done"], ["lost, not done"]])(
    "after an answer that was %s the next converge mends all",
    (fate) => {
      const first = converge(input, { 4: fate, 6: fate });
      const second = converge({ ...input, record: first.record, actual: first.sets }, allDone);
      expect(textsIn(second.sets)).toEqual([P, B, SIX]);
      expect(second.record).toEqual(recordOf([B, SIX]));
    },
  );

  test("nothing of ours becomes a person's where the block ends before the lost answer shows", () => {
    const first = converge(input, { 4: "lost, done", 6: "lost, done" });
    const later = { ...input, wanted: [], record: first.record, actual: first.sets };
    expect(textsIn(converge(later, allDone).sets)).toEqual([P]);
  });

  test("what may come yet stays ours, and the set is replaced, until it is known not to come", () => {
    const late = { ...inputOf({ there: [P], ours: [] }), record: recordOf([], [A]) };
    const { changes, record } = plan(late);
    expect(changes).toHaveLength(1);
    expect([...record.ours]).toEqual([A]);
    expect(converge(late, allDone).record).toEqual(recordOf([]));
  });

  test("a set without a change keeps what is confirmed in it", () => {
    const quiet = inputOf({ there: [A, SIX], ours: [A, SIX], wanted: [A] });
    expect(converge(quiet, { 4: "done", 6: "not done" }).record).toEqual(recordOf([A, SIX]));
  });
});

describe("whatever happens to a pair of sets", () => {
  const texts = fc.subarray([...RANGES]);
  const fate = fc.constantFrom<Fate>("done", "done", "not done", "lost, done", "lost, not done");
  const step = fc.record({
    /** Strongest first. */
    wanted: fc
      .tuple(fc.shuffledSubarray([...RANGES]), fc.nat(30))
      .map(([all, n]) => all.slice(0, n)),
    expired: fc.oneof(fc.constant([]), texts),
    neverBlock: fc.oneof(
      {
        weight: 3,
        arbitrary: fc.subarray(
          ADDRESSES.map(({ text }) => text),
          { maxLength: 3 },
        ),
      },
      { weight: 1, arbitrary: fc.constant(undefined) },
    ),
    personAdds: fc.subarray([...RANGES], { maxLength: 2 }),
    /** A person takes away whatever there is, ours or not. */
    personRemoves: fc.subarray([...RANGES], { maxLength: 2 }),
    fate: fc.record({ 4: fate, 6: fate }),
  });
  const lifeWith = (fillers: fc.Arbitrary<number>, maxLength: number) =>
    fc.tuple(fillers, fc.array(step, { minLength: 1, maxLength }));
  /** A person's ranges that fill a set, and meet no others. */
  const FILLING = Array.from(
    { length: MAX_ADDRESSES },
    (_, i) => `20.0.${Math.floor(i / 256)}.${i % 256}/32`,
  );

  const holds = ([filled, steps]: [
    number,
    (typeof step extends fc.Arbitrary<infer Step> ? Step : never)[],
  ]) => {
    let persons = new Set(FILLING.slice(0, filled));
    let sets = setsOf(persons);
    let record = wafRecord.empty;
    for (const { personAdds, personRemoves, fate, ...one } of steps) {
      // What is recorded as ours cannot be told from a person's of the same text.
      const added = personAdds.filter((text) => !record.ours.has(text));
      const fourIn = [...persons].filter((text) => !text.includes(":")).length;
      persons = new Set([...persons, ...added.slice(0, Math.max(0, MAX_ADDRESSES - fourIn))]);
      for (const text of personRemoves) persons.delete(text);
      const kept = without(textsIn(sets), new Set(personRemoves));
      const there = new Set([...kept, ...persons]);
      // WAF would not have taken more.
      fc.pre([...there].filter((text) => !text.includes(":")).length <= MAX_ADDRESSES);
      sets = setsOf(there);

      const expired = new Set(one.expired);
      const neverBlock = one.neverBlock && protect(one.neverBlock.map((text) => [text, "office"]));
      const wanted = wantedOf(one.wanted).map((block) =>
        expired.has(block.cidr.text) ? { ...block, expiresAt: NOW / 1000 } : block,
      );
      const input = { wanted, record, actual: sets, neverBlock, spared: [], now: NOW };
      const before = new Set(record.ours);
      const { planned, ...next } = converge(input, fate);
      for (const change of planned.changes) {
        expect(change.addresses.length).toBeLessThanOrEqual(MAX_ADDRESSES);
        expect(new Set(change.addresses).size).toBe(change.addresses.length);
        expect(isOfItsFamily(change)).toBe(true);
      }

      const shown = new Set(textsIn(next.sets));
      const oursThere = without(shown, persons);
      // A person's addresses never leave, nor become ours; and nothing of ours becomes a person's.
      expect(without(persons, shown)).toEqual([]);
      expect([...next.record.ours].filter((text) => persons.has(text))).toEqual([]);
      expect(without(oursThere, next.record.ours)).toEqual([]);
      expect(without(next.record.confirmed, next.record.ours)).toEqual([]);

      const perfect = converge(input, allDone);
      const chosen = new Set(planned.chosen.map(({ text }) => text));
      const mine = without(textsIn(perfect.sets), persons);
      // Ours is exactly what was chosen, but for what a person denies already.
      expect(new Set([...mine, ...[...chosen].filter((text) => persons.has(text))])).toEqual(
        chosen,
      );
      expect(perfect.record).toEqual(recordOf([...new Set(mine)]));
      const live = one.wanted.filter((text) => !expired.has(text)).map(cidrOf);
      const liveAddresses = union(live);
      const mineCidrs = mine.map(cidrOf);
      expect([...union(mineCidrs)].filter((text) => !liveAddresses.has(text))).toEqual([]);
      if (neverBlock) {
        expect(mineCidrs.filter((cidr) => protectedBy(neverBlock, cidr))).toEqual([]);
      } else {
        const known = union([...before].map(cidrOf));
        expect([...union(mineCidrs)].filter((text) => !known.has(text))).toEqual([]);
      }
      // Applied, it has nothing left to do.
      const again = plan({ ...input, record: perfect.record, actual: perfect.sets });
      expect(again.changes).toEqual([]);
      expect(again.record).toEqual(perfect.record);

      sets = next.sets;
      record = next.record;
    }
  };

  test("with room for all", () => {
    fc.assert(fc.property(lifeWith(fc.constant(0), 8), holds), {
      numRuns: 200,
      endOnFailure: true,
    });
  });

  test("with room for few: the rest is a person's", () => {
    const fillers = fc.integer({ min: MAX_ADDRESSES - 8, max: MAX_ADDRESSES });
    fc.assert(fc.property(lifeWith(fillers, 3), holds), { numRuns: 15, endOnFailure: true });
  });
});

/** Those of the first that are not among the others. */
function without(texts: Iterable<string>, others: ReadonlySet<string>): string[] {
  return [...texts].filter((text) => !others.has(text));
}
