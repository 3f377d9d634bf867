import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { unzipSync } from "fflate";
import { parse } from "yaml";
import { messageOf, SetupError } from "./errors.ts";
import { readJson, writeJson } from "./files.ts";
import type { Template } from "./intrinsics.ts";
import { takeLock } from "./lock.ts";

/** The checkout that this file belongs to. */
export const PROJECT_ROOT = fileURLToPath(new URL("../..", import.meta.url));

const PACKAGING_TIMEOUT_MS = 180_000;
/** The stage whose file the local cloud is built from. */
const STAGE = "local";
const TEMPLATE = "cloudformation-template-update-stack.json";

/** What a deployment would upload. */
export type Packaged = {
  /** One compiled template per service, in the order of `serverless-compose.yml`. */
  templates: readonly Template[];
  /** A folder with one unpacked folder per artefact, named as its zip. */
  codeDir: string;
};

/**
 * Compiles the services as for a deployment, unless the existing package is of these very sources, and
 * unpacks the artefacts: a run keeps its own copy, whoever packages next.
 */
export async function packageServices(codeDir: string, root = PROJECT_ROOT): Promise<Packaged> {
  const state = join(root, ".serverless", "local");
  const lock = await takeLock(`${state}.lock`, PACKAGING_TIMEOUT_MS);
  if ("heldBy" in lock) throw new SetupError(`Process ${lock.heldBy} has been packaging for long.`);
  try {
    const outputs = servicePaths(root).map((path) => join(root, path, ".serverless"));
    const sources = fingerprint(sourcesOf(root));
    const made = readJson<{ sources: string; outputs: string }>(`${state}.json`);
    if (made?.sources !== sources || made.outputs !== fingerprint(artefactsIn(outputs))) {
      await runServerless(root);
      writeJson(`${state}.json`, { sources, outputs: fingerprint(artefactsIn(outputs)) });
    }
    for (const file of artefactsIn(outputs)) if (file.endsWith(".zip")) unpack(file, codeDir);
    return { templates: outputs.map((output) => readTemplate(join(output, TEMPLATE))), codeDir };
  } finally {
    lock.free();
  }
}

function readTemplate(path: string): Template {
  const template = readJson<Template>(path);
  if (template) return template;
  throw new SetupError(`${path} is missing: does something else package at the same time?`);
}

function servicePaths(root: string): string[] {
  const compose = parse(readFileSync(join(root, "serverless-compose.yml"), "utf8")) as {
    services: Record<string, { path: string }>;
  };
  return Object.values(compose.services).map(({ path }) => path);
}

/** A run's settings are given to its functions afterwards: packaging reads only the stage's file. */
async function runServerless(root: string): Promise<void> {
  const resolver = createRequire(join(root, "package.json"));
  const serverless = join(
    dirname(resolver.resolve("serverless/package.json")),
    "bin/serverless.js",
  );
  try {
    await promisify(execFile)(process.execPath, [serverless, "package", "--stage", STAGE], {
      cwd: root,
      timeout: PACKAGING_TIMEOUT_MS,
    });
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    const said = `${stdout}${stderr}`.trim() || messageOf(error);
    throw new SetupError(`The services do not package:\n${said}`);
  }
}

function sourcesOf(root: string): string[] {
  const infra = globSync("infra/{,stages/,watch/}*.{yml,cjs}", { cwd: root });
  const own = ["package-lock.json", "package.json", "serverless-compose.yml", "tsconfig.json"];
  return [
    ...[...own, ...infra].map((name) => join(root, name)),
    ...filesUnder(join(root, "services")),
    ...filesUnder(join(root, "shared")),
  ];
}

function filesUnder(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true })
    .filter(({ name }) => !name.startsWith(".") && name !== "node_modules")
    .flatMap((entry) => {
      const path = join(dir, entry.name);
      return entry.isDirectory() ? filesUnder(path) : [path];
    });
}

function artefactsIn(outputs: readonly string[]): string[] {
  return outputs
    .filter((output) => existsSync(output))
    .flatMap((output) =>
      readdirSync(output)
        .filter((name) => name === TEMPLATE || name.endsWith(".zip"))
        .map((name) => join(output, name)),
    );
}

function fingerprint(files: readonly string[]): string {
  const hash = createHash("sha256");
  for (const file of files.toSorted()) {
    const { mtimeMs, size } = statSync(file);
    hash.update(`${file}\0${mtimeMs}\0${size}\n`);
  }
  return hash.digest("hex");
}

function unpack(zip: string, codeDir: string): void {
  for (const [name, content] of Object.entries(unzipSync(readFileSync(zip)))) {
    if (name.endsWith("/")) continue;
    const path = join(codeDir, basename(zip, ".zip"), name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
}
