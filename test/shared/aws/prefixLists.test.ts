import {
  CreateManagedPrefixListCommand,
  DeleteManagedPrefixListCommand,
  DescribeManagedPrefixListsCommand,
  EC2Client,
  GetManagedPrefixListEntriesCommand,
  ModifyManagedPrefixListCommand,
} from "@aws-sdk/client-ec2";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { startEc2 } from "../../../infra/local/engines/ec2/server.ts";
import { hasMoto, type Server, startMoto } from "../../../infra/local/test/support/moto.ts";
import { createPrefixLists, MAX_ENTRIES } from "../../../shared/aws/prefixLists.ts";

const NOWHERE = "pl-0123456789abcdef0";
const MINUTE = 60_000;

const backends = [
  { name: "the emulator", start: (): Promise<Server> => startEc2({ throttle: false }) },
  { name: "moto", start: startMoto },
];

describe.each(backends)("managed prefix lists, as $name has them", ({ name, start }) => {
  if (name === "moto" && !hasMoto) {
    test.skip("moto is not installed", () => {});
    return;
  }
  let server: Server;
  let client: EC2Client;
  beforeAll(async () => {
    server = await start();
    client = new EC2Client({
      ...{ endpoint: server.url, region: "us-east-1", maxAttempts: 1 },
      credentials: { accessKeyId: "local", secretAccessKey: "local" },
    });
  }, 60_000);
  afterAll(async () => {
    client?.destroy();
    await server?.stop();
  });

  let now: number;
  let isDown: boolean;
  let calls: string[];
  let recorded: Map<string, readonly string[]>;
  let isTableDown: boolean;
  let writes: number;
  let logged: string[];
  beforeEach(() => {
    now = 1_800_000_000_000;
    isDown = false;
    calls = [];
    recorded = new Map();
    isTableDown = false;
    writes = 0;
    logged = [];
  });
  const failIfDown = () => {
    if (isTableDown) throw new Error("The table is down.");
  };
  const states = {
    async readNetworks() {
      failIfDown();
      return new Map(recorded);
    },
    async writeNetwork(id: string, ranges: readonly string[]) {
      failIfDown();
      writes++;
      recorded.set(id, ranges);
    },
  };
  const line = (message: unknown, about?: { prefixList?: string }) =>
    void logged.push(`${message} (${about?.prefixList})`);
  const log = { warn: line, error: line } as never;
  /** An instance that has read nothing yet. */
  const instance = () => {
    const send = async (command: never) => {
      calls.push((command as object).constructor.name);
      if (isDown) throw new Error("Request limit exceeded.");
      return client.send(command);
    };
    const counting = Object.setPrototypeOf({ send }, EC2Client.prototype) as EC2Client;
    return createPrefixLists(counting, states, log, () => now);
  };
  const newList = async (AddressFamily: "IPv4" | "IPv6", ...cidrs: string[]) => {
    const { PrefixList } = await client.send(
      new CreateManagedPrefixListCommand({
        ...{ PrefixListName: "partners", AddressFamily, MaxEntries: Math.max(cidrs.length, 10) },
        Entries: cidrs.slice(0, 100).map((Cidr) => ({ Cidr })),
      }),
    );
    const id = String(PrefixList?.PrefixListId);
    for (let from = 100; from < cidrs.length; from += 100)
      await modify(id, from / 100, { add: cidrs.slice(from, from + 100) });
    return id;
  };
  const modify = (
    PrefixListId: string,
    CurrentVersion: number,
    { add = [], remove = [] }: { add?: string[]; remove?: string[] },
  ) =>
    client.send(
      new ModifyManagedPrefixListCommand({
        ...{ PrefixListId, CurrentVersion },
        AddEntries: add.map((Cidr) => ({ Cidr })),
        RemoveEntries: remove.map((Cidr) => ({ Cidr })),
      }),
    );
  const UNREADABLE = "A prefix list on the never-block list cannot be read";

  test("are read and recorded, those of both families", async () => {
    const v4 = await newList("IPv4", "203.0.113.0/28", "198.51.100.0/28");
    const v6 = await newList("IPv6", "2001:db8:1::/48");
    const { ranges, isCurrent } = await instance()([v4, v6]);
    expect(ranges).toEqual(
      new Map([
        [v4, ["198.51.100.0/28", "203.0.113.0/28"]],
        [v6, ["2001:db8:1::/48"]],
      ]),
    );
    expect([isCurrent, recorded, logged]).toEqual([true, ranges, []]);
  });

  test("none named: nothing is called", async () => {
    expect(await instance()([])).toEqual({ ranges: new Map(), isCurrent: true });
    expect(calls).toEqual([]);
  });

  test("are asked for once a minute, and for their entries only where they have changed", async () => {
    const id = await newList("IPv4", "203.0.113.0/28");
    const prefixLists = instance();
    const [first, again] = await Promise.all([prefixLists([id]), prefixLists([id])]);
    expect(again.ranges).toBe(first.ranges);
    now += MINUTE - 1;
    await prefixLists([id]);
    expect(calls).toEqual([
      DescribeManagedPrefixListsCommand.name,
      GetManagedPrefixListEntriesCommand.name,
    ]);
    now += 1;
    expect((await prefixLists([id])).ranges).toBe(first.ranges);
    expect(calls.slice(2)).toEqual([DescribeManagedPrefixListsCommand.name]);

    await modify(id, 1, { add: ["192.0.2.0/28"], remove: ["203.0.113.0/28"] });
    now += MINUTE;
    expect((await prefixLists([id])).ranges.get(id)).toEqual(["192.0.2.0/28"]);
    expect([writes, recorded.get(id)]).toEqual([2, ["192.0.2.0/28"]]);
  });

  test("one that is newly named is read at once, and one that is named no more is forgotten", async () => {
    const first = await newList("IPv4", "203.0.113.0/28");
    const second = await newList("IPv4", "192.0.2.0/28");
    const prefixLists = instance();
    await prefixLists([first]);
    expect((await prefixLists([second])).ranges).toEqual(new Map([[second, ["192.0.2.0/28"]]]));
  });

  test("while EC2 cannot be read, are what was read last, by whichever instance", async () => {
    const id = await newList("IPv4", "203.0.113.0/28");
    const warm = instance();
    await warm([id]);
    isDown = true;
    now += MINUTE;
    for (const prefixLists of [warm, instance()]) {
      const { ranges, isCurrent } = await prefixLists([id]);
      expect([ranges.get(id), isCurrent]).toEqual([["203.0.113.0/28"], false]);
    }
    expect(logged).toEqual([`${UNREADABLE} (${id})`, `${UNREADABLE} (${id})`]);
    isDown = false;
    now += 4_999;
    expect((await warm([id])).isCurrent).toBe(false);
    now += 1;
    expect((await warm([id])).isCurrent).toBe(true);
  });

  test("one that is deleted is what it was, and is not current", async () => {
    const id = await newList("IPv4", "203.0.113.0/28");
    const prefixLists = instance();
    await prefixLists([id]);
    await client.send(new DeleteManagedPrefixListCommand({ PrefixListId: id }));
    now += MINUTE;
    const { ranges, isCurrent } = await prefixLists([id]);
    expect([ranges.get(id), isCurrent]).toEqual([["203.0.113.0/28"], false]);
    expect(logged).toEqual([`${UNREADABLE} (${id})`]);
  });

  test("one that does not exist is an error, never an empty list; the others are read all the same", async () => {
    const id = await newList("IPv4", "203.0.113.0/28");
    const prefixLists = instance();
    await expect(prefixLists([id, NOWHERE])).rejects.toThrow(`Never read: ${NOWHERE}.`);
    expect(logged).toEqual([`${UNREADABLE} (${NOWHERE})`]);
    expect(recorded.get(id)).toEqual(["203.0.113.0/28"]);
    isTableDown = true;
    await expect(instance()([NOWHERE])).rejects.toThrow(`Never read: ${NOWHERE}.`);
  });

  test("are what they are though they cannot be recorded, which is tried again", async () => {
    const id = await newList("IPv4", "203.0.113.0/28");
    const prefixLists = instance();
    isTableDown = true;
    expect(await prefixLists([id])).toMatchObject({ isCurrent: true });
    expect(logged).toEqual([`A prefix list could not be recorded (${id})`]);
    isTableDown = false;
    now += MINUTE;
    await prefixLists([id]);
    expect(recorded.get(id)).toEqual(["203.0.113.0/28"]);
  });

  test("of a thousand entries are read, of more are not, nor more lists than ten", async () => {
    const cidrs = Array.from({ length: MAX_ENTRIES + 1 }, (_, n) => `41.0.${n >> 8}.${n & 255}/32`);
    const id = await newList("IPv4", ...cidrs.slice(0, MAX_ENTRIES));
    expect((await instance()([id])).ranges.get(id)).toEqual(cidrs.slice(0, MAX_ENTRIES).toSorted());
    const larger = await newList("IPv4", ...cidrs);
    await expect(instance()([larger])).rejects.toThrow(`Never read: ${larger}.`);
    await expect(instance()(Array.from({ length: 11 }, () => id))).rejects.toThrow("not 11");
  }, 60_000);
});
