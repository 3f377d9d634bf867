import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Clients, createClients } from "../../infra/local/clients.ts";
import { startEngineProcess } from "../../infra/local/engines/child.ts";
import { type Engines, startEngines } from "../../infra/local/engines.ts";
import { PROJECT_ROOT, packageServices } from "../../infra/local/package.ts";
import { createResources, parametersFor } from "../../infra/local/resources.ts";
import { type Created, type Model, readModel } from "../../infra/local/template.ts";

export const BENCH_DIR = join(PROJECT_ROOT, ".local", "bench");
const REGION = "us-east-1";

/** The engines with the product's resources in them, and the product packaged. */
export type Stage = {
  /** Where logs and whatever else belongs to it may be kept. */
  readonly dir: string;
  readonly endpoints: Engines["endpoints"];
  readonly region: string;
  readonly clients: Clients;
  readonly model: Model;
  readonly created: Created;
  /** A folder with one unpacked bundle for each function. */
  readonly codeDir: string;
  stop(): Promise<void>;
};

/**
 * Starts the engines, DynamoDB Local in memory, EC2 and WAF without their throttles. The SDK clients that this
 * process makes from now on find them through the environment, as the functions' do.
 */
export async function startStage(name: string): Promise<Stage> {
  const dir = join(BENCH_DIR, name);
  rmSync(dir, { recursive: true, force: true });
  const logDir = join(dir, "logs");
  mkdirSync(logDir, { recursive: true });
  const packaged = await packageServices(join(dir, "code"));

  const dynamodb = await startEngineProcess(
    "DynamoDB Local",
    new URL("../../infra/local/engines/dynamodb.ts", import.meta.url),
    [],
    {},
    join(logDir, "engine-dynamodb.log"),
  );
  const engines = await startEngines({
    stateDir: join(dir, "state"),
    logDir,
    region: REGION,
    env: { AWS_ENDPOINT_URL_DYNAMODB: dynamodb.url },
  });
  const { endpoints } = engines;
  Object.assign(process.env, environmentOf(endpoints));
  await control(endpoints.ec2, { throttle: false });
  await control(endpoints.wafv2, { throttle: false });

  const clients = createClients(endpoints, REGION);
  const planned = readModel(packaged.templates, { region: REGION });
  const parameters = parametersFor(planned, {
    TOKENS_PARAMETER: "[]",
    CALLERS_PARAMETER: "[]",
    NEVER_BLOCK_PARAMETER: "none",
  });
  const created = await createResources(clients, planned, parameters);
  return {
    dir,
    endpoints,
    region: REGION,
    clients,
    model: readModel(packaged.templates, { region: REGION, created }),
    created,
    codeDir: packaged.codeDir,
    async stop() {
      clients.destroy();
      await Promise.all([engines.stop(), dynamodb.stop()]);
    },
  };
}

/** What points an AWS SDK client at the engines. */
export function environmentOf(endpoints: Engines["endpoints"]): Record<string, string> {
  return {
    AWS_REGION: REGION,
    AWS_ACCESS_KEY_ID: "local",
    AWS_SECRET_ACCESS_KEY: "local",
    AWS_ENDPOINT_URL_DYNAMODB: endpoints.dynamodb,
    AWS_ENDPOINT_URL_SQS: endpoints.sqs,
    AWS_ENDPOINT_URL_EC2: endpoints.ec2,
    AWS_ENDPOINT_URL_SSM: endpoints.ssm,
    AWS_ENDPOINT_URL_WAFV2: endpoints.wafv2,
  };
}

/** Sets how an emulator behaves. */
export async function control(emulator: string, settings: object): Promise<void> {
  const { ok, status } = await fetch(new URL("/_control", emulator), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(settings),
    signal: AbortSignal.timeout(10_000),
  });
  if (!ok) throw new Error(`The emulator refused a setting: ${status}`);
}
