import type { APIGatewayProxyEventV2 } from "aws-lambda";
import fc from "fast-check";
import { CALLER, HOLDERS, UNKNOWN_TOKEN } from "./holders.ts";

// Requests as the internet sends them: most of them nearly right, so that they get far.

const byte = fc.integer({ min: 0, max: 255 });
const hextet = fc.integer({ min: 0, max: 0xffff });
const four = fc.tuple(byte, byte, byte, byte).map((bytes) => bytes.join("."));
const publicFour = fc
  .tuple(fc.integer({ min: 20, max: 99 }), byte, byte, byte)
  .map((b) => b.join("."));
const six = fc.array(hextet, { minLength: 8, maxLength: 8 }).map((h) => h.map(hex).join(":"));
const publicSix = fc
  .tuple(fc.integer({ min: 0x2000, max: 0x3fff }), hextet, hextet)
  .map(([a, b, c]) => `${hex(a)}:${hex(b)}::${hex(c)}`);
const hex = (value: number) => value.toString(16);
const prefix = fc.integer({ min: -1, max: 130 });

/** The embeddings of an IPv4 address in IPv6. */
const embedded = fc
  .tuple(fc.constantFrom("::ffff:", "::", "64:ff9b::", "2002:", "::ffff:0:", "2001:0:"), four)
  .map(([begin, address]) => `${begin}${address}`);
