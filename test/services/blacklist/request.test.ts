import { beforeEach, describe, expect, test } from "@jest/globals";
import { bearer, startEndpoint } from "../../support/endpoint.ts";
import { NOW } from "../../support/reports.ts";
import { callerListOf, DETECTOR_TOKEN } from "../../support/tokens.ts";

let endpoint: ReturnType<typeof startEndpoint>;
beforeEach(() => {
  endpoint = startEndpoint();
});

/** Sends the parameters once in the query string and once in the body. */
async function bothWays(parameters: Record<string, string>) {
  const query = new URLSearchParams(parameters);
  const headers = bearer(DETECTOR_TOKEN);
  return [
    await endpoint.call("GET", `/blacklistip?${query}`, { headers }),
    await endpoint.report(parameters),
  ];
}

const badRequest = (code: string) => ({
  status: 400,
  body: { error: { code, message: expect.stringMatching(/^[^\n]+\.$/) } },
});

async function expectRefused(parameters: Record<string, string>, code: string): Promise<void> {
  for (const answer of await bothWays(parameters)) expect(answer).toMatchObject(badRequest(code));
  expect(endpoint.messages()).toEqual([]);
}

const IP = "203.0.113.9";

describe("ip", () => {
  test.each([
    ["is missing", {}],
    ["is empty", { ip: "" }],
    ["is a name", { ip: "attacker.example" }],
    ["is a JavaScript value", { ip: "undefined" }],
    ["has a zero-padded octet", { ip: "203.0.113.009" }],
    ["has octets that look octal", { ip: "0313.0.0161.011" }],
    ["has a hexadecimal octet", { ip: "0xcb.0.113.9" }],
    ["is one number", { ip: "3405803785" }],
    ["has three octets", { ip: "203.0.113" }],
    ["has a port", { ip: "203.0.113.9:443" }],
    ["has a zone id", { ip: "fe80::1%eth0" }],
    ["is global and has a zone id", { ip: "2001:db8::1%1" }],
    ["has white space", { ip: " 203.0.113.9" }],
    ["has a line break", { ip: "203.0.113.9\n" }],
    ["is two addresses", { ip: "203.0.113.9,203.0.113.10" }],
    ["has a prefix that is too long", { ip: "203.0.113.9/33" }],
    ["has an empty prefix", { ip: "203.0.113.9/" }],
  ])("is refused where it %s", async (_what, parameters: Record<string, string>) => {
    await expectRefused(parameters, "invalid_ip");
  });

  test.each([42, 3_405_803_785, true, null, [IP], { address: IP }])(
    "is refused as %j",
    async (ip) => {
      expect(await endpoint.report({ ip })).toMatchObject(badRequest("invalid_ip"));
    },
  );

  test.each([
    "0.0.0.0/0",
    "203.0.0.0/15",
    "203.0.113.9/8",
    "::/0",
    "203.0.112.0/23",
    "2001:db8::/31",
    "2001:db8::/55",
    "::ffff:0:0/96",
  ])("is refused where it is as wide as %s", async (ip) => {
    await expectRefused({ ip }, "range_too_wide");
  });

  test.each([
    ["203.0.113.9", "203.0.113.9/32", 4],
    ["203.0.113.9/24", "203.0.113.0/24", 4],

    ["::ffff:203.0.113.9", "203.0.113.9/32", 4],
    ["::ffff:cb00:7109/120", "203.0.113.0/24", 4],
    ["2001:DB8::0009", "2001:db8::9/128", 6],
    ["2001:db8:1:2::/64", "2001:db8:1:2::/64", 6],
    ["2001:db8::/56", "2001:db8::/56", 6],
  ])("%s is queued as %s", async (ip, cidr, family) => {
    for (const answer of await bothWays({ ip })) {
      expect(answer).toMatchObject({ status: 202, body: { cidr } });
    }
    expect(endpoint.queue.sent[0]?.message).toMatchObject({ cidr: { text: cidr, family } });
  });
});

const NOT_WHOLE = [
  "",
  " ",
  "-1",
  "+60",
  "60.0",
  "1.5",
  "1e3",
  "0x3c",
  "60s",
  "NaN",
  "Infinity",
  "٦٠",
];
const HUGE = ["2592001", "999999999999999", "9999999999999999", "1".repeat(400)];

