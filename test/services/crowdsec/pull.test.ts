import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { PullError } from "../../../services/crowdsec/errors.ts";
import { createLapi } from "../../../services/crowdsec/lapi.ts";
import { pull } from "../../../services/crowdsec/pull.ts";
import { ConflictError } from "../../../shared/aws/table/items.ts";
import {
  answer,
  decision,
  type FakeLapi,
  nothing,
  RECORDED,
  startLapi,
} from "../../support/lapi.ts";
import { callerOf, createSurroundings, type Surroundings } from "./crowdsec.ts";

// Pulls from a server that answers as CrowdSec 1.4.6 was recorded to, or that fails.

const KEY = "bouncer-key";
let server: FakeLapi;
beforeAll(async () => {
  server = await startLapi();
});
afterAll(() => server.stop());

const START = 1_795_000_000_000;
let now: number;
let around: Surroundings;
const inPlace = (change: Partial<Surroundings> = {}) =>
  createSurroundings({
    lapi: createLapi(server.url, async () => KEY),
    clock: () => now,
    ...change,
  });
beforeEach(() => {
  server.answers = nothing;
  server.asked.length = 0;
  now = START;
  around = inPlace();
});

/** The next pull, a minute later. */
async function next(surroundings: Surroundings = around) {
  now += 60_000;
  return pull(surroundings, now + 45_000);
}

/** What has been sent since the last look, as short texts. */
function sent({ sent }: Surroundings = around): string[] {
  return sent.splice(0).map(({ message }) => {
    if (!("cidr" in message)) return message.kind;
    const left = message.kind === "block" ? ` ${Math.round(message.expiresAt - now / 1000)}` : "";
    return `${message.kind} ${message.cidr.text}${left}`;
  });
}
/** A ban until four hours after the beginning, whenever it is told. */
const ban = (value: string, change: object = {}) =>
  decision(value, { duration: `${START / 1000 + 4 * 3_600 - now / 1000}s`, ...change });
const startups = () => server.asked.splice(0).map(({ startup }) => startup);
const told = (...bans: [string, object?][]) => {
  server.answers = (_, response) => {
    answer(response, { new: bans.map(([value, change]) => ban(value, change)) });
    server.answers = nothing;
  };
};
const ended = (...values: string[]) => {
  server.answers = (_, response) => {
    answer(response, { deleted: values.map((value) => decision(value, { duration: "-2s" })) });
    server.answers = nothing;
  };
};