const special = fc.constantFrom(
  ...["0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.5.4"],
  ...["192.168.1.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "192.0.0.1", "45.10.7.7"],
  ...["::", "::1", "fe80::1", "fd00::1", "ff02::1", "64:ff9b::1", "2600:1f18::5", "8000::1"],
  ...["9.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0", "::/0", "45.0.0.0/8", "2600::/16", "45.10.0.0/17"],
);
/** Spellings that one parser or another takes for an address. */
const odd = fc.oneof(
  fc.constantFrom(
    ...["0177.0.0.1", "0x7f.0.0.1", "2130706433", "127.1", "1.2.3", "01.02.03.04", "1.2.3.4.5"],
    ...["256.1.1.1", "[2600::1]", "fe80::1%eth0", "1.2.3.4:80", "1.2.3.4,5.6.7.8", "1.2.3.4/"],
    ...["1.2.3.4/08", "1.2.3.4/ 8", "1.2.3.4/-1", "1.2.3.4/24/24", "::1::", "1.2.3.4%00", ""],
    ...[
      "%31.2.3.4",
      "%2531.2.3.4",
      "\u0000",
      "1.2.3.4\u0000",
      "１.2.3.4",
      " 1.2.3.4 ",
      "1.2.3.4\n",
    ],
    ...["localhost", "example.com", "-1.2.3.4", "1e3.2.3.4", "::ffff:1.2.3.4/95", "1.2.3.4\u200b"],
  ),
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.tuple(four, fc.string({ maxLength: 3 })).map((parts) => parts.join("")),
  fc.constant("1".repeat(10_000)),
);
/** One character too many. */
const spoilt = fc
  .tuple(
    publicFour,
    fc.nat(15),
    fc.constantFrom("\u0000", "\n", " ", "%", "/", ":", ".", "0", "\ud800"),
  )
  .map(([address, at, extra]) => address.slice(0, at) + extra + address.slice(at));
const ranged = fc
  .tuple(fc.oneof(four, publicFour, six, publicSix, embedded), prefix)
  .map((p) => p.join("/"));
const address = fc.oneof(
  { weight: 6, arbitrary: publicFour },
  { weight: 3, arbitrary: publicSix },
  { weight: 3, arbitrary: ranged },
  { weight: 2, arbitrary: fc.oneof(four, six, embedded) },
  { weight: 2, arbitrary: special },
  { weight: 3, arbitrary: odd },
  { weight: 2, arbitrary: spoilt },
  { weight: 1, arbitrary: fc.constantFrom(CALLER, `${CALLER}/24`, `::ffff:${CALLER}`) },
);

/** What JSON can hold where something else is expected. */
const anyJson = fc.oneof(
  fc.constantFrom(null, true, false, 0, -1, 1.5, 1e300, "", [], {}, [null], { ip: "1.2.3.4" }),
  fc.jsonValue({ maxDepth: 3 }),
);
/** Mostly the one; now and then anything. */
const mostly = <T>(arbitrary: fc.Arbitrary<T>, others: fc.Arbitrary<unknown> = anyJson) =>
  fc.oneof({ weight: 9, arbitrary }, { weight: 1, arbitrary: others });

const number = (max: number) =>
  fc.oneof(fc.integer({ min: 1, max }), fc.integer({ min: 1, max }).map(String));
const blockFields = fc.record(
  {
    ip: mostly(address),
    expiryTime: mostly(number(86_400)),
    severity: mostly(number(10)),
    reason: mostly(fc.string({ unit: "binary", maxLength: 300 })),
    __proto__: anyJson,
    constructor: anyJson,
    IP: anyJson,
  },
  { requiredKeys: ["ip"] },
);
const bulkFields = fc.record(
  {
    ips: mostly(fc.array(mostly(address), { maxLength: 12 })),
    severity: mostly(number(10)),
    expiryTime: mostly(number(86_400)),
    ip: address,
  },
  { requiredKeys: ["ips"] },
);
const unblockFields = fc.record({ ip: address, hold: fc.oneof(number(86_400), anyJson) });
const listFields = fc.record(
  {
    limit: fc.oneof(number(200), anyJson),
    next: fc.oneof(fc.constantFrom("NA", "Ng"), fc.string()),
  },
  { requiredKeys: [] },
);
const undoFields = fc.record(
  {
    detector: mostly(fc.constantFrom("suricata", "probe", "nobody")),
    since: mostly(
      fc.oneof(
        fc.integer({ min: 0, max: 1_800_000_000 }).map(String),
        fc.constantFrom("2027-01-01T00:00:00Z", "2027-01-01T00:00:00.5+01:00", "2027-01-01", "now"),
      ),
    ),
  },
  { requiredKeys: [] },
);
const modeFields = fc.record({
  mode: mostly(fc.constantFrom("enforce", "monitor", "off", "default", "OFF")),
});
const tooMany = fc.constant({ ips: Array.from({ length: 101 }, (_, n) => `45.0.0.${n}`) });

/** Whose credential it is: mostly a plain detector's. */
const holder = fc.oneof(
  { weight: 6, arbitrary: fc.constant("suricata") },
  { weight: 3, arbitrary: fc.constant("night-shift") },
  { weight: 2, arbitrary: fc.constant("probe") },
  { weight: 2, arbitrary: fc.constantFrom(...Object.keys(HOLDERS)) },
);

/** Where the token is, and in what shape. */
const token = fc.record({
  value: fc.oneof(
    { weight: 12, arbitrary: holder.map((name): string | undefined => HOLDERS[name]?.token) },
    { weight: 1, arbitrary: fc.constantFrom(UNKNOWN_TOKEN, "", undefined) },
  ),
  place: fc.oneof(
    { weight: 8, arbitrary: fc.constant("header") },
    { weight: 1, arbitrary: fc.constantFrom("query", "body", "everywhere", "nowhere") },
  ),
  scheme: fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom("Bearer ", "bearer ", "BEARER   ") },
    { weight: 1, arbitrary: fc.constantFrom("", "Basic ", "Bearer", "Bearer\t", "Bearer  x ") },
  ),
});

/** How a request is signed, if it is. */
export type Signing = {
  readonly name: string;
  /** Whose key signs. */
  readonly by: string;
  /** The signer's clock against the endpoint's, in seconds. */
  readonly offSeconds: number;
  /** Something that happens to the request, or to its signature, on its way. */
  readonly spoil: "nothing" | "url" | "body" | "signature" | "timestamp" | "name" | "garbage";
};

const clockOff = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: -290, max: 290 }) },
  { weight: 2, arbitrary: fc.constantFrom(-301, -300, 300, 301) },
  { weight: 1, arbitrary: fc.integer() },
);

const signing: fc.Arbitrary<Signing> = fc
  .record({
    name: holder,
    other: fc.oneof(
      { weight: 8, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: holder },
    ),
    offSeconds: clockOff,
    spoil: fc.oneof(
      { weight: 12, arbitrary: fc.constant("nothing" as const) },
      {
        weight: 3,
        arbitrary: fc.constantFrom<Signing["spoil"][]>(
          ...(["url", "body", "signature", "timestamp", "name", "garbage"] as const),
        ),
      },
    ),
  })
  .map(({ name, other, offSeconds, spoil }) => ({ name, by: other ?? name, offSeconds, spoil }));

