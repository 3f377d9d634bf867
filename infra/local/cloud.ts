import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SendMessageCommand } from "@aws-sdk/client-sqs";
import { type Clients, createClients, dummyCredentials } from "./clients.ts";
import { type Engines, external, startEngines } from "./engines.ts";
import { SetupError } from "./errors.ts";
import { readJson, writeJson } from "./files.ts";
import { createFunction, type LambdaFunction } from "./lambda.ts";
import { takeLock } from "./lock.ts";
import { type Log, openLog } from "./log.ts";
import { packageServices } from "./package.ts";
import { createResources, parametersFor } from "./resources.ts";
import { type Environment, type LocalSettings, readSettings } from "./settings.ts";
import { startEventBus } from "./sources/events.ts";
import { startHttpSource } from "./sources/http.ts";
import { startInvokeApi } from "./sources/invoke.ts";
import { startQueueSource } from "./sources/queue.ts";
import { startSchedule } from "./sources/schedule.ts";
import type { EventSource } from "./sources/source.ts";
import { type Checkpoints, startStreamSource } from "./sources/stream.ts";
import { defaultAcl, provideAcls, provideIpSets, type Target } from "./targets.ts";
import { type Created, type FunctionModel, type Model, readModel } from "./template.ts";
import { makeTokens, parametersOf } from "./tokens.ts";

/** How long running invocations may take to end when the cloud stops. */
const GRACE_MS = 5_000;

/** The function that asks CrowdSec, and the caller name under which it reports. */
const CROWDSEC = "crowdsec";

/** The content of `.local/stack.json`. */
export type Stack = {
  api: string;
  detectorToken: string;
  operatorToken: string;
  /** The first of the network ACLs. */
  aclId: string;
  targets: readonly Target[];
  tableName: string;
  queueUrl: string;
  deadLetterQueueUrl: string;
  region: string;
  endpoints: {
    dynamodb: string;
    sqs: string;
    ec2: string;
    ssm: string;
    wafv2: string;
    lambda: string;
    events: string;
  };
  pid: number;
};

/** A running local cloud. */
export type Cloud = {
  stack: Stack;
  localDir: string;
  /** Resolves with the name of an engine that ended by itself. */
  failed: Promise<string>;
  /** Stops everything within bounded time and deletes the state, unless it is to be kept. */
  stop(options?: { keepState?: boolean }): Promise<void>;
};

/**
 * Starts the product on this machine: packages it as for a deployment, starts the engines, creates
 * the templates' resources, and runs the functions on their event sources.
 *
 * @throws SetupError for whatever a person can fix
 */
