import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, startTestCloud, type TestCloud } from "../cloud.ts";
import { describeWith, execute, headerFile, ship } from "./programs.ts";

/** An alert built from Wazuh's documents, whose attacker is 203.0.113.9 and whose victim 198.51.100.7. */
function sample(): Record<string, unknown> {
  const file = new URL("../../services/blacklist/detectors/fixtures/wazuh.json", import.meta.url);
  const [first] = JSON.parse(readFileSync(file, "utf8")) as { document: Record<string, unknown> }[];
  return first?.document ?? {};
}

describeWith(["curl"], "Wazuh's integration script", () => {
  let cloud: TestCloud;
  let script: string;

  /** Runs the script as Wazuh does: the alert's file, the API key, the URL. */
  function run(alert: unknown) {
    const file = join(cloud.dir, "alert.json");
    writeFileSync(file, `${JSON.stringify(alert)}\n`);
    return execute(script, [file, "", `${cloud.stack.api}/alerts/wazuh`]);
  }

  beforeAll(async () => {
    cloud = await startTestCloud();
    const { dir, stack } = cloud;
    script = join(dir, "custom-portcullis");
    ship("wazuh/custom-portcullis", script, { api: stack.api, tokens: dir });
    headerFile(dir, "wazuh", stack.detectorToken);
  }, 120_000);
  afterAll(() => cloud?.stop());

  test("an alert ends in the ACL", async () => {
    await run(sample());
    await eventually("the attacker is denied", 30, async () =>
      (await cloud.denied()).includes("203.0.113.9/32"),
    );
    expect(await cloud.denied()).toEqual(["203.0.113.9/32"]);
  }, 60_000);

  test("an alert that names no attacker fails, and says why", async () => {
    const { data: _, ...without } = sample();
    await expect(run(without)).rejects.toMatchObject({
      code: 22,
      stdout: expect.stringContaining("no srcip"),
    });
  });
});