/** How much later the endpoint's clock is than at the request before, in milliseconds. */
const passing = fc.oneof(
  { weight: 60, arbitrary: fc.integer({ min: 0, max: 50 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 5_000 }) },
  { weight: 1, arbitrary: fc.constantFrom(-2_000, 59_999, 60_000, 70_000) },
);

const contentType = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.constantFrom("application/json", "application/json; charset=utf-8"),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom("APPLICATION/JSON ; charset=UTF-8", "application/x+json"),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom("text/plain", "", "application/x-www-form-urlencoded", "*/*"),
  },
  { weight: 1, arbitrary: fc.constant(undefined) },
);

/** How a body is written down. */
const writing = fc.oneof(
  { weight: 14, arbitrary: fc.constant((json: string) => json) },
  {
    weight: 2,
    arbitrary: fc.constantFrom<((json: string) => string)[]>(
      (json) => json.slice(0, -1),
      (json) => `\ufeff${json}`,
      (json) => json.replace("{", '{"ip":"45.1.1.1",'),
      (json) => JSON.stringify(json),
      (json) => `[${json}]`,
      (json) => `${json}${json}`,
      (json) => json.replace(/"/g, "'"),
      () => "",
      () => "null",
      () => "[".repeat(5_000),
      () => `{"ip":${"[".repeat(2_000)}${"]".repeat(2_000)}}`,
      (json) => json.replace("{", `{"padding":"${"x".repeat(1_000_000)}",`),
    ),
  },
);
const encoding = fc.oneof(
  { weight: 12, arbitrary: fc.constant("plain") },
  { weight: 2, arbitrary: fc.constant("base64") },
  { weight: 1, arbitrary: fc.constantFrom("not base64", "latin1 base64") },
);

const call = fc.oneof(
  { weight: 8, arbitrary: fc.constant(["POST", "/blacklistip"]) },
  { weight: 4, arbitrary: fc.constant(["GET", "/blacklistip"]) },
  { weight: 2, arbitrary: fc.constant(["DELETE", "/blacklistip"]) },
  { weight: 2, arbitrary: fc.constant(["GET", "/blacklist"]) },
  { weight: 1, arbitrary: fc.constant(["DELETE", "/blacklist"]) },
  { weight: 1, arbitrary: fc.constant(["PUT", "/mode"]) },
  { weight: 1, arbitrary: fc.constant(["GET", "/detectors"]) },
  {
    weight: 4,
    arbitrary: fc
      .constantFrom("fail2ban", "alertmanager", "crowdsec", "elastalert", "generic", "nagios")
      .map((name) => ["POST", `/alerts/${name}`]),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      ...[
        ["GET", "/health"],
        ["PUT", "/blacklistip"],
        ["HEAD", "/blacklist"],
        ["POST", "/"],
      ],
      ...[
        ["GET", "/blacklistip/"],
        ["GET", "//blacklistip"],
        ["GET", "/blacklist%69p"],
      ],
      ...[
        ["OPTIONS", "/blacklistip"],
        ["GET", "/blacklistip/45.1.1.1"],
        ["POST", "/BLACKLISTIP"],
      ],
      ...[
        ["GET", `/${"x".repeat(5_000)}`],
        ["GET", "/../blacklist"],
        ["PATCH", "/__proto__"],
      ],
    ),
  },
);

/** Something that happens to a query string on its way. */
const garbling = fc.oneof(
  { weight: 14, arbitrary: fc.constant((query: string) => query) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<((query: string) => string)[]>(
      (query) => `${query}&${query}`,
      (query) => query.replaceAll("%", "%25"),
      (query) => `${query}&ip=%ff%fe&%`,
      (query) => query.replaceAll("=", ""),
      (query) => `&&&=${query}#fragment`,
    ),
  },
);