export async function startCloud({
  env = process.env,
}: {
  env?: Environment;
} = {}): Promise<Cloud> {
  const settings = readSettings(env);
  const { localDir, region } = settings;
  const stateDir = join(localDir, "state");
  const logDir = join(localDir, "logs");
  if (external(env, "ec2") && settings.aclIds.length === 0) {
    throw new SetupError("AWS_ENDPOINT_URL_EC2 is set, so ACL_ID must name the network ACL there.");
  }
  const lock = await takeLock(join(localDir, "runner.lock"));
  if ("heldBy" in lock) {
    throw new SetupError(`The local cloud in ${localDir} runs already (process ${lock.heldBy}).`);
  }

  const resumed = existsSync(stateDir);

  /** What has been started, to be stopped in reverse order. */
  const stops: ((options: { keepState: boolean }) => Promise<void>)[] = [async () => lock.free()];
  const stop = async ({ keepState = false } = {}): Promise<void> => {
    for (const each of stops.splice(0).reverse()) await each({ keepState });
  };

  try {
    const packaged = await packageServices(join(localDir, "code"));
    const engines = await startEngines({ stateDir, logDir, region, env });
    stops.push((options) => engines.stop(options));
    const clients = createClients(engines.endpoints, region, env);
    stops.push(async () => clients.destroy());

    const { aclIds, targets } = await provideTargets(settings, engines, clients, env);
    const tokens = makeTokens(join(stateDir, "tokens.json"));
    const pulls = settings.crowdsecKey === undefined ? [] : [CROWDSEC];
    const lists = parametersOf(tokens, env.CALLERS, pulls);
    const planned = withTimeToLive(settings.timeToLive, readModel(packaged.templates, { region }));
    const parameters = parametersFor(planned, {
      TOKENS_PARAMETER: lists.tokens,
      CALLERS_PARAMETER: lists.callers,
      NEVER_BLOCK_PARAMETER: settings.neverBlock ?? "none",
      CROWDSEC_KEY_PARAMETER: settings.crowdsecKey ?? "none",
    });
    const created = await createResources(clients, planned, [...planned.parameters, ...parameters]);
    const model = readModel(packaged.templates, { region, created });

    const base = baseEnvironment(env, engines, region);
    const functions = new Map<string, Running>();
    for (const fn of model.functions) {
      const log = openLog(logDir, fn.artefact);
      const overrides = settingsOf(fn, env, {
        ACL_ID: aclIds.join(","),
        WAF_IP_SETS: settings.wafIpSets.join(","),
      });
      const environment = { ...fn.environment, ...overrides };
      const lambda = createFunction(fn, {
        codeDir: packaged.codeDir,
        // Each call's User-Agent names its function: in AWS its role tells them apart, here nothing would.
        env: { ...base, AWS_SDK_UA_APP_ID: fn.artefact, ...environment },
        log,
        ...(settings.preload !== undefined && { preload: settings.preload }),
      });
      functions.set(fn.name, { fn, log, lambda, environment });
    }
    stops.push(async () => {
      await Promise.all([...functions.values()].map(({ log }) => log.close()));
    });
    const sources: EventSource[] = [];
    stops.push(async () => {
      // A source ends when its invocations have: both at once, so that the grace bounds them all.
      const closing = [...functions.values()].map(({ lambda }) => lambda.close(GRACE_MS));
      await Promise.all([...sources.map((source) => source.stop()), ...closing]);
    });

    const find = (name: string): Running => {
      const found = functions.get(name);
      if (!found) throw new Error(`No function ${name} in the templates`);
      return found;
    };
    const api = await startHttpSource({
      port: settings.port,
      accountId: model.accountId,
      invoke: find(model.apiFunctionName).lambda.invoke,
    });
    sources.push(api);
    const invokeApi = await startInvokeApi(
      new Map(
        [...functions].map(([name, { lambda, environment }]) => [
          name,
          { invoke: lambda.invoke, environment },
        ]),
      ),
    );
    sources.push(invokeApi);
    const bus = await startEventBus({
      rules: model.eventRules,
      queueUrl: (arn) => queueBy(created, arn).url,
      sqs: clients.sqs,
      region,
      accountId: model.accountId,
    });
    sources.push(bus);
    for (const mapping of model.queueMappings) {
      const { lambda, log } = find(mapping.functionName);
      const queueUrl = queueBy(created, mapping.queueArn).url;
      const invoke = lambda.invoke;
      sources.push(startQueueSource({ sqs: clients.sqs, queueUrl, region, mapping, invoke, log }));
    }
    for (const mapping of model.streamMappings) {
      const { fn, lambda, log } = find(mapping.functionName);
      sources.push(
        startStreamSource({
          streams: clients.streams,
          streamArn: mapping.streamArn,
          functionArn: fn.arn,
          mapping,
          invoke: lambda.invoke,
          async sendFailure(MessageBody) {
            const QueueUrl = queueBy(created, mapping.failureQueueArn).url;
            await clients.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }));
          },
          checkpoints: openCheckpoints(join(stateDir, `checkpoints-${fn.artefact}.json`)),
          log,
        }),
      );
    }
    for (const schedule of model.schedules) {
      const { fn, lambda, log } = find(schedule.functionName);
      const isPull = fn.artefact === CROWDSEC;
      if (isPull && !pulls.includes(CROWDSEC)) continue;
      const periodSeconds =
        (isPull ? settings.pullSeconds : settings.reconcileSeconds) ?? schedule.periodSeconds;
      if (periodSeconds === 0) continue;
      sources.push(
        startSchedule({
          schedule: { ...schedule, periodSeconds },
          asynchronous: fn.asynchronous,
          region,
          accountId: model.accountId,
          invoke: lambda.invoke,
          log,
        }),
      );
    }

    const { dynamodb, sqs, ec2, ssm, wafv2 } = engines.endpoints;
    const stack: Stack = {
      api: api.url,
      detectorToken: tokens.detector,
      operatorToken: tokens.operator,
      aclId: aclIds[0] ?? "",
      targets,
      tableName: model.table.name,
      ...mainQueues(model, created),
      region,
      endpoints: { dynamodb, sqs, ec2, ssm, wafv2, lambda: invokeApi.url, events: bus.url },
      pid: process.pid,
    };
    const stackFile = join(localDir, "stack.json");
    writeJson(stackFile, stack);
    stops.push(async () => rmSync(stackFile, { force: true }));
    return { stack, localDir, failed: engines.failed, stop };
  } catch (error) {
    await stop({ keepState: resumed });
    throw error;
  }
}

