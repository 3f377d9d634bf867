import { execFile } from "node:child_process";
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { Template } from "../../infra/local/intrinsics.ts";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import { temporaryDir } from "../../infra/local/test/support/fixtures.ts";
import { CACHES } from "./checkout.ts";

// Packages stages in a copy of the checkout, so that neither artefacts nor stage files of it are touched.
// Their templates are what it is for: the functions in it are empty, which bundles faster.

const SERVICES = [
  "infra",
  "infra/watch",
  "services/blacklist",
  "services/worker",
  "services/enforcer",
  "services/crowdsec",
  "services/flow-logs",
];
const PACKAGE = dirname(createRequire(import.meta.url).resolve("serverless/package.json"));

/** The templates of a stage, by the folder of their service. */
export type Templates = Readonly<Record<string, Template>>;

export type Workshop = {
  /** Writes a stage's file: that of another with lines changed. */
  stage(name: string, from: string, ...changes: readonly [string | RegExp, string][]): void;
  /** Reads it as packaging does. */
  read(stage: string): unknown;
  /**
   * @param service the one to package; all of them, by Compose, where none is said
   * @throws Error with what was printed, where packaging fails
   */
  package(
    stage: string,
    environment?: Readonly<Record<string, string>>,
    service?: string,
  ): Promise<Templates>;
  remove(): void;
};

export function openWorkshop(): Workshop {
  const { path: root, remove } = temporaryDir();
  const own = ["infra", "services", "shared", "serverless-compose.yml", "package.json"];
  for (const name of [...own, "package-lock.json", "tsconfig.json"]) {
    const filter = (path: string) => !/\.(serverless|esbuild)|infra\/local/.test(path);
    cpSync(join(PROJECT_ROOT, name), join(root, name), { recursive: true, filter });
  }
  symlinkSync(join(PROJECT_ROOT, "node_modules"), join(root, "node_modules"));
  for (const service of SERVICES.filter((path) => path.startsWith("services/")))
    writeFileSync(join(root, service, "handler.ts"), "export const handler = async () => {};\n");
  const bundling = join(root, "infra/bundle.yml");
  writeFileSync(bundling, readFileSync(bundling, "utf8").replace(/^plugins:.*$/m, ""));
  const fileOf = (stage: string) => join(root, "infra/stages", `${stage}.yml`);
  return {
    stage(name, from, ...changes) {
      const text = changes.reduce(
        (all, [what, by]) => {
          const changed = all.replace(what, by);
          if (changed === all) throw new Error(`${from}.yml has no ${what}`);
          return changed;
        },
        readFileSync(fileOf(from), "utf8"),
      );
      writeFileSync(fileOf(name), text);
    },
    read: (stage) => createRequire(import.meta.url)(join(root, "infra/stage.cjs")).readStage(stage),
    async package(stage, environment = {}, service = "") {
      const { PATH = "", HOME = "" } = process.env;
      const args = [join(PACKAGE, "bin/serverless.js"), "package", "--stage", stage];
      const env = { PATH, HOME, ...CACHES, ...environment };
      const options = { cwd: join(root, service), env };
      await promisify(execFile)(process.execPath, args, options).catch((error) => {
        throw new Error(`${error.stdout}${error.stderr}`);
      });
      return Object.fromEntries(
        (service === "" ? SERVICES : [service]).map((path) => {
          const output = join(root, path, ".serverless");
          const name = "cloudformation-template-update-stack.json";
          const template = JSON.parse(readFileSync(join(output, name), "utf8"));
          rmSync(output, { recursive: true });
          return [path, template];
        }),
      );
    },
    remove,
  };
}
