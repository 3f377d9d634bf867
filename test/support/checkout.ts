import { execFile } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { parse, stringify } from "yaml";
import type { Resource, Template } from "../../infra/local/intrinsics.ts";
import { PROJECT_ROOT } from "../../infra/local/package.ts";

/** A step that hangs is a finding, not a reason to wait. */
const STEP_TIMEOUT_MS = 150_000;
/** The region of all stages that tests deploy. */
export const REGION = "us-east-1";
/**
 * What `serverless` may keep from run to run: its compiled modules, and the validator that it generates of
 * its schema. Without it a home of its own pays seconds for them with each of five services.
 */
export const CACHES = {
  NODE_COMPILE_CACHE: join(PROJECT_ROOT, ".local/compile-cache"),
  SLS_SCHEMA_CACHE_BASE_DIR: join(PROJECT_ROOT, ".local"),
};
const TEMPLATE = ".serverless/cloudformation-template-update-stack.json";
const COPIED = [
  "infra",
  "services",
  "shared",
  "package.json",
  "package-lock.json",
  "serverless-compose.yml",
  "tsconfig.json",
];

/** A resource as a service's compiled template declares it. */
export type Declared = Resource & {
  readonly name: string;
  readonly Condition?: string;
  readonly DeletionPolicy?: string;
};

/** A checkout of its own, so that two stages can be deployed at once and nothing else is disturbed. */
export type Checkout = {
  /** Runs `serverless` on the stage as a person would, and returns what it said. */
  serverless(...args: string[]): Promise<string>;
  /** Runs `portcullis` on the stage as an operator would. */
  portcullis(...args: string[]): Promise<Outcome>;
  /** The compiled templates of the last packaging, in the order of the services. */
  templates(): readonly Template[];
  /** What they declare, by service. */
  declared(): Record<string, readonly Declared[]>;
  /** Gives some settings other values from now on. */
  change(settings: Partial<Settings>): void;
  remove(): void;
};

/** What an operator sees of a command. */
export type Outcome = { readonly code: number; readonly out: string; readonly err: string };

/** What a stage is deployed with, as its stage file says it. */
export type Settings = {
  readonly targets: {
    readonly networkAcls: readonly string[];
    readonly wafIpSets: readonly string[];
  };
  readonly events?: { readonly guardDuty: "on"; readonly securityHub: "on" };
  readonly ruleLimit?: number;
  readonly mode?: "enforce" | "monitor";
};

/**
 * Copies what a deployment needs. Nothing of the shell goes into it: no profile, and no variables but
 * those that are given here.
 */
export function checkOut(
  stage: string,
  settings: Settings,
  variables: Readonly<Record<string, string>> = {},
): Checkout {
  const root = mkdtempSync(join(tmpdir(), "portcullis-rehearsal-"));
  for (const path of COPIED) {
    cpSync(join(PROJECT_ROOT, path), join(root, path), {
      recursive: true,
      filter: (source) => !/\/(\.serverless|\.esbuild|node_modules)(\/|$)/.test(source),
    });
  }
  symlinkSync(join(PROJECT_ROOT, "node_modules"), join(root, "node_modules"));
  const home = join(root, ".home");
  mkdirSync(home);
  const path = [join(PROJECT_ROOT, "node_modules/.bin"), process.env.PATH].join(delimiter);
  let fromSettings = configure(root, stage, settings);

  return {
    async serverless(...args) {
      const program = join(PROJECT_ROOT, "node_modules/serverless/bin/serverless.js");
      const options = {
        cwd: root,
        env: { PATH: path, HOME: home, CI: "1", ...CACHES, ...variables, ...fromSettings },
        timeout: STEP_TIMEOUT_MS,
        maxBuffer: 2 ** 26,
      };
      try {
        const { stdout, stderr } = await promisify(execFile)(
          process.execPath,
          [program, ...args, "--stage", stage],
          options,
        );
        return stdout + stderr;
      } catch (error) {
        const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
        throw new Error(`serverless ${args.join(" ")} failed:\n${stdout}${stderr}`);
      }
    },
    async portcullis(...args) {
      const { NODE_OPTIONS: _, ...own } = variables;
      const env = { PATH: path, HOME: home, ...own };
      const options = { cwd: root, env, timeout: STEP_TIMEOUT_MS };
      const program = join(root, "services/cli/portcullis.ts");
      return promisify(execFile)(
        process.execPath,
        [program, ...args, "--stage", stage],
        options,
      ).then(
        ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
        ({ code, stdout, stderr }) => ({ code, out: stdout, err: stderr }),
      );
    },
    templates: () => services(root).map(({ template }) => template),
    declared() {
      const entries = services(root).map(({ name, template }) => {
        const resources = Object.entries(template.Resources);
        return [name, resources.map(([id, resource]) => ({ ...resource, name: id }))] as const;
      });
      return Object.fromEntries(entries);
    },
    change(changed) {
      fromSettings = configure(root, stage, { ...settings, ...changed });
    },
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

/**
 * Writes the settings into the stage's file, made from the example where there is none.
 *
 * @returns variables, for a checkout that has no stage files
 */
function configure(
  root: string,
  stage: string,
  { targets, events, ruleLimit, mode }: Settings,
): Record<string, string> {
  const file = (name: string) => join(root, "infra/stages", `${name}.yml`);
  if (!existsSync(file("example"))) {
    return {
      ACL_ID: targets.networkAcls.join(","),
      WAF_IP_SETS: targets.wafIpSets.join(","),
      AWS_REGION: REGION,
      ...(ruleLimit !== undefined && { RULE_LIMIT: String(ruleLimit) }),
    };
  }
  const base = parse(readFileSync(file(existsSync(file(stage)) ? stage : "example"), "utf8"));
  const settings = {
    ...base,
    region: REGION,
    targets: { ...base.targets, ...targets },
    ...(events && { events }),
    ...(ruleLimit !== undefined && { ruleLimit }),
    ...(mode !== undefined && { mode }),
  };
  writeFileSync(file(stage), stringify(settings));
  return {};
}

/** The services in the order of `serverless-compose.yml`, as they were packaged last. */
function services(root: string): { name: string; template: Template }[] {
  const compose = parse(readFileSync(join(root, "serverless-compose.yml"), "utf8")) as {
    services: Record<string, { path: string }>;
  };
  return Object.values(compose.services).map(({ path }) => {
    const text = readFileSync(join(root, path, "serverless.yml"), "utf8");
    const { service } = parse(text, { logLevel: "silent" }) as { service: string };
    const template = JSON.parse(readFileSync(join(root, path, TEMPLATE), "utf8")) as Template;
    return { name: service, template };
  });
}
