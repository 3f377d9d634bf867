// Installs what is missing, with whatever Node is on the machine; everything after this runs on the
// Node that Lambda has, which is one of the packages installed here.
import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";

const root = new URL("../", import.meta.url);
const changedAt = (path) => statSync(new URL(path, root), { throwIfNoEntry: false })?.mtimeMs ?? 0;

if (changedAt("node_modules/.package-lock.json") < changedAt("package-lock.json")) {
  console.log("Installing the packages (once) …");
  const { status } = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: "inherit",
  });
  if (status !== 0) {
    console.error("The packages could not be installed. Try it by itself: npm ci");
    process.exit(1);
  }
}
