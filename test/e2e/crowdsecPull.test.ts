import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { hasCrowdsec, type RealLapi, startCrowdsec } from "../support/crowdsec.ts";
import { hasJava } from "../support/java.ts";
import { answer, decision, type FakeLapi, startLapi } from "../support/lapi.ts";
import { eventually, newDir, startTestCloud, type TestCloud } from "./cloud.ts";

// What CrowdSec decides ends in the ACL, and what it takes back leaves it.

const KEY = "a-bouncer-s-key";
const GRACE_SECONDS = 2;
const environment = (url: string) => ({
  CROWDSEC_URL: url,
  CROWDSEC_KEY: KEY,
  PULL_SECONDS: "1",
  RECONCILE_SECONDS: "5",
  WITHDRAWAL_GRACE: String(GRACE_SECONDS),
});

let cloud: TestCloud | undefined;
const denied = async () => (await cloud?.denied()) ?? [];
/** A pull that was killed keeps others out until its time is over. */
const PULL_SECONDS = 30;
const isDenied = (...cidrs: string[]) =>
  eventually(`${cidrs} are denied`, PULL_SECONDS + 30, async () => {
    const now = await denied();
    return cidrs.every((cidr) => now.includes(cidr));
  });
const isGone = (cidr: string) =>
  eventually(`${cidr} is gone`, PULL_SECONDS + 30, async () => !(await denied()).includes(cidr));

(hasCrowdsec && hasJava ? describe : describe.skip)("CrowdSec's LAPI", () => {
  let lapi: RealLapi | undefined;
  beforeAll(async () => {
    lapi = await startCrowdsec();
    cloud = await startTestCloud(environment(lapi.url));
  }, 150_000);
  afterAll(async () => {
    await cloud?.stop();
    cloud = undefined;
    await lapi?.stop();
  });
  const decisions = (...args: string[]) => lapi?.cscli("decisions", ...args);

  test("an address that is banned is denied, and so is a range; another keeps out of it", async () => {
    await decisions("add", "--ip", "203.0.113.9", "--duration", "4h", "--reason", "by hand");
    await decisions("add", "--ip", "2001:db8::5", "--duration", "4h");
    await decisions("add", "--range", "198.51.100.0/28", "--duration", "4h");
    await decisions("add", "--ip", "203.0.113.99", "--duration", "4h", "--type", "captcha");
    await isDenied("203.0.113.9/32", "2001:db8::5/128", "198.51.100.0/28");
    expect(await denied()).not.toContain("203.0.113.99/32");
    const { blocks } = (await cloud?.list()) ?? { blocks: [] };
    expect(blocks.find(({ cidr }) => cidr === "203.0.113.9/32")).toMatchObject({
      detectors: ["crowdsec"],
      reason: "CrowdSec by hand",
    });
  }, 100_000);

  test("one that is deleted is gone after the grace", async () => {
    await decisions("delete", "--ip", "203.0.113.9");
    await isGone("203.0.113.9/32");
    expect(await denied()).toContain("198.51.100.0/28");
  }, 100_000);

  test("one that runs out is gone", async () => {
    await decisions("add", "--ip", "203.0.113.10", "--duration", "6s");
    await isDenied("203.0.113.10/32");
    await isGone("203.0.113.10/32");
  }, 100_000);

  test("one that is deleted while we are down is gone once we are up again", async () => {
    await decisions("add", "--ip", "203.0.113.11", "--duration", "4h");
    await isDenied("203.0.113.11/32");
    const { dir } = cloud ?? { dir: newDir() };
    await cloud?.kill();
    await decisions("delete", "--ip", "203.0.113.11");
    await decisions("add", "--ip", "203.0.113.12", "--duration", "4h");
    cloud = await startTestCloud(environment(lapi?.url ?? ""), dir);
    await isDenied("203.0.113.12/32");
    await isGone("203.0.113.11/32");
  }, 150_000);

  test("no log has the key", () => {
    expect(cloud?.log("crowdsec")).toContain("PullReports");
    expect(cloud?.log("crowdsec")).not.toContain(KEY);
  });
});

(hasJava ? describe : describe.skip)("killed while CrowdSec tells it", () => {
  let lapi: FakeLapi | undefined;
  afterEach(async () => {
    await cloud?.stop();
    await lapi?.stop();
  });

  test("a decision is told again, and lost is none", async () => {
    lapi = await startLapi();
    const dir = newDir();
    cloud = await startTestCloud(environment(lapi.url), dir);
    await eventually(
      "a first pull has finished",
      30,
      async () => lapi?.asked.at(-1)?.startup === "false",
    );
    // It counts as told, and who asked is killed before all of it has come.
    const killed = new Promise<void>((resolve, reject) => {
      const body = JSON.stringify({ deleted: null, new: [decision("203.0.113.9")] });
      const told = lapi as FakeLapi;
      told.answers = (_, response) => {
        told.answers = (asked, later) =>
          answer(later, asked.startup === "true" ? { new: [decision("203.0.113.9")] } : {});
        response.writeHead(200).write(body.slice(0, -2));
        cloud?.kill().then(resolve, reject);
      };
    });
    await killed;
    cloud = await startTestCloud(environment(lapi.url), dir);
    await isDenied("203.0.113.9/32");
  }, 200_000);
});
