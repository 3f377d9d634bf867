import { describe, expect, test } from "@jest/globals";
import { countKnocks, createExtend, type FlowLogs } from "../../../services/flow-logs/knocks.ts";
import type { Outgoing } from "../../../shared/aws/queue.ts";
import { type Block, withdrawn } from "../../../shared/domain/block.ts";
import { newTargetState, type TargetState } from "../../../shared/targets/state.ts";
import { blockOf } from "../../support/blocks.ts";
import { record } from "../../support/flowLogs.ts";
import { NOW } from "../../support/reports.ts";

const EXTENSION = 3_600;

/** The state of an ACL that denies these ranges. */
const denying = (...cidrs: string[]): TargetState => ({
  ...newTargetState("networkAcl"),
  record: {
    slots: {
      ingress: Object.fromEntries(cidrs.map((cidr, n) => [n + 1, { cidr, confirmedAt: NOW }])),
      egress: {},
    },
  },
});

function start(states: Readonly<Record<string, TargetState>>, blocks?: readonly Block[]) {
  const sent: Outgoing[] = [];
  const logged: [string, object][] = [];
  const log = (what: string, more: object) => void logged.push([what, more]);
  const table = {
    readBlocks: async (cidrs: readonly string[]) =>
      (blocks ?? []).filter(({ cidr }) => cidrs.includes(cidr.text)),
  };
  const queue = {
    async sendAll(entries: readonly Outgoing[]) {
      sent.push(...entries);
      return entries.map(() => true);
    },
  };
  const flowLogs: FlowLogs = {
    aclIds: Object.keys(states),
    states: { read: async (id) => states[id] ?? newTargetState("networkAcl") },
    log: { info: log, warn: log } as never,
    ...(blocks && { extend: createExtend(table, queue, EXTENSION, { error: log } as never) }),
  };
  return {
    logged,
    /** What was extended, and until when from now on. */
    extended: () =>
      sent
        .splice(0)
        .map(({ message }) =>
          message.kind === "block" ? [message.cidr.text, message.expiresAt - NOW / 1000] : [],
        ),
    sent,
    knocks: (lines: readonly string[], now = NOW) => countKnocks(lines, flowLogs, now),
  };
}

describe("a knock", () => {
  test("is a packet that was rejected of an address that an ACL of ours denies", async () => {
    const { knocks, logged } = start({
      "acl-1": denying("203.0.113.9/32", "2001:db8::/64"),
      "acl-2": denying("198.51.100.0/28"),
    });
    const packets = await knocks([
      record("203.0.113.9", { packets: 3 }),
      record("198.51.100.7", { packets: 5 }),
      record("2001:db8::77", { packets: 2 }),
      record("203.0.113.10", { packets: 100 }), // stopped by somebody else
      record("10.0.0.5", { packets: 100 }), // our own, on its way out
      record("203.0.113.9", { action: "ACCEPT" }),
    ]);
    expect(packets).toBe(10);
    expect(logged).toEqual([
      [
        "Blocked addresses still knock",
        {
          ...{ packets: 10, sources: 3 },
          most: [
            { cidr: "198.51.100.7/32", packets: 5 },
            { cidr: "203.0.113.9/32", packets: 3 },
            { cidr: "2001:db8::77/128", packets: 2 },
          ],
        },
      ],
    ]);
  });

  test.each(["monitor", "off"] as const)(
    "is none in the mode %s: nothing is denied",
    async (mode) => {
      const { knocks } = start({ "acl-1": { ...denying("203.0.113.9/32"), mode } });
      expect(await knocks([record("203.0.113.9")])).toBe(0);
    },
  );

  test("of a thousand addresses names ten", async () => {
    const { knocks, logged } = start({ "acl-1": denying("203.0.112.0/22") });
    const lines = Array.from({ length: 1_000 }, (_, n) =>
      record(`203.0.${112 + (n >> 8)}.${n & 255}`),
    );
    expect(await knocks(lines)).toBe(1_000);
    expect(logged).toMatchObject([["Blocked addresses still knock", { most: { length: 10 } }]]);
  });

  test("in another format is not understood, and that is said", async () => {
    const { knocks, logged } = start({ "acl-1": denying("203.0.113.9/32") });
    expect(await knocks(["203.0.113.9 REJECT"])).toBe(0);
    expect(logged).toMatchObject([
      [expect.stringContaining("default format"), { notUnderstood: 1 }],
    ]);
  });
});

describe("where a knock extends", () => {
  const acls = { "acl-1": denying("203.0.113.0/24") };

  test("the block that covers it lasts longer, whatever entry denies it", async () => {
    const blocks = [
      blockOf("203.0.113.9/32", { seconds: 60 }),
      blockOf("203.0.113.64/26", { seconds: 60 }),
    ];
    const { knocks, extended, sent } = start(acls, blocks);
    await knocks([record("203.0.113.9"), record("203.0.113.77"), record("203.0.113.10")]);
    expect(sent).toMatchObject([
      { lane: "detectors", message: { detector: "flow-logs", count: 0, severity: 1, reason: "" } },
      {},
    ]);
    expect(extended()).toEqual([
      ["203.0.113.9/32", EXTENSION],
      ["203.0.113.64/26", EXTENSION],
    ]);
  });

  test("one that lasts for long enough is let alone", async () => {
    const { knocks, extended } = start(acls, [
      blockOf("203.0.113.9/32", { seconds: EXTENSION / 2 }),
    ]);
    await knocks([record("203.0.113.9")]);
    expect(extended()).toEqual([]);
  });

  test("one that its detectors have taken back is not held", async () => {
    const block = blockOf("203.0.113.9/32", { seconds: 60 });
    const [name = ""] = Object.keys(block.reports);
    const ending = withdrawn(
      block,
      name,
      { withdrawnAt: NOW, until: NOW / 1000 + 30 },
      { threshold: 0 },
    );
    const { knocks, extended } = start(acls, [ending]);
    await knocks([record("203.0.113.9")]);
    expect(extended()).toEqual([]);
  });

  test("one that is wider than a detector may report is let alone", async () => {
    const { knocks, extended } = start({ "acl-1": denying("203.0.0.0/16") }, [
      blockOf("203.0.0.0/16", { seconds: 60 }),
    ]);
    await knocks([record("203.0.113.9")]);
    expect(extended()).toEqual([]);
  });

  test("the same within five minutes folds in the queue", async () => {
    const { knocks, sent } = start(acls, [blockOf("203.0.113.9/32", { seconds: 60 })]);
    for (const later of [0, 1_000, 600_000]) await knocks([record("203.0.113.9")], NOW + later);
    const ids = sent.map(({ deduplicationId }) => deduplicationId);
    expect(ids[0]).toBe(ids[1]);
    expect(ids[2]).not.toBe(ids[0]);
  });

  test("fifty addresses at a time are looked for", async () => {
    const blocks = Array.from({ length: 60 }, (_, n) =>
      blockOf(`203.0.113.${n}/32`, { seconds: 60 }),
    );
    const { knocks, extended } = start(acls, blocks);
    await knocks(blocks.map(({ cidr }) => record(cidr.text.replace("/32", ""))));
    expect(extended()).toHaveLength(50);
  });
});