describe("a pull", () => {
  test("of the recorded answers, one after the other, queues what they say", async () => {
    const bodies = RECORDED.map(({ body }) => body);
    const recorded: FakeLapi["answers"] = (_, response) =>
      response.writeHead(200).end(bodies.shift());
    const said = [];
    for (const { when } of RECORDED) {
      if (when === "startup again") {
        server.answers = (_, response) => response.writeHead(500).end();
        await expect(pull(around, now + 45_000)).rejects.toThrow(PullError);
      }
      server.answers = recorded;
      now += 1_500;
      await pull(around, now + 45_000);
      said.push(sent());
    }
    expect(said).toEqual([
      [],
      ["block 203.0.113.9/32 14397", "block 2001:db8::5/128 14398"],
      [
        "block 203.0.113.77/32 1",
        "block 198.51.100.0/28 598",
        "block 203.0.113.78/32 598",
        "block 203.0.113.9/32 86398",
      ],
      [], // what ran out by itself needs no withdrawal
      [],
      ["withdraw 2001:db8::5/128", "withdraw 198.51.100.0/28"],
      [], // nothing that is not known, and not for longer
    ]);
    expect(startups()).toEqual(["true", ...Array(6).fill("false"), "true"]);
  });

  test("shows its key and its name, and reports in the detector's own lane", async () => {
    told(["203.0.113.9"]);
    await next();
    expect(server.asked).toEqual([{ startup: "true", key: KEY, agent: "portcullis/1" }]);
    expect(around.sent).toMatchObject([
      {
        lane: "detectors",
        message: {
          ...{ kind: "block", detector: "crowdsec", severity: 5, count: 1, reportedAt: now },
          reason: "CrowdSec crowdsecurity/ssh-bf",
        },
      },
    ]);
  });

  test("gives each message a deduplication id of its own, in each pull", async () => {
    for (const end of [false, true, false]) {
      if (end) ended("203.0.113.9");
      else told(["203.0.113.9"]);
      await next();
    }
    const ids = around.sent.map(({ deduplicationId }) => deduplicationId);
    expect(new Set(ids).size).toBe(3);
    for (const id of ids) expect(id).toMatch(/^[\x21-\x7e]{1,128}$/);
  });

  test("heeds the origins that it is told to, and no captcha, country or simulated decision", async () => {
    told(
      ["203.0.113.1", { origin: "CAPI" }],
      ["203.0.113.2", { origin: "lists" }],
      ["203.0.113.3", { type: "captcha" }],
      ["FR", { scope: "Country" }],
      ["203.0.113.4", { simulated: true }],
      ["203.0.113.5", { origin: "cscli" }],
    );
    await next();
    expect(sent()).toEqual(["block 203.0.113.5/32 14340"]);
  });

  test("passes over what it may not report or does not understand, and says so", async () => {
    told(
      ["203.0.113.0/20"],
      ["fe80::%eth0"],
      ["203.0.113.7", { duration: "soon" }],
      ["203.0.113.8", { scenario: "a\nb" }],
    );
    await next();
    expect(around.sent).toMatchObject([{ message: { reason: "CrowdSec a b" } }]);
    const counts = { tooWide: 1, notAddresses: 1, notUnderstood: 1 };
    expect(around.logged).toContainEqual([
      "Passed over decisions",
      expect.objectContaining(counts),
    ]);
  });

  test("lasts no longer than the caller may, and is renewed before it ends", async () => {
    around = inPlace({
      callers: async () => new Map([["crowdsec", callerOf({ longest: 8 * 3_600 })]]),
    });
    server.answers = (_, response) =>
      answer(response, { new: [decision("203.0.113.9", { duration: `${1e12}h` })] });
    await next();
    expect(sent()).toEqual(["block 203.0.113.9/32 28800"]);
    server.answers = (asked, response) =>
      asked.startup === "true"
        ? answer(response, { new: [decision("203.0.113.9", { duration: `${1e12}h` })] })
        : answer(response);
    const renewed = [];
    for (let minutes = 0; minutes < 7 * 60; minutes++) {
      await next();
      renewed.push(...sent());
    }
    expect(renewed).toEqual(["block 203.0.113.9/32 28800"]);
  });
});

describe("what CrowdSec no longer wants", () => {
  test("is withdrawn once, however often it is told", async () => {
    told(["203.0.113.9"]);
    await next();
    sent();
    for (let time = 0; time < 3; time++) {
      ended("203.0.113.9");
      await next();
    }
    expect(sent()).toEqual(["withdraw 203.0.113.9/32"]);
  });

  test("and wants again in the same breath stands, for as long as it says now", async () => {
    told(["203.0.113.9"]);
    await next();
    sent();
    server.answers = (_, response) =>
      answer(response, {
        deleted: [decision("203.0.113.9", { duration: "-2s" })],
        new: [decision("203.0.113.9", { duration: "1h" })],
      });
    await next();
    const [withdrawal, block] = around.sent.map(({ message }) => message);
    expect(withdrawal).toMatchObject({ kind: "withdraw", withdrawnAt: now - 1 });
    expect(block).toMatchObject({ kind: "block", reportedAt: now });
  });

  test("is withdrawn though it was deleted while nobody asked", async () => {
    told(["203.0.113.9"], ["203.0.113.10"]);
    await next();
    sent();
    now += 7_200_000;
    told(["203.0.113.10"]);
    await next();
    expect(startups()).toEqual(["true", "true"]);
    expect(sent()).toEqual(["withdraw 203.0.113.9/32"]);
  });

  test("as its time has run out, by a clock that is ahead, is no withdrawal: its block may last longer", async () => {
    told(["203.0.113.9", { duration: "65s" }]);
    await next();
    sent();
    ended("203.0.113.9");
    await next();
    expect(sent()).toEqual([]);
  });

  test("is let alone where it never was reported", async () => {
    await next();
    ended("203.0.113.9");
    await next();
    expect(sent()).toEqual([]);
  });

  test("for so long, by hand, is shortened", async () => {
    told(["203.0.113.9", { duration: "24h" }]);
    await next();
    sent();
    now += 3_600_000;
    told(["203.0.113.9", { duration: "3h" }]);
    await next();
    expect(sent()).toEqual(["withdraw 203.0.113.9/32", "block 203.0.113.9/32 10800"]);
  });

  test("stands while an origin that is not heeded wants it", async () => {
    told(["203.0.113.9"]);
    await next();
    sent();
    now += 3_600_000;
    told(["203.0.113.9", { origin: "CAPI", duration: "100h" }]);
    await next();
    expect(sent()).toEqual([]);
  });

  test("but an operator has unblocked is not reported again by a pull of everything", async () => {
    told(["203.0.113.9"]);
    await next();
    sent();
    now += 3_600_000;
    told(["203.0.113.9"]);
    await next();
    expect(startups()).toEqual(["true", "true"]);
    expect(sent()).toEqual([]);
  });
});

