import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "@jest/globals";
import { PROJECT_ROOT } from "../../infra/local/package.ts";

/**
 * Every install script among the packages, and why nothing is missing though it never runs. A new
 * one, or a new version of one, is read before it comes in here.
 */
const REVIEWED_SCRIPTS: Record<string, string> = {
  "@parcel/watcher@2.6.0": "compiles only if told to; its binary is a package of its own",
  "@swc/core@1.16.18": "fetches @swc/wasm where the binary, a package of its own, does not load",
  "es5-ext@0.10.64": "prints a message",
  "esbuild@0.28.2": "saves a start of Node; its binary is a package of its own",
  "unrs-resolver@1.12.2": "fetches the binary, a package of its own, where npm left it out",
};

type LockedPackage = {
  name?: string;
  version: string;
  resolved?: string;
  integrity?: string;
  link?: boolean;
  hasInstallScript?: boolean;
};

const read = (path: string) => readFileSync(join(PROJECT_ROOT, path), "utf8");
const lock: { packages: Record<string, LockedPackage> } = JSON.parse(read("package-lock.json"));
const installed = Object.entries(lock.packages)
  .filter(([path, { link }]) => path.includes("node_modules/") && !link)
  .map(([path, locked]) => ({
    ...locked,
    path,
    name: locked.name ?? path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length),
  }));

describe("the supply chain", () => {
  it("takes every package from the registry: none names a place of its own", () => {
    const strangers = installed
      .filter(({ resolved }) => resolved !== undefined)
      .map(({ path, resolved }) => `${path} comes from ${resolved}.`);
    expect(strangers).toEqual([]);
  });

  it("knows each package by its SHA-512", () => {
    const unknown = installed
      .filter(({ integrity }) => !/^sha512-[\w+/]{86}==$/.test(integrity ?? ""))
      .map(({ path }) => `${path} has no SHA-512 in package-lock.json.`);
    expect(unknown).toEqual([]);
  });

  it("has no install script but the reviewed ones", () => {
    const scripts = installed
      .filter(({ hasInstallScript }) => hasInstallScript)
      .map(({ name, version }) => `${name}@${version}`);
    const unread = scripts.filter((id) => !REVIEWED_SCRIPTS[id]);
    const gone = Object.keys(REVIEWED_SCRIPTS).filter((id) => !scripts.includes(id));
    expect([
      ...unread.map((id) => `${id} has an install script that nobody has reviewed.`),
      ...gone.map((id) => `${id} is reviewed, but not in package-lock.json.`),
    ]).toEqual([]);
  });

  it("runs none of them, neither by setup nor by an npm install by hand", () => {
    expect(read("infra/install.mjs")).toContain('"--ignore-scripts"');
    const names = Object.keys(REVIEWED_SCRIPTS).map((id) => id.slice(0, id.lastIndexOf("@")));
    expect(JSON.parse(read("package.json")).allowScripts).toEqual(
      Object.fromEntries(names.map((name) => [name, false])),
    );
  });

  const platform = process.platform === "win32" ? "win" : process.platform;
  const node = lock.packages[`node_modules/node-${platform}-${process.arch}`];
  (node ? it : it.skip)("runs on the Node of the lock file", () => {
    expect(process.version).toBe(`v${node?.version}`);
  });
});
