// Installs what is missing, with whatever Node is on the machine; everything after this runs on the
// Node that Lambda has, which is one of the packages installed here. No package's install script is
// run: what it fetched would be in no lock file (docs/decisions/0019-supply-chain.md).
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";

const root = new URL("../", import.meta.url);
const changedAt = (path) => statSync(new URL(path, root), { throwIfNoEntry: false })?.mtimeMs ?? 0;

if (changedAt("node_modules/.package-lock.json") < changedAt("package-lock.json")) {
  console.log("Installing the packages (once) …");
  const install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  const { status } = spawnSync("npm", install, { cwd: root, stdio: "inherit" });
  if (status !== 0) {
    console.error("The packages could not be installed. Try it by itself: npm ci --ignore-scripts");
    process.exit(1);
  }
}

const hasNodePackage = existsSync(new URL("node_modules/.bin/node", root));
if (!hasNodePackage && Number.parseInt(process.versions.node, 10) < 24) {
  const machine = `${process.platform} on ${process.arch}`;
  console.error(`No package carries Node 24 for ${machine}: install Node 24 or newer by yourself.`);
  process.exit(1);
}
