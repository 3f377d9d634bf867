import * as v from "valibot";
import { startEc2 } from "./server.ts";

/** The emulator as a process. Its environment: */
const environment = v.object({
  EC2_PORT: v.optional(wholeNumber(65_535), "0"),
  EC2_STATE_FILE: v.optional(v.pipe(v.string(), v.nonEmpty())),
  EC2_QUOTA: v.optional(wholeNumber(), "20"),
  EC2_THROTTLE: v.optional(v.picklist(["on", "off"]), "on"),
  EC2_READ_LAG_MS: v.optional(wholeNumber(), "0"),
  AWS_REGION: v.optional(v.pipe(v.string(), v.nonEmpty()), "us-east-1"),
  /** 1: end when stdin closes, so as never to outlive a parent that was killed. */
  EXIT_WITH_PARENT: v.optional(v.picklist(["0", "1"]), "0"),
});

const parsed = v.safeParse(environment, process.env);
if (!parsed.success) {
  console.error(`The EC2 emulator's environment is wrong.\n${v.summarize(parsed.issues)}`);
  process.exit(2);
}
const config = parsed.output;

const server = await startEc2({
  port: config.EC2_PORT,
  region: config.AWS_REGION,
  quota: config.EC2_QUOTA,
  readLagMs: config.EC2_READ_LAG_MS,
  ...(config.EC2_THROTTLE === "off" ? { throttle: false } : {}),
  ...(config.EC2_STATE_FILE === undefined ? {} : { stateFile: config.EC2_STATE_FILE }),
});

const stop = async () => {
  await server.stop();
  process.exit(0);
};
process.once("SIGTERM", stop);
process.once("SIGINT", stop);
if (config.EXIT_WITH_PARENT === "1") {
  process.stdin.once("close", stop);
  process.stdin.resume();
}

console.log(JSON.stringify({ url: server.url }));

function wholeNumber(maximum = Number.MAX_SAFE_INTEGER) {
  return v.pipe(
    v.string(),
    v.regex(/^\d+$/, "must be a whole number"),
    v.transform(Number),
    v.maxValue(maximum),
  );
}
