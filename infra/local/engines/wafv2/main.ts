import * as v from "valibot";
import { startWafv2 } from "./server.ts";

/** The emulator as a process. Its environment: */
const environment = v.object({
  WAFV2_PORT: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d+$/, "must be a whole number"),
      v.transform(Number),
      v.maxValue(65_535),
    ),
    "0",
  ),
  WAFV2_STATE_FILE: v.optional(v.pipe(v.string(), v.nonEmpty())),
  WAFV2_THROTTLE: v.optional(v.picklist(["on", "off"]), "on"),
  AWS_REGION: v.optional(v.pipe(v.string(), v.nonEmpty()), "us-east-1"),
  /** 1: end when stdin closes, so as never to outlive a parent that was killed. */
  EXIT_WITH_PARENT: v.optional(v.picklist(["0", "1"]), "0"),
});

const parsed = v.safeParse(environment, process.env);
if (!parsed.success) {
  console.error(`The WAF emulator's environment is wrong.\n${v.summarize(parsed.issues)}`);
  process.exit(2);
}
const config = parsed.output;

const server = await startWafv2({
  port: config.WAFV2_PORT,
  region: config.AWS_REGION,
  ...(config.WAFV2_THROTTLE === "off" ? { throttle: false } : {}),
  ...(config.WAFV2_STATE_FILE === undefined ? {} : { stateFile: config.WAFV2_STATE_FILE }),
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