describe("a pull that dies", () => {
  const dying = () => new Promise<never>(() => {});

  test("between the answer and the queue has lost nothing: the next one asks for everything", async () => {
    await next();
    startups();
    told(["203.0.113.9"]);
    const dead = pull({ ...around, queue: { sendAll: dying } }, now + 45_000);
    await expect(Promise.race([dead, reached(1)])).resolves.toBe("asked");
    told(["203.0.113.9"]); // all that it wants, as it has told it already
    await next();
    expect(startups()).toEqual(["false", "true"]);
    expect(sent()).toEqual(["block 203.0.113.9/32 14280"]);
    await next();
    expect(startups()).toEqual(["false"]);
  });

  test("before it has withdrawn has lost nothing either", async () => {
    told(["203.0.113.9"]);
    await next();
    sent();
    ended("203.0.113.9");
    now += 60_000;
    void pull({ ...around, queue: { sendAll: dying } }, now + 45_000);
    await reached(2);
    await next(); // CrowdSec wants nothing
    expect(sent()).toEqual(["withdraw 203.0.113.9/32"]);
  });

  test("keeps the next one waiting no longer than its own time", async () => {
    void pull({ ...around, queue: { sendAll: dying } }, now + 45_000);
    await reached(1);
    server.answers = nothing;
    const queue = { sendAll: dying };
    told(["203.0.113.9"]);
    now += 46_000;
    void pull({ ...around, queue }, now + 45_000);
    await reached(2);
    now += 44_000;
    await expect(pull(around, now + 45_000)).rejects.toThrow(ConflictError);
    now += 1_000;
    told(["203.0.113.9"]);
    await pull(around, now + 45_000);
    expect(sent()).toHaveLength(1);
  });

  /** Waits until the server has been asked so often, and a while for what follows. */
  async function reached(times: number): Promise<string> {
    const { pulls } = around;
    while (server.asked.length < times) await new Promise((go) => setTimeout(go, 5));
    await pulls.reported(now);
    await new Promise((go) => setTimeout(go, 50));
    return "asked";
  }
});

describe("a queue that takes some", () => {
  test("fails the pull, and the next one says all of it again", async () => {
    told(["203.0.113.9"], ["203.0.113.10"]);
    const queue = {
      sendAll: async (entries: readonly unknown[]) => entries.map((_, index) => index > 0),
    };
    await expect(next({ ...around, queue })).rejects.toThrow("did not take 1 of 2 messages");
    told(["203.0.113.9"], ["203.0.113.10"]);
    await next();
    expect(startups()).toEqual(["true", "true"]);
    expect(sent()).toHaveLength(2);
  });
});

