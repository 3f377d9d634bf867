import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  CloudWatchClient,
  PutMetricAlarmCommand,
  SetAlarmStateCommand,
} from "@aws-sdk/client-cloudwatch";
import {
  LambdaClient,
  ListEventSourceMappingsCommand,
  UpdateEventSourceMappingCommand,
} from "@aws-sdk/client-lambda";
import { poll } from "../../infra/local/waiting.ts";
import type { Checkout, Outcome } from "../support/checkout.ts";
import type { Config, Snapshot } from "./account.ts";
import { runFunctions } from "./functions.ts";
import type { Guarded } from "./targets.ts";

// What an operator does with a stage that is deployed: smoke-test it, see what is wrong, drain it.

const BLOCKED = ["203.0.113.10", "203.0.113.20", "203.0.113.30", "2001:db8::1"];
const ACCEPTED_WITHIN_MS = 30_000;
const ENTERED_WITHIN_MS = 90_000;
const LOOK_EVERY_MS = 1_000;

/** Of each log that a failure shows. */
const LINES = 25;
const LINE_LENGTH = 600;

type Stage = {
  readonly name: string;
  readonly checkout: Checkout;
  readonly snapshot: Snapshot;
};

type Step = <T>(
  name: string,
  run: (found: { wrong: string[]; said: string[] }) => Promise<T>,
) => Promise<T>;

export async function operate(
  step: Step,
  config: Config,
  { name, checkout, snapshot }: Stage,
  guarded: Pick<Guarded, "described">,
  targetsBefore: string,
): Promise<void> {
  const running = await runFunctions(config, checkout, snapshot);
  const [lambda, cloudWatch] = [new LambdaClient(config), new CloudWatchClient(config)];
  const smoke = () => checkout.portcullis("smoke", "--endpoint", running.api, "--json");
  const setMapping = async (Enabled: boolean) => {
    const FunctionName = `portcullis-worker-${name}-worker`;
    const command = new ListEventSourceMappingsCommand({ FunctionName });
    const { EventSourceMappings = [] } = await lambda.send(command);
    for (const { UUID } of EventSourceMappings)
      await lambda.send(new UpdateEventSourceMappingCommand({ UUID, Enabled }));
  };
  const setAlarm = (StateValue: "ALARM" | "OK", AlarmName = `portcullis-${name}-DeadLetters`) => {
    const alarm = { AlarmName, StateReason: "rehearsed" };
    return cloudWatch.send(new SetAlarmStateCommand({ ...alarm, StateValue }));
  };
  try {
    // A red alarm of a stage whose name begins with this one's: it is none of this stage's business.
    const neighbours = `portcullis-${name}-c-DeadLetters`;
    await cloudWatch.send(
      new PutMetricAlarmCommand({
        ...{ AlarmName: neighbours, ComparisonOperator: "GreaterThanThreshold", Threshold: 0 },
        ...{ EvaluationPeriods: 1, MetricName: "Any", Namespace: "Any", Statistic: "Sum" },
        Period: 60,
      }),
    );
    await setAlarm("ALARM", neighbours);
    await step("its functions run, and a smoke test walks through them", async (found) => {
      const outcome = await smoke();
      const { hops = [], checks = [] } = reportOf(outcome);
      if (outcome.code !== 0) found.wrong.push(`It ended with ${outcome.code}: ${outcome.err}`);
      const unseen = checks.filter(({ result }) => result !== "ok");
      found.wrong.push(...unseen.map(({ what, detail }) => `${what}: ${detail}`));
      found.said.push(`${hops.length} hops, ${checks.length} checks`);
      const alarms = checks.find(({ what }) => what === "alarms")?.detail;
      const own = snapshot.resources.filter(({ type }) => type === "AWS::CloudWatch::Alarm");
      if (alarms !== `${own.length}, none of them red`)
        found.wrong.push(`The stage has ${own.length} alarms; it says: ${alarms}`);
    });
    await step("it names a mapping that is off and an alarm that is red", async (found) => {
      await Promise.all([setMapping(false), setAlarm("ALARM")]);
      const outcome = await smoke();
      await Promise.all([setMapping(true), setAlarm("OK")]);
      const { checks = [] } = reportOf(outcome);
      const red = checks.filter(({ result }) => result === "failed");
      found.said.push(...red.map(({ what, detail }) => `${what}: ${detail}`), outcome.err.trim());
      const expected = [
        /^event sources of the worker: arn:aws:sqs:.*\.fifo: Disabled$/,
        new RegExp(`^alarms: portcullis-${name}-DeadLetters$`),
        /2 failures: event sources of the worker; alarms\./,
      ];
      const missing = expected.filter((one) => !found.said.some((line) => one.test(line)));
      found.wrong.push(...missing.map((one) => `It does not say ${one}.`));
      if (outcome.code !== 1) found.wrong.push(`It ended with ${outcome.code}, not 1.`);
    });
    await step("drained, its targets are what they were, byte for byte", async (found) => {
      const { out } = await checkout.portcullis("token", "new", "rehearsal", "--role", "operator");
      // Gently: moto answers one call at a time, and the functions make do with half a second for each.
      const accepted = await poll(
        async () => (await block(running.api, out.trim())) || undefined,
        ACCEPTED_WITHIN_MS,
        LOOK_EVERY_MS,
      );
      if (!accepted) found.wrong.push("The new token's block was not accepted.");
      const entered = await poll(
        async () => {
          const described = await guarded.described();
          return BLOCKED.every((ip) => described.includes(`"${ip}/`)) || undefined;
        },
        ENTERED_WITHIN_MS,
        LOOK_EVERY_MS,
      );
      if (!entered) {
        const logs = ["blacklist", "worker", "enforcer"].map((one) => endOf(running.logDir, one));
        found.wrong.push("What is blocked has not come into the targets.", ...logs);
      }
      const drained = await checkout.portcullis("drain", "--timeout", "60s");
      if (drained.code !== 0) found.wrong.push(`It ended with ${drained.code}: ${drained.err}`);
      if ((await guarded.described()) !== targetsBefore)
        found.wrong.push("The targets are not what they were before the first deployment.");
      found.said.push(`${BLOCKED.length} blocked, and none of theirs left in ACL and IP sets`);
    });
  } finally {
    await running.stop();
    lambda.destroy();
    cloudWatch.destroy();
  }
}

type Report = {
  readonly hops?: readonly { readonly what: string }[];
  readonly checks?: readonly {
    readonly what: string;
    readonly result: string;
    readonly detail: string;
  }[];
};

const reportOf = ({ out }: Outcome): Report => (out === "" ? {} : JSON.parse(out));

/** The last that a function has logged. */
function endOf(logDir: string, name: string): string {
  const lines = readFileSync(join(logDir, `${name}.log`), "utf8").split("\n");
  return [`${name}:`, ...lines.slice(-LINES).map((line) => line.slice(0, LINE_LENGTH))].join("\n");
}

/** A new token is known within seconds: it is tried until then. */
async function block(api: string, token: string): Promise<boolean> {
  const response = await fetch(new URL("/blacklistip", api), {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ ips: BLOCKED, severity: 9, expiryTime: 3_600 }),
  });
  await response.arrayBuffer();
  return response.ok;
}
