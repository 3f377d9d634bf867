import { spawnSync } from "node:child_process";

const { stderr = "" } = spawnSync("java", ["-version"], { encoding: "utf8" });
const version = Number(/version "(\d+)/.exec(stderr ?? "")?.[1] ?? 0);

/** Whether DynamoDB Local can run here. */
export const hasJava = version >= 17;
if (!hasJava) console.warn("SKIPPED: everything on DynamoDB Local. Install it: Java 17 or newer");