describe("expiryTime", () => {
  test.each(["0", ...NOT_WHOLE, ...HUGE])("is refused as the text %j", async (expiryTime) => {
    await expectRefused({ ip: IP, expiryTime }, "invalid_expiry");
  });

  test.each([0, -0, -1, 0.5, 60.5, 2_592_001, 1e300, true, null, [60], { seconds: 60 }])(
    "is refused as %j",
    async (expiryTime) => {
      const answer = await endpoint.report({ ip: IP, expiryTime });
      expect(answer).toMatchObject(badRequest("invalid_expiry"));
    },
  );

  test("is refused where the number is beyond all numbers", async () => {
    const answer = await endpoint.call("POST", "/blacklistip", {
      headers: { ...bearer(DETECTOR_TOKEN), "content-type": "application/json" },
      body: `{"ip":"${IP}","expiryTime":1e999}`,
    });
    expect(answer).toMatchObject(badRequest("invalid_expiry"));
  });

  test.each([1, 60, 2_592_000])("is taken as %d, as text and as a number", async (seconds) => {
    endpoint = startEndpoint({ callerList: () => callerListOf({ longest: 2_592_000 }) });
    const expected = { status: 202, body: { expiresAt: NOW / 1000 + seconds } };
    for (const answer of await bothWays({ ip: IP, expiryTime: String(seconds) })) {
      expect(answer).toMatchObject(expected);
    }
    expect(await endpoint.report({ ip: IP, expiryTime: seconds })).toMatchObject(expected);
  });

  test("is the configured one where it is left out", async () => {
    expect((await endpoint.report({ ip: IP })).body.expiresAt).toBe(NOW / 1000 + 3_600);
  });
});

describe("severity", () => {
  test.each(["0", "11", ...NOT_WHOLE, ...HUGE])("is refused as the text %j", async (severity) => {
    await expectRefused({ ip: IP, severity }, "invalid_severity");
  });

  test.each([0, 11, 5.5, "high", true, null])("is refused as %j", async (severity) => {
    const answer = await endpoint.report({ ip: IP, severity });
    expect(answer).toMatchObject(badRequest("invalid_severity"));
  });

  test.each([1, 10])("is taken as %d", async (severity) => {
    await endpoint.report({ ip: IP, severity });
    expect(endpoint.messages()).toMatchObject([{ severity }]);
  });
});

describe("reason", () => {
  const reasonOf = async (reason: unknown) => {
    expect(await endpoint.report({ ip: IP, reason })).toMatchObject({ status: 202 });
    const [message] = endpoint.messages();
    return message?.kind === "block" && message.reason;
  };

  test.each([42, true, ["port scan"], { rule: "port scan" }])(
    "is refused as %j",
    async (reason) => {
      const answer = await endpoint.report({ ip: IP, reason });
      expect(answer).toMatchObject(badRequest("invalid_reason"));
    },
  );

  test("is empty where it is null", async () => {
    expect(await reasonOf(null)).toBe("");
  });

  test("is cut where it is long: a talkative detector must not lose its block", async () => {
    expect(await reasonOf("x".repeat(100_000))).toBe("x".repeat(256));
  });

  test("becomes one line of text that shows what it is", async () => {
    expect(await reasonOf(" port\r\nscan\t\0of\u2028the \u202enight\u001b[31m ")).toBe(
      "port scan of the  night [31m",
    );
  });

  test("keeps the letters of every language", async () => {
    expect(await reasonOf("Angriff über ßh, 攻撃 🔥")).toBe("Angriff über ßh, 攻撃 🔥");
  });

  test("is well-formed text: half a character, sent or left by the cut, cannot be stored", async () => {
    const reason = await reasonOf(`\ud83d${"x".repeat(253)}🔥🔥`);
    expect(String(reason).isWellFormed()).toBe(true);
    expect(reason).toContain("x".repeat(253));
  });
});

describe("a parameter that is given twice", () => {
  test.each(["ip", "expiryTime", "severity", "reason", "accessToken"])(
    "%s is refused: which one is meant?",
    async (name) => {
      const query = `ip=${IP}&${name}=60&${name}=60`;
      const answer = await endpoint.call("GET", `/blacklistip?${query}`, {
        headers: bearer(DETECTOR_TOKEN),
      });
      expect(answer).toMatchObject(badRequest("duplicate_parameter"));
      expect(answer.body.error.message).toContain(name);
    },
  );

  test("is refused where query string and body differ", async () => {
    const answer = await endpoint.call("POST", `/blacklistip?ip=${IP}`, {
      headers: { ...bearer(DETECTOR_TOKEN), "content-type": "application/json" },
      body: { ip: "203.0.113.10" },
    });
    expect(answer).toMatchObject(badRequest("duplicate_parameter"));
    expect(endpoint.messages()).toEqual([]);
  });

  test("is taken where query string and body say the same", async () => {
    const answer = await endpoint.call("POST", `/blacklistip?ip=${IP}`, {
      headers: { ...bearer(DETECTOR_TOKEN), "content-type": "application/json" },
      body: { ip: IP },
    });
    expect(answer).toMatchObject({ status: 202 });
  });
});

test("parameters that nobody knows are passed over", async () => {
  const answer = await endpoint.report({ ip: IP, rule: { id: 7 }, __proto__: { ip: "10.0.0.1" } });
  expect(answer).toMatchObject({ status: 202, body: { cidr: `${IP}/32` } });
});