/** The targets: created if the engine is local, otherwise used as they are. */
async function provideTargets(
  { aclIds: named, wafIpSets }: LocalSettings,
  { endpoints }: Engines,
  { ec2, wafv2 }: Clients,
  env: Environment,
): Promise<{ aclIds: readonly string[]; targets: readonly Target[] }> {
  const aclIds = named.length > 0 ? named : [await defaultAcl(ec2)];
  if (!external(env, "ec2")) await provideAcls(endpoints.ec2, aclIds);
  if (!external(env, "wafv2")) await provideIpSets(wafv2, endpoints.wafv2, wafIpSets);
  const targets = [
    ...aclIds.map((id): Target => ({ id, kind: "networkAcl" })),
    ...wafIpSets.map((id): Target => ({ id, kind: "wafIpSet" })),
  ];
  return { aclIds, targets };
}

/** The model, without the table's time to live if that is turned off. */
function withTimeToLive(isOn: boolean, model: Model): Model {
  if (isOn) return model;
  const { ttlAttribute: _, ...table } = model.table;
  return { ...model, table };
}

type Running = {
  fn: FunctionModel;
  log: Log;
  lambda: LambdaFunction;
  environment: Record<string, string>;
};

/** The settings of a function that the runner's environment replaces, and its targets, even if none. */
function settingsOf(
  fn: FunctionModel,
  env: Environment,
  targets: Readonly<Record<string, string>>,
): Record<string, string> {
  // NODE_OPTIONS here are the runner's own.
  const names = fn.settings.filter((name) => name !== "NODE_OPTIONS");
  const replaced = names.map((name) => [name, targets[name] ?? (env[name] || undefined)] as const);
  return Object.fromEntries(
    replaced.filter((pair): pair is readonly [string, string] => pair[1] !== undefined),
  );
}

/** What every function's environment holds besides its own settings: credentials and endpoints. */
function baseEnvironment(
  env: Environment,
  { endpoints }: Engines,
  region: string,
): Record<string, string> {
  const passed = Object.entries(env).filter(
    ([name, value]) => value !== undefined && /^(AWS_|PATH$|HOME$|LANG$)/.test(name),
  ) as [string, string][];
  return {
    ...Object.fromEntries(passed),
    ...dummyCredentials(env),
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_ENDPOINT_URL_DYNAMODB: endpoints.dynamodb,
    AWS_ENDPOINT_URL_SQS: endpoints.sqs,
    AWS_ENDPOINT_URL_EC2: endpoints.ec2,
    AWS_ENDPOINT_URL_SSM: endpoints.ssm,
    AWS_ENDPOINT_URL_WAFV2: endpoints.wafv2,
    TZ: "UTC",
  };
}

function queueBy(
  created: Pick<Created, "queues">,
  arn: string | undefined,
): { url: string; arn: string } {
  const found = Object.values(created.queues).find((queue) => queue.arn === arn);
  if (!found) throw new Error(`No queue ${arn} in the templates`);
  return found;
}

/** The FIFO queue that feeds a function and has a dead-letter queue, and that dead-letter queue. */
export function mainQueues(
  { queues, queueMappings }: Pick<Model, "queues" | "queueMappings">,
  created: Pick<Created, "queues">,
): Pick<Stack, "queueUrl" | "deadLetterQueueUrl"> {
  const sources = new Set(queueMappings.map(({ queueArn }) => queueArn));
  for (const { name, attributes, redrive } of queues) {
    const queue = created.queues[name];
    if (!queue || !redrive || attributes.FifoQueue !== "true" || !sources.has(queue.arn)) continue;
    const deadLetterQueueUrl = created.queues[redrive.deadLetterQueue]?.url ?? "";
    return { queueUrl: queue.url, deadLetterQueueUrl };
  }
  throw new Error("The templates have no FIFO queue with a redrive policy that feeds a function");
}

function openCheckpoints(file: string): Checkpoints {
  const known = readJson<Record<string, string>>(file) ?? {};
  return {
    get: (shardId) => known[shardId],
    set(shardId, sequenceNumber) {
      known[shardId] = sequenceNumber;
      writeJson(file, known);
    },
  };
}