describe("more than the caller may report", () => {
  const many = (count: number) =>
    Array.from({ length: count }, (_, n): [string] => [`198.51.${n >> 8}.${n & 255}`]);
  const limited = (limits: Parameters<typeof callerOf>[0], change: Partial<Surroundings> = {}) =>
    inPlace({ callers: async () => new Map([["crowdsec", callerOf(limits)]]), ...change });

  test("comes minute by minute, and all of it comes", async () => {
    around = limited({ addressesPerMinute: 400 });
    const whole = many(1_000);
    server.answers = (asked, response) =>
      answer(response, asked.startup === "true" ? { new: whole.map(([one]) => ban(one)) } : {});
    const counts = [];
    for (let minute = 0; minute < 5; minute++) {
      const { left } = await next();
      counts.push([sent().length, left]);
    }
    expect(counts).toEqual([
      [400, 600],
      [400, 200],
      [200, 0],
      [0, 0],
      [0, 0],
    ]);
    expect(startups()).toEqual(["true", "true", "true", "false", "false"]);
    expect(around.logged).toContainEqual([
      "Left decisions to the next pull",
      { left: 600, granted: 400 },
    ]);
  });

  test("or may have in force waits until there is room", async () => {
    let own = 8;
    around = limited(
      { outstanding: 10 },
      { outstanding: { read: async () => ({ own, all: own }) } },
    );
    const whole = many(5);
    server.answers = (asked, response) =>
      answer(response, asked.startup === "true" ? { new: whole.map(([one]) => ban(one)) } : {});
    expect(await next()).toMatchObject({ reported: 2, left: 3 });
    own = 10;
    expect(await next()).toMatchObject({ reported: 0, left: 3 });
    expect(startups()).toEqual(["true", "true"]);
    own = 4;
    expect(await next()).toMatchObject({ reported: 3, left: 0 });
  });

  test("or than the list holds does not fill it", async () => {
    around = limited({}, { blockLimit: 3 });
    told(...many(5));
    expect(await next()).toMatchObject({ reported: 3, left: 2 });
  });

  test("withdrawals cost nothing", async () => {
    around = limited({ addressesPerMinute: 2 });
    told(...many(2));
    await next();
    sent();
    ended(...many(2).map(([one]) => one));
    expect(await next()).toEqual({ reported: 0, withdrawn: 2, left: 0 });
  });
});

describe("a pull fails in one sentence, and tells CrowdSec's key to nobody,", () => {
  type Answers = FakeLapi["answers"];
  const status =
    (code: number, headers = {}): Answers =>
    (_, response) =>
      response.writeHead(code, headers).end("{}");
  test.each<[string, Answers, string]>([
    ["where the key is refused", status(403), "refuses the key (403)"],
    ["where it is redirected", status(302, { location: "/v1/decisions" }), "redirects (302)"],
    ["of an error", status(500), "answers 500"],
    ["of nothing", (_, response) => response.destroy(), "cannot be reached"],
    ["of no JSON", (_, response) => response.end("<html>"), "answers what is no JSON"],
    [
      "of another JSON",
      (_, response) => response.end("{}"),
      "not understood: new was looked for and not found.",
    ],
    [
      "of half an answer",
      (_, response) => {
        response.writeHead(200, { "content-length": 1_000 }).write("{");
        setTimeout(() => response.destroy(), 50);
      },
      "cannot be reached",
    ],
    [
      "of an answer without an end",
      (_, response) => {
        const more = () => {
          while (!response.destroyed && response.write(" ".repeat(1 << 20)));
        };
        response.on("drain", more);
        more();
      },
      "more than 33554432 bytes",
    ],
  ])("%s", async (_what, answers, sentence) => {
    server.answers = answers;
    const failure = await next().catch((error) => error);
    expect(failure).toBeInstanceOf(PullError);
    expect(failure.message).toContain(sentence);
    expect(JSON.stringify([failure, failure.message, around.logged])).not.toContain(KEY);
    expect(around.sent).toEqual([]);
    // And the next one asks for everything.
    server.answers = nothing;
    startups();
    await next();
    expect(startups()).toEqual(["true"]);
  });

  test.each(["", "two\nlines", "ключ"])("with the key %j", async (key) => {
    around = inPlace({ lapi: createLapi(server.url, async () => key) });
    await expect(next()).rejects.toThrow("The parameter holds no bouncer's key.");
    expect(server.asked).toEqual([]);
  });

  test("where the key cannot be read", async () => {
    const gone = () => Promise.reject(new Error("ParameterNotFound"));
    around = inPlace({ lapi: createLapi(server.url, gone) });
    await expect(next()).rejects.toThrow("cannot be read from its parameter");
  });

  test.each<[string, Map<string, ReturnType<typeof callerOf>>]>([
    ["no caller of its name", new Map()],
    ["a caller that only reads", new Map([["crowdsec", callerOf({}, { role: "reader" })]])],
  ])("and asks nobody, where there is %s", async (_what, callers) => {
    around = inPlace({ callers: async () => callers });
    await expect(next()).rejects.toThrow("There is no caller crowdsec");
    expect(server.asked).toEqual([]);
  });
});
