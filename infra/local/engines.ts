import { execFile } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { type EngineProcess, startEngineProcess } from "./engines/child.ts";
import { startSsm } from "./engines/ssm.ts";
import { SetupError } from "./errors.ts";
import { readJson, writeJson } from "./files.ts";
import { killProcess, type ProcessMark } from "./processes.ts";

/** The AWS services that the product talks to. */
export type Service = "dynamodb" | "sqs" | "ec2" | "ssm" | "wafv2";

/** What to start. */
export type EngineOptions = {
  /** Where the engines keep their state; made when missing. */
  stateDir: string;
  /** Where their output goes. */
  logDir: string;
  region: string;
  /** Default: all of them. */
  services?: readonly Service[];
  /** Default: this process's. `AWS_ENDPOINT_URL_…` is used instead of starting an engine. */
  env?: Readonly<Record<string, string | undefined>>;
};

/** Running engines. */
export type Engines = {
  /** The addresses of the requested engines, local or not. */
  endpoints: Readonly<Record<Service | "dynamodbStreams", string>>;
  /** Resolves with the name of an engine that ended by itself. */
  failed: Promise<string>;
  /** Stops them. Their state is deleted, unless it is to be kept. */
  stop(options?: { keepState?: boolean }): Promise<void>;
};

const ALL: readonly Service[] = ["dynamodb", "sqs", "ec2", "ssm", "wafv2"];
const JAVA_NEEDED = 17;

/**
 * Starts the local engines, each on a free port of 127.0.0.1, on the state that an earlier run left
 * behind when it was killed; engines of that run which still hold it are stopped first.
 *
 * @throws SetupError when something is missing on this machine
 */
export async function startEngines(options: EngineOptions): Promise<Engines> {
  const { stateDir, logDir, region, services = ALL, env = process.env } = options;
  const local = services.filter((service) => !external(env, service));
  if (local.includes("dynamodb")) await requireJava();
  mkdirSync(stateDir, { recursive: true });
  mkdirSync(logDir, { recursive: true });

  const recordFile = join(stateDir, "engines.json");
  await Promise.all((readJson<ProcessMark[]>(recordFile) ?? []).map((mark) => killProcess(mark)));

  const processes: EngineProcess[] = [];
  const urls: Partial<Record<Service, string>> = {};
  const stops: (() => Promise<void>)[] = [];

  const starters: Record<Service, () => Promise<void>> = {
    dynamodb: () => run("dynamodb", "DynamoDB Local", "dynamodb.ts"),
    sqs: () => run("sqs", "The SQS engine", "sqs.ts"),
    ec2: () =>
      run("ec2", "The EC2 emulator", "ec2/main.ts", {
        AWS_REGION: region,
        EC2_PORT: "0",
        EC2_STATE_FILE: join(stateDir, "ec2", "state.json"),
        EXIT_WITH_PARENT: "1",
      }),
    wafv2: () =>
      run("wafv2", "The WAF emulator", "wafv2/main.ts", {
        AWS_REGION: region,
        WAFV2_PORT: "0",
        WAFV2_STATE_FILE: join(stateDir, "wafv2", "state.json"),
        EXIT_WITH_PARENT: "1",
      }),
    async ssm() {
      const ssm = await startSsm({ stateFile: join(stateDir, "ssm.json"), region });
      urls.ssm = ssm.url;
      stops.push(ssm.stop);
    },
  };
  async function run(
    service: Service,
    title: string,
    main: string,
    extra: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const engine = await startEngineProcess(
      title,
      new URL(`./engines/${main}`, import.meta.url),
      [join(stateDir, service)],
      extra,
      join(logDir, `engine-${service}.log`),
    );
    urls[service] = engine.url;
    processes.push(engine);
    stops.push(engine.stop);
    writeJson(
      recordFile,
      processes.flatMap(({ marks }) => marks),
    );
  }

  let stopping = false;
  async function stop({ keepState = false } = {}): Promise<void> {
    stopping = true;
    await Promise.all(stops.map((each) => each()));
    rmSync(keepState ? recordFile : stateDir, { recursive: true, force: true });
  }

  const started = await Promise.allSettled(local.map((service) => starters[service]()));
  const failure = started.find((result) => result.status === "rejected");
  if (failure) {
    await stop({ keepState: true });
    throw failure.reason;
  }
  for (const service of services) urls[service] ??= external(env, service) ?? "";

  return {
    endpoints: {
      dynamodb: urls.dynamodb ?? "",
      dynamodbStreams: env.AWS_ENDPOINT_URL_DYNAMODB_STREAMS || (urls.dynamodb ?? ""),
      sqs: urls.sqs ?? "",
      ec2: urls.ec2 ?? "",
      ssm: urls.ssm ?? "",
      wafv2: urls.wafv2 ?? "",
    },
    failed: new Promise((failed) => {
      for (const { name, exited } of processes) exited.then(() => stopping || failed(name));
    }),
    stop,
  };
}

/** The endpoint that the environment names for a service, as the SDKs read it. */
export const external = (
  env: Readonly<Record<string, string | undefined>>,
  service: Service,
): string | undefined => env[`AWS_ENDPOINT_URL_${service.toUpperCase()}`] || undefined;

async function requireJava(): Promise<void> {
  const install = {
    darwin: "brew install --cask temurin@17",
    win32: "winget install EclipseAdoptium.Temurin.17.JRE",
  } as Partial<Record<NodeJS.Platform, string>>;
  const command = install[process.platform] ?? "sudo apt-get install -y openjdk-17-jre-headless";
  const { stderr } = await promisify(execFile)("java", ["-version"], { timeout: 20_000 }).catch(
    () => ({ stderr: "" }),
  );
  const found = Number(/version "(?:1\.)?(\d+)/.exec(stderr)?.[1] ?? 0);
  if (found < JAVA_NEEDED) {
    const have = found === 0 ? "there is none" : `this is Java ${found}`;
    throw new SetupError(`DynamoDB Local needs Java ${JAVA_NEEDED} and ${have}: ${command}`);
  }
}
