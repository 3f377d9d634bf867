// A function's zipped bundle is part of its cold start: none may grow past the limit unseen.
import { globSync, statSync } from "node:fs";

const LIMIT_KB = 300;
let isOver = false;
for (const zip of globSync("services/*/.serverless/*.zip")) {
  const kb = Math.ceil(statSync(zip).size / 1000);
  isOver ||= kb >= LIMIT_KB;
  console.log(`${zip}: ${kb} KB${kb >= LIMIT_KB ? ` — over the limit of ${LIMIT_KB} KB` : ""}`);
}
process.exitCode = isOver ? 1 : 0;
