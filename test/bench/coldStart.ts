import { execFile } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { build, type Plugin } from "esbuild";
import { zipSync } from "fflate";
import { DEFAULT_VPC } from "../../infra/local/engines/ec2/acls.ts";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import type { Figure } from "./figure.ts";
import { type FunctionName, packagedFunction } from "./functions.ts";
import type { Stage } from "./stage.ts";
import { interleave, median } from "./statistics.ts";

const plugins = createRequire(import.meta.url)("../../infra/bundle-plugins.cjs") as Plugin[];

const ROUNDS = 11;
const START_LIMIT_MS = 15_000;

/** The SDK clients that each function makes. */
const CLIENTS: Readonly<Record<FunctionName, readonly string[]>> = {
  blacklist: ["createSsm", "createDynamo", "createSqs"],
  worker: ["createSsm", "createDynamo", "createSqs"],
  enforcer: ["createSsm", "createDynamo", "createEc2", "createWaf", "createSqs"],
};
const NAMES = Object.keys(CLIENTS) as FunctionName[];

/**
 * How long each function's code takes to load and initialise in a fresh process, against an ES
 * module that only makes the same SDK clients, bundled by the same tool.
 */
export async function coldStart(stage: Stage): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const name of NAMES) {
    const { bundle, env } = packagedFunction(stage, name, DEFAULT_VPC.defaultNetworkAclId);
    const bare = await bundleClients(name, stage.dir);
    const initTimes: Record<"whole" | "bare", number[]> = { whole: [], bare: [] };
    const works = {
      whole: async () => initTimes.whole.push(await initTime(bundle, env)),
      bare: async () => initTimes.bare.push(await initTime(bare, env)),
    };
    await interleave(works, ROUNDS);
    const value = median(initTimes.whole);
    const floor = median(initTimes.bare);
    const zipKb = zippedKb(bundle);
    figures.push({
      name: `coldStart ${name}`,
      what: `load and initialise the bundle: ${kbOf(bundle)} KB, ${zipKb} KB zipped`,
      value: { value, unit: "ms" },
      floor: { what: `its bare SDK clients, ${kbOf(bare)} KB`, value: floor, unit: "ms" },
      ratio: value / floor,
      details: { bundleKb: kbOf(bundle), zipKb, bareKb: kbOf(bare) },
    });
  }
  return figures;
}

/** Bundles as `infra/bundle.yml` does, but to an ES module, as functions mostly are. */
async function bundleClients(name: FunctionName, dir: string): Promise<string> {
  const outfile = join(dir, "clients", `${name}.mjs`);
  const made = CLIENTS[name].join(", ");
  await build({
    stdin: {
      contents: `import { ${made} } from "./shared/aws/clients.ts";
        export const clients = [${made}].map((create) => create());`,
      resolveDir: PROJECT_ROOT,
      loader: "ts",
    },
    bundle: true,
    minify: true,
    platform: "node",
    target: "node24",
    format: "esm",
    mainFields: ["module", "main"],
    banner: {
      js: 'import{createRequire}from"node:module";const require=createRequire(import.meta.url);',
    },
    sourcemap: "linked",
    sourcesContent: false,
    plugins,
    outfile,
    logLevel: "error",
  });
  return outfile;
}

/** Loads the bundle in a fresh process as Lambda does; the process prints how long that took. */
async function initTime(bundle: string, env: Readonly<Record<string, string>>): Promise<number> {
  const load = bundle.endsWith(".mjs")
    ? `await import(${JSON.stringify(pathToFileURL(bundle).href)})`
    : `createRequire(import.meta.url)(${JSON.stringify(bundle)})`;
  const program = `import { createRequire } from "node:module";
    const begin = performance.now();
    ${load};
    process.stdout.write(String(performance.now() - begin));
    process.exit();`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--input-type=module", "--eval", program],
    { env: { ...env }, timeout: START_LIMIT_MS },
  );
  return Number(stdout);
}

const kbOf = (file: string): number => Math.round(statSync(file).size / 1000);

function zippedKb(file: string): number {
  return Math.round(zipSync({ "handler.cjs": readFileSync(file) }).length / 1000);
}