/** What detectors say, more or less. */
const alertFields = fc.oneof(
  blockFields,
  fc.record({
    alerts: fc.array(
      fc.record(
        {
          status: fc.constantFrom("firing", "resolved", "pending"),
          labels: fc.record({ src_ip: address }, { requiredKeys: [] }),
        },
        { requiredKeys: [] },
      ),
      { maxLength: 4 },
    ),
  }),
  fc.record({
    decisions: fc.array(
      fc.record({
        value: address,
        scope: fc.constantFrom("Ip", "Range", "AS"),
        type: fc.constantFrom("ban", "captcha"),
        duration: fc.constantFrom("4h", "-3s", "726ms", "soon"),
      }),
      { maxLength: 4 },
    ),
  }),
);

const anyFields = fc.oneof(
  { weight: 8, arbitrary: blockFields },
  { weight: 1, arbitrary: unblockFields },
  { weight: 1, arbitrary: fc.oneof(listFields, undoFields, modeFields) },
  { weight: 2, arbitrary: bulkFields },
  { weight: 1, arbitrary: fc.oneof(tooMany, anyJson) },
);

/** Mostly what the call takes. */
const fieldsFor = (method: string, path: string): fc.Arbitrary<unknown> => {
  const byCall: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
    "DELETE /blacklistip": unblockFields,
    "DELETE /blacklist": undoFields,
    "GET /blacklist": listFields,
    "PUT /mode": modeFields,
  };
  const own = path.startsWith("/alerts/") ? alertFields : byCall[`${method} ${path}`];
  return own
    ? fc.oneof({ weight: 2, arbitrary: own }, { weight: 1, arbitrary: anyFields })
    : anyFields;
};

/** A request, as API Gateway hands it over (payload format 2.0); the oracle signs it by its clock. */
export type Asked = {
  readonly event: APIGatewayProxyEventV2;
  readonly signing: Signing | undefined;
  readonly afterMs: number;
};

export const request: fc.Arbitrary<Asked> = fc
  .record({
    asked: call.chain(([method = "", path = ""]) =>
      fc.record({
        method: fc.constant(method),
        path: fc.constant(path),
        fields: fieldsFor(method, path),
      }),
    ),
    token,
    signing: fc.oneof(
      { weight: 4, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: signing },
    ),
    afterMs: passing,
    contentType,
    writing,
    encoding,
    garbling,
    split: fc.boolean(),
    sourceIp: fc.oneof(publicFour, publicSix, fc.constantFrom(CALLER, "192.0.2.9")),
  })
  .map(({ asked: { method, path, fields }, ...parts }) => {
    const { token, contentType, writing, encoding, garbling, split, sourceIp } = parts;
    const { signing, afterMs } = parts;
    // A token in the header counts before a signature.
    const isIn = (place: string) => !signing && [place, "everywhere"].includes(token.place);
    const hasBody = ["POST", "PUT"].includes(method);
    const given = typeof fields === "object" && fields !== null ? fields : { ip: fields };
    const inQuery = !hasBody || split ? Object.entries(given).slice(0, 3) : [];
    if (isIn("query")) inQuery.push(["accessToken", token.value]);
    const query = inQuery.map(
      ([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(textOf(value))}`,
    );
    const content = isIn("body") ? { ...given, accessToken: token.value } : fields;
    const text = hasBody ? writing(JSON.stringify(content)) : undefined;
    const event = {
      version: "2.0",
      routeKey: "$default",
      rawPath: path,
      rawQueryString: garbling(query.join("&")),
      headers: {
        ...(isIn("header") &&
          token.value !== undefined && { authorization: token.scheme + token.value }),
        ...(contentType !== undefined && { "content-type": contentType }),
      },
      requestContext: { requestId: "gateway", http: { method, path, sourceIp } },
      ...(text !== undefined && { body: encoded(text, encoding) }),
      isBase64Encoded: encoding !== "plain",
    } as unknown as APIGatewayProxyEventV2;
    return { event, signing, afterMs };
  });

function encoded(text: string, encoding: string): string {
  if (encoding === "base64") return Buffer.from(text).toString("base64");
  return encoding === "latin1 base64" ? Buffer.from(text, "latin1").toString("base64") : text;
}

/** Lone surrogates cannot be part of an URL. */
const textOf = (value: unknown): string =>
  (typeof value === "string" ? value : (JSON.stringify(value) ?? "")).toWellFormed();
