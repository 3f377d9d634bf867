import {
  CreateIPSetCommand,
  DeleteIPSetCommand,
  GetIPSetCommand,
  type IPSetSummary,
  ListIPSetsCommand,
  ListTagsForResourceCommand,
  TagResourceCommand,
  UpdateIPSetCommand,
  WAFInvalidParameterException,
  WAFV2Client,
  WAFV2ServiceException,
} from "@aws-sdk/client-wafv2";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "@jest/globals";
import { startWafv2 } from "../../engines/wafv2/server.ts";
import { hasMoto, type Server, startMoto } from "../support/moto.ts";

/*
 * What we rely on of WAF's IP sets, checked through the real SDK client against everything we run
 * on locally. An expectation is what AWS does. Where moto does something else, the case says what
 * (`moto: …`), and that is asserted too: when moto learns better, the case fails and the note goes.
 */

type Backend = { name: "emulator" | "moto"; start(): Promise<Server> };

const backends: Backend[] = [
  { name: "emulator", start: () => startWafv2({ throttle: false }) },
  { name: "moto", start: startMoto },
];

const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;

describe.each(backends)("WAF IP sets, $name", ({ name: backend, start }) => {
  if (backend === "moto" && !hasMoto) {
    it.skip("moto is not installed", () => {});
    return;
  }

  let server: Server;
  let client: WAFV2Client;
  let made = 0;
  /** Each case has a set of its own: REGIONAL, IPV4, 198.51.100.7/32. */
  let set: Required<Pick<IPSetSummary, "Name" | "Id" | "LockToken" | "ARN">>;

  /** What is expected of this backend: what AWS does, or what moto is known to do instead. */
  const expected = <Aws, Moto>(aws: Aws, moto: Moto): Aws | Moto =>
    backend === "moto" ? moto : aws;

  beforeAll(async () => {
    server = await start();
    client = new WAFV2Client({
      endpoint: server.url,
      region: "us-east-1",
      credentials: { accessKeyId: "local", secretAccessKey: "local" },
      maxAttempts: 1,
    });
  });

  afterAll(async () => {
    client?.destroy();
    await server?.stop();
  });

  beforeEach(async () => {
    set = await create({});
  });

  afterEach(async () => {
    for (const Scope of ["REGIONAL", "CLOUDFRONT"] as const) {
      const { IPSets } = await client.send(new ListIPSetsCommand({ Scope }));
      for (const { Name, Id, LockToken } of given(IPSets)) {
        await client.send(new DeleteIPSetCommand({ Name, Id, LockToken, Scope }));
      }
    }
  });

  /** A name that no other set has; later names sort after earlier ones. */
  function freshName(): string {
    made += 1;
    return `set-${`${made}`.padStart(4, "0")}`;
  }

  async function create(change: Partial<CreateIPSetCommand["input"]>) {
    const { Summary } = await client.send(
      new CreateIPSetCommand({
        Name: freshName(),
        Scope: "REGIONAL",
        IPAddressVersion: "IPV4",
        Addresses: ["198.51.100.7/32"],
        ...change,
      }),
    );
    return {
      Name: given(Summary?.Name),
      Id: given(Summary?.Id),
      LockToken: given(Summary?.LockToken),
      ARN: given(Summary?.ARN),
      Description: Summary?.Description,
    };
  }

  type Key = { Name: string; Id: string; Scope: "REGIONAL" | "CLOUDFRONT" };

  const get = (change: Partial<Key> = {}) =>
    client.send(new GetIPSetCommand({ Name: set.Name, Id: set.Id, Scope: "REGIONAL", ...change }));

  async function update(change: Partial<UpdateIPSetCommand["input"]>) {
    const { NextLockToken } = await client.send(
      new UpdateIPSetCommand({
        Name: set.Name,
        Id: set.Id,
        Scope: "REGIONAL",
        Addresses: ["203.0.113.9/32"],
        LockToken: set.LockToken,
        ...change,
      }),
    );
    set = { ...set, LockToken: given(NextLockToken) };
    return set.LockToken;
  }

  const remove = (change: Partial<DeleteIPSetCommand["input"]> = {}) =>
    client.send(
      new DeleteIPSetCommand({
        Name: set.Name,
        Id: set.Id,
        Scope: "REGIONAL",
        LockToken: set.LockToken,
        ...change,
      }),
    );

  async function addresses(): Promise<string[]> {
    const { IPSet } = await get();
    return given(IPSet?.Addresses);
  }

  describe("a set", () => {
    it("is read as it was created", async () => {
      set = await create({
        Description: "Blocked by tests",
        Addresses: ["192.0.2.0/24", "203.0.113.9/32"],
      });

      const { IPSet, LockToken } = await get();

      expect(IPSet).toEqual({
        Name: set.Name,
        Id: set.Id,
        ARN: `arn:aws:wafv2:us-east-1:123456789012:regional/ipset/${set.Name}/${set.Id}`,
        Description: "Blocked by tests",
        IPAddressVersion: "IPV4",
        Addresses: expect.arrayContaining(["192.0.2.0/24", "203.0.113.9/32"]),
      });
      expect(IPSet?.ARN).toBe(set.ARN);
      expect(LockToken).toBe(set.LockToken);
    });

    it("has a UUID as its id and as its lock token", async () => {
      expect(set.Id).toMatch(UUID);
      // moto: six hexadecimal digits.
      expect(set.LockToken).toMatch(expected(UUID, /^[0-9a-f]{6}$/));
    });

    it("may be empty, and its description is empty if it has none", async () => {
      set = await create({ Addresses: [] });

      expect(await addresses()).toEqual([]);
      const { IPSet } = await get();
      // moto: null, which the SDK drops.
      expect(IPSet?.Description).toBe(expected("", undefined));
    });

    it("is found only by its own name, id and scope together", async () => {
      const other = await create({});

      const missing = "WAFNonexistentItemException";
      expect(await failure(get({ Name: other.Name }))).toBe(missing);
      expect(await failure(get({ Id: other.Id }))).toBe(missing);
      expect(await failure(get({ Scope: "CLOUDFRONT" }))).toBe(missing);
    });

    it("has a name that no other in its scope has", async () => {
      const again = create({ Name: set.Name });
      // moto: makes a second set of that name.
      expect(await failure(again)).toBe(expected("WAFDuplicateItemException", "none"));
    });

    it("shares its name with one in the other scope", async () => {
      const global = await create({ Name: set.Name, Scope: "CLOUDFRONT" });

      expect(global.ARN).toBe(
        `arn:aws:wafv2:us-east-1:123456789012:global/ipset/${set.Name}/${global.Id}`,
      );
    });

    it.each([
      ["a name with a space", { Name: "two words" }],
      ["a name of 129 characters", { Name: "n".repeat(129) }],
      ["a scope that does not exist", { Scope: "GLOBAL" as "REGIONAL" }],
      ["a family that does not exist", { IPAddressVersion: "IPV5" as "IPV4" }],
      ["an empty description", { Description: "" }],
      ["a description of two characters", { Description: "ab" }],
      ["a description of 257 characters", { Description: "d".repeat(257) }],
      ["a description with a forbidden character", { Description: "what's this" }],
      ["an empty address", { Addresses: [""] }],
    ])("is not created with %s", async (_what, change) => {
      // moto: checks none of this.
      expect(await failure(create(change))).toBe(expected("ValidationException", "none"));
    });

    it("takes a description of 256 characters and a name of 128", async () => {
      const longName = `${freshName()}${"n".repeat(120)}`;
      set = await create({ Name: longName, Description: "d".repeat(256) });

      const { IPSet } = await get();
      expect(IPSet?.Name).toHaveLength(128);
      expect(IPSet?.Description).toHaveLength(256);
    });
  });

  describe("addresses", () => {
    it.each([
      "203.0.113.9",
      "203.0.113.9/33",
      "0.0.0.0/0",
      "203.0.113.9/24",
      "203.0.113.256/32",
      "203.0.113/24",
      "203.0.113.09/32",
      "203.0.113.9/032",
      "203.0.113.9/32 ",
      "2001:db8::/32",
      "nonsense",
    ])("refuse %p in an IPv4 set", async (address) => {
      // moto: accepts anything.
      const code = expected("WAFInvalidParameterException", "none");
      expect(await failure(create({ Addresses: [address] }))).toBe(code);
      expect(await failure(update({ Addresses: ["192.0.2.1/32", address] }))).toBe(code);
    });

    it.each([
      "2001:db8::1",
      "2001:db8::/129",
      "::/0",
      "2001:db8::1/32",
      "fe80::1%1/128",
      "192.0.2.1/32",
    ])("refuse %p in an IPv6 set", async (address) => {
      // moto: accepts anything.
      const code = expected("WAFInvalidParameterException", "none");
      expect(await failure(create({ IPAddressVersion: "IPV6", Addresses: [address] }))).toBe(code);
    });

    it("say which one is wrong and why", async () => {
      const error = await create({ Addresses: ["192.0.2.1/32", "195.178.188.66/29"] }).catch(
        (cause: unknown) => cause,
      );
      if (backend === "moto") return;
      expect(error).toBeInstanceOf(WAFInvalidParameterException);
      expect(error).toMatchObject({
        Field: "IP_ADDRESS",
        Parameter: "195.178.188.66/29",
        Reason: "The parameter contains formatting that is not valid.",
        message:
          "Error reason: The parameter contains formatting that is not valid., field: IP_ADDRESS, parameter: 195.178.188.66/29",
      });
    });

    it("take every prefix length but 0", async () => {
      const v4 = Array.from({ length: 32 }, (_, n) => `128.0.0.0/${n + 1}`);
      const v6 = Array.from({ length: 128 }, (_, n) => `8000::/${n + 1}`);

      set = await create({ Addresses: v4 });
      expect((await addresses()).toSorted()).toEqual(v4.toSorted());
      set = await create({ IPAddressVersion: "IPV6", Addresses: v6 });
      expect(await addresses()).toHaveLength(128);
    });

    it("of IPv6 come back written out in full, in lower case", async () => {
      const given = ["2001:DB8::/32", "2001:db8:0:1::8a2e:370/128"];
      set = await create({ IPAddressVersion: "IPV6", Addresses: given });

      const inFull = [
        "2001:0db8:0000:0000:0000:0000:0000:0000/32",
        "2001:0db8:0000:0001:0000:0000:8a2e:0370/128",
      ];
      // moto: as they were sent.
      expect((await addresses()).toSorted()).toEqual(expected(inFull, given.toSorted()));
    });

    it("are refused if one is there twice, in whatever spelling", async () => {
      // moto: keeps both.
      const code = expected("WAFInvalidParameterException", "none");
      const twice = create({ Addresses: ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.1/32"] });
      expect(await failure(twice)).toBe(code);
      const spelled = create({
        IPAddressVersion: "IPV6",
        Addresses: ["2001:db8::/32", "2001:0db8:0::/32"],
      });
      expect(await failure(spelled)).toBe(code);
    });

    it("may overlap", async () => {
      set = await create({ Addresses: ["192.0.2.0/24", "192.0.2.1/32"] });
      expect(await addresses()).toHaveLength(2);
    });

    it("are 10,000 at most", async () => {
      const many = Array.from({ length: 10_001 }, (_, n) => `10.0.${n >> 8}.${n & 255}/32`);

      await update({ Addresses: many.slice(1) });
      expect(await addresses()).toHaveLength(10_000);
      // moto: knows no limit.
      const code = expected("WAFLimitsExceededException", "none");
      expect(await failure(update({ Addresses: many }))).toBe(code);
      expect(await addresses()).toHaveLength(expected(10_000, 10_001));
    });
  });

  describe("an update", () => {
    it("replaces the whole list", async () => {
      await update({ Addresses: ["203.0.113.9/32", "192.0.2.0/24"] });
      expect((await addresses()).toSorted()).toEqual(["192.0.2.0/24", "203.0.113.9/32"]);

      await update({ Addresses: [] });
      expect(await addresses()).toEqual([]);
    });

    it("answers the lock token of the next one", async () => {
      const first = set.LockToken;
      const second = await update({});

      expect(second).not.toBe(first);
      expect((await get()).LockToken).toBe(second);
      const third = await update({});
      expect(third).not.toBe(second);
    });

    it("changes the lock token though it changes nothing else", async () => {
      const before = set.LockToken;
      expect(await update({ Addresses: await addresses() })).not.toBe(before);
    });

    it("with a lock token that is no longer current changes nothing", async () => {
      const stale = set.LockToken;
      await update({ Addresses: ["192.0.2.1/32"] });

      const late = update({ Addresses: ["192.0.2.2/32"], LockToken: stale });

      expect(await failure(late)).toBe("WAFOptimisticLockException");
      expect(await addresses()).toEqual(["192.0.2.1/32"]);
    });

    it("with a lock token that is not a UUID is refused", async () => {
      const wrong = update({ LockToken: "not-a-token" });
      // moto: takes it for a stale one.
      expect(await failure(wrong)).toBe(
        expected("ValidationException", "WAFOptimisticLockException"),
      );
    });

    it("that is refused leaves the set and its lock token", async () => {
      if (backend === "moto") return;
      const token = set.LockToken;
      expect(await failure(update({ Addresses: ["nonsense"] }))).not.toBe("none");
      expect(await addresses()).toEqual(["198.51.100.7/32"]);
      expect((await get()).LockToken).toBe(token);
    });

    it("of a set that does not exist is WAFNonexistentItemException", async () => {
      const nowhere = update({ Id: "00000000-0000-4000-8000-000000000000" });
      expect(await failure(nowhere)).toBe("WAFNonexistentItemException");
    });

    it("without a description removes it", async () => {
      set = await create({ Description: "Blocked by tests" });

      await update({ Description: "Blocked by others" });
      expect((await get()).IPSet?.Description).toBe("Blocked by others");
      await update({});
      // moto: keeps it.
      expect((await get()).IPSet?.Description).toBe(expected("", "Blocked by others"));
    });
  });

  describe("a deletion", () => {
    it("needs the current lock token", async () => {
      const stale = set.LockToken;
      await update({});

      expect(await failure(remove({ LockToken: stale }))).toBe("WAFOptimisticLockException");
      await remove();
      expect(await failure(get())).toBe("WAFNonexistentItemException");
      expect(await failure(remove())).toBe("WAFNonexistentItemException");
    });

    it("frees the name", async () => {
      await remove();
      const again = await create({ Name: set.Name });
      expect(again.Id).not.toBe(set.Id);
    });
  });

  describe("a list", () => {
    const list = (input: { NextMarker?: string; Limit?: number; Scope?: "CLOUDFRONT" }) =>
      client.send(new ListIPSetsCommand({ Scope: "REGIONAL", ...input }));

    /** Every set of a scope, page by page, until an answer has no marker. */
    async function pages(limit: number): Promise<IPSetSummary[][]> {
      const all: IPSetSummary[][] = [];
      let marker: string | undefined;
      do {
        const page = await list({ Limit: limit, ...(marker ? { NextMarker: marker } : {}) });
        all.push(given(page.IPSets));
        marker = page.NextMarker;
      } while (marker !== undefined);
      return all;
    }

    it("has a summary of each set, with the current lock token", async () => {
      await update({});
      const { IPSets } = await list({});

      expect(IPSets).toEqual([
        {
          Name: set.Name,
          Id: set.Id,
          ARN: set.ARN,
          LockToken: set.LockToken,
          // moto: null, which the SDK drops.
          ...expected({ Description: "" }, {}),
        },
      ]);
    });

    it("has the sets of one scope", async () => {
      const global = await create({ Name: set.Name, Scope: "CLOUDFRONT" });

      const { IPSets } = await list({ Scope: "CLOUDFRONT" });
      expect(IPSets?.map(({ Id }) => Id)).toEqual([global.Id]);
    });

    it("comes in pages, each set once", async () => {
      const second = await create({});
      const third = await create({});

      const ids = (await pages(2)).map((page) => page.map(({ Id }) => Id));

      const full = [[set.Id, second.Id], [third.Id]];
      // moto: no empty page at the end.
      expect(ids).toEqual(expected([...full, []], full));
    });

    it("has a marker even on its last page", async () => {
      const { NextMarker } = await list({});
      // moto: only where there is more.
      expect(NextMarker).toBe(expected(set.Name, undefined));
    });

    it("is limited to pages of 100", async () => {
      // moto: takes any limit.
      expect(await failure(list({ Limit: 101 }))).toBe(expected("ValidationException", "none"));
      expect(await failure(list({ Limit: 100 }))).toBe("none");
    });
  });

  it("tags are kept, replaced by key, and leave the lock token alone", async () => {
    set = await create({ Tags: [{ Key: "owner", Value: "tests" }] });
    await client.send(
      new TagResourceCommand({
        ResourceARN: set.ARN,
        Tags: [
          { Key: "owner", Value: "others" },
          { Key: "stage", Value: "local" },
        ],
      }),
    );

    const { TagInfoForResource } = await client.send(
      new ListTagsForResourceCommand({ ResourceARN: set.ARN }),
    );
    expect(TagInfoForResource).toEqual({
      ResourceARN: set.ARN,
      TagList: [
        { Key: "owner", Value: "others" },
        { Key: "stage", Value: "local" },
      ],
    });
    expect((await get()).LockToken).toBe(set.LockToken);
  });
});

/** The code of the error that a call ends with, or "none". */
async function failure(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "none";
  } catch (error) {
    return error instanceof WAFV2ServiceException ? error.name : `${error}`;
  }
}

function given<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("The answer lacks what it must have");
  return value;
}
