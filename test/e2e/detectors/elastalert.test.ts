import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { freePort } from "../../support/ports.ts";
import { eventually, startTestCloud, type TestCloud } from "../cloud.ts";
import { describeWith, execute, program, type Running, ship, start, UNPACKED } from "./programs.ts";

/** OpenSearch itself, in the parts that a package registry has. */
const OPENSEARCH = join(UNPACKED, "opensearch");
const ENGINE = new URL("opensearch/Engine.java", import.meta.url).pathname;

const RULES = ["ssh-brute-force", "scan-by-404", "wordpress-login"];

/** As Filebeat's own template has it: text is not taken apart, and addresses are addresses. */
const TEMPLATE = {
  index_patterns: ["filebeat-*"],
  template: {
    mappings: {
      dynamic_templates: [
        { texts: { match_mapping_type: "string", mapping: { type: "keyword" } } },
      ],
      properties: {
        "@timestamp": { type: "date" },
        source: { properties: { ip: { type: "ip" } } },
      },
    },
  },
};

const login = { process: { name: "sshd" }, event: { outcome: "failure" } };
const answered = (method: string, path: string, status_code: number) => ({
  url: { path },
  http: { request: { method }, response: { status_code } },
});

describeWith(["elastalert", "elastalert-create-index", "java", OPENSEARCH], "ElastAlert", () => {
  let cloud: TestCloud;
  let opensearch: Running;
  let elastalert: Running;
  let url: string;

  async function ask(method: string, path: string, body: string) {
    const type = path.startsWith("/_bulk") ? "application/x-ndjson" : "application/json";
    const response = await fetch(url + path, { method, body, headers: { "content-type": type } });
    expect(response.status).toBe(200);
    return (await response.json()) as { errors?: boolean };
  }

  /** As many lines of an attacker, of what its log says; the victim's address is in each. */
  async function log(ip: string, lines: readonly object[]) {
    const documents = lines.map((line) => ({
      "@timestamp": new Date(),
      host: { ip: ["192.0.2.1"] },
      destination: { ip: "192.0.2.1" },
      source: { ip },
      ...line,
    }));
    const bulk = documents.flatMap((one) => [{ index: { _index: "filebeat-2026.11.25" } }, one]);
    const body = bulk.map((line) => `${JSON.stringify(line)}\n`).join("");
    expect((await ask("POST", "/_bulk?refresh=true", body)).errors).toBe(false);
  }

  const times = (count: number, line: (index: number) => object) =>
    Array.from({ length: count }, (_, index) => line(index));

  beforeAll(async () => {
    cloud = await startTestCloud();
    const { dir, stack } = cloud;
    const [port, transport] = [await freePort(), await freePort()];
    url = `http://127.0.0.1:${port}`;
    const home = join(dir, "opensearch");
    opensearch = start(program("java") ?? "", [
      ...["-Xmx512m", "-cp", join(OPENSEARCH, "*"), ENGINE, home],
      ...[String(port), String(transport)],
    ]);
    await eventually("OpenSearch answers", 120, async () => {
      const response = await fetch(url).catch(() => undefined);
      return response?.ok ?? false;
    });
    await ask("PUT", "/_index_template/filebeat", JSON.stringify(TEMPLATE));

    const config = join(dir, "elastalert");
    const own = { api: stack.api, tokens: dir };
    const changed = {
      "/etc/elastalert": config,
      "es_host: localhost": "es_host: 127.0.0.1",
      "es_port: 9200": `es_port: ${port}`,
      "seconds: 10": "seconds: 2",
    };
    ship("elastalert/config.yaml", join(config, "config.yaml"), own, changed);
    ship("elastalert/portcullis.yaml", join(config, "portcullis.yaml"), own, {
      TOKEN: stack.detectorToken,
    });
    for (const rule of RULES) {
      ship(`elastalert/rules/${rule}.yaml`, join(config, "rules", `${rule}.yaml`), own);
    }
    const file = join(config, "config.yaml");
    await execute("elastalert-create-index", ["--config", file]);
    elastalert = start(program("elastalert") ?? "", ["--config", file, "--verbose"]);
  }, 300_000);
  afterAll(async () => {
    await elastalert?.stop();
    await opensearch?.stop();
    await cloud?.stop();
  }, 60_000);

  test("lines of the logs end in the ACL: who reaches a rule's threshold, and nobody else", async () => {
    await log(
      "203.0.113.9",
      times(5, () => login),
    );
    await log(
      "203.0.113.19",
      times(4, () => login),
    );
    await log(
      "203.0.113.29",
      times(30, (index) => answered("GET", `/backup-${index}.zip`, 404)),
    );
    await log(
      "203.0.113.39",
      times(40, () => answered("GET", "/logo.png", 404)),
    );
    await log(
      "2001:db8::5",
      times(10, () => answered("POST", "/wp-login.php", 200)),
    );
    await log(
      "203.0.113.49",
      times(10, () => answered("POST", "/wp-login.php", 302)),
    );
    const attackers = ["203.0.113.9/32", "203.0.113.29/32", "2001:db8::5/128"];
    await eventually("the attackers are denied", 120, async () => {
      const denied = await cloud.denied();
      return attackers.every((cidr) => denied.includes(cidr));
    });
    // Each of them again, by when the others would have been seen as well.
    const runs = () => elastalert.output().split("Ran WordPress login").length;
    const before = runs();
    await eventually("each rule has run again", 60, async () => runs() > before + 1);
    expect((await cloud.denied()).toSorted()).toEqual(attackers.toSorted());
    const { blocks } = await cloud.list();
    const told = blocks.map(({ cidr, severity, ...block }) => [
      cidr,
      severity,
      "reason" in block && block.reason,
    ]);
    expect(told.toSorted()).toEqual([
      ["203.0.113.29/32", 5, "Scan by 404"],
      ["203.0.113.9/32", 7, "SSH brute force"],
    ]);
  }, 240_000);
});
