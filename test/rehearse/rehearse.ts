import { mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import Table from "cli-table3";
import pc from "picocolors";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import { type Checkout, checkOut, REGION, type Settings } from "../support/checkout.ts";
import { type Account, configOf, type Made, openAccount, type Snapshot } from "./account.ts";
import { findPython, INSTALL, type Moto, startMoto } from "./moto.ts";
import { operate } from "./operate.ts";
import { checkPolicy } from "./policy.ts";
import { type Guarded, makeTargets } from "./targets.ts";

// npm run rehearse: the real `serverless` deploys the real templates to moto's server, again, with another
// parameter, and beside a second stage; the first one's functions run, and operators smoke-test and drain
// it; then both are removed. Exits with 0 where all of it went as it should, and where moto is missing;
// with 1 otherwise.

const FIRST = "rehearsal";
const SECOND = "rehearsal-b";
const LIMIT_MS = 1000 * Number(process.env.REHEARSAL_SECONDS ?? 180);
const RECORDER = fileURLToPath(new URL("../support/record.cjs", import.meta.url));
/** Every call that `serverless` sends, a line each. */
const CALLS = join(PROJECT_ROOT, ".local/rehearsal-calls.jsonl");

type Stage = {
  readonly name: string;
  readonly checkout: Checkout;
  /** The last deployment's. */
  snapshot: Snapshot;
};

const problems: string[] = [];
const startedAt = performance.now();
const seconds = (sinceMs: number) => `${((performance.now() - sinceMs) / 1_000).toFixed(0)} s`;

const python = findPython();
if (python === undefined) {
  console.log(`SKIPPED: moto is missing; install it with: ${INSTALL}`);
  process.exit(0);
}

/** The step's findings, under its name and with its time. */
async function step<T>(name: string, run: (found: Findings) => Promise<T>): Promise<T> {
  const beganAt = performance.now();
  const found: Findings = { wrong: [], said: [] };
  try {
    return await run(found);
  } catch (error) {
    found.wrong.push(error instanceof Error ? error.message : String(error));
    throw error;
  } finally {
    const mark = found.wrong.length === 0 ? pc.green("✓") : pc.red("✗");
    console.log(`${mark} ${name} ${pc.dim(`(${seconds(beganAt)})`)}`);
    for (const line of found.said) console.log(`  ${line}`);
    for (const line of found.wrong) console.log(pc.red(`  ${line}`));
    problems.push(...found.wrong);
  }
}
type Findings = { wrong: string[]; said: string[] };

const settingsOf = (stage: string, guarded: Guarded): Settings => ({
  mode: "enforce",
  targets: {
    networkAcls: [stage === FIRST ? guarded.aclId : "acl-0bbbbbbbbbbbbbbbb"],
    wafIpSets: [guarded.ipSets],
  },
  events: { guardDuty: "on", securityHub: "on" },
});

const variablesOf = ({ url }: Moto): Record<string, string> => ({
  AWS_ENDPOINT_URL: url,
  AWS_ACCESS_KEY_ID: "rehearsal",
  AWS_SECRET_ACCESS_KEY: "rehearsal",
  SLS_AWS_MONITORING_FREQUENCY: "200",
  NODE_OPTIONS: `--require ${RECORDER}`,
  AWS_CALLS: CALLS,
});

async function deploy(
  account: Account,
  { checkout, name }: Pick<Stage, "checkout" | "name">,
): Promise<{ said: string; snapshot: Snapshot }> {
  const said = await checkout.serverless("deploy", "--verbose");
  return { said, snapshot: await account.read(Object.keys(checkout.declared()), name) };
}

/** Everything declared is there: the stack has it, and so says the service that it belongs to. */
async function checkDeployed(
  account: Account,
  { checkout, name }: Pick<Stage, "checkout" | "name">,
  { resources }: Snapshot,
  { wrong, said }: Findings,
): Promise<void> {
  let confirmed = 0;
  let conditional = 0;
  for (const [service, declared] of Object.entries(checkout.declared())) {
    const stack = `${service}-${name}`;
    for (const { name: logicalId, Type, Condition } of declared) {
      const made = resources.find((each) => each.stack === stack && each.name === logicalId);
      if (!made) {
        if (Condition) conditional += 1;
        else wrong.push(`${stack}: ${logicalId} (${Type}) is declared, and not in the stack.`);
        continue;
      }
      const exists = await account.exists(made);
      if (exists) confirmed += 1;
      if (exists === false) wrong.push(`${stack}: ${logicalId} (${Type}) does not exist.`);
    }
  }
  said.push(
    `${resources.length} resources in ${new Set(resources.map(({ stack }) => stack)).size} stacks; ` +
      `${confirmed} of them confirmed by their own service` +
      (conditional > 0 ? `; ${conditional} left out by a condition` : ""),
  );
}

/** Everything is gone, but for what its `DeletionPolicy` keeps. */
async function checkRemoved(
  account: Account,
  { checkout, name, snapshot }: Stage,
  { wrong, said }: Findings,
): Promise<void> {
  const stacks = await account.stacks();
  for (const stack of new Set(snapshot.resources.map((made) => made.stack))) {
    if (stacks.includes(stack)) wrong.push(`The stack ${stack} is still there.`);
  }
  const declared = Object.entries(checkout.declared()).flatMap(([service, resources]) =>
    resources.map((resource) => ({ ...resource, stack: `${service}-${name}` })),
  );
  const isKept = (made: Made) =>
    declared
      .find((each) => each.stack === made.stack && each.name === made.name)
      ?.DeletionPolicy?.startsWith("Retain") ?? false;
  for (const made of snapshot.resources) {
    const exists = await account.exists(made);
    if (exists === undefined) continue;
    if (exists && !isKept(made)) wrong.push(`${made.id} (${made.type}) is still there.`);
    if (!exists && isKept(made)) wrong.push(`${made.id} (${made.type}) should have been kept.`);
    if (exists && isKept(made)) said.push(`kept by choice: ${made.id} (${made.type})`);
  }
}

/** What differs between two snapshots, in words. */
function differences(before: Snapshot, after: Snapshot): string[] {
  return (["resources", "templates", "functions", "history"] as const)
    .filter((part) => !isDeepStrictEqual(before[part], after[part]))
    .map((part) => `The stacks' ${part} have changed.`);
}

/** Deploys a stage again: as it is, and with one setting changed. */
async function redeploy(account: Account, stage: Stage): Promise<void> {
  await step("deploys it again: nothing changes", async ({ wrong }) => {
    const { snapshot } = await deploy(account, stage);
    wrong.push(...differences(stage.snapshot, snapshot));
  });

  await step("deploys it with another parameter: that changes, and nothing else", async (found) => {
    stage.checkout.change({ ruleLimit: 12 });
    const { snapshot } = await deploy(account, stage);
    const changed: string[] = [];
    for (const [id, before] of Object.entries(stage.snapshot.functions)) {
      const after = snapshot.functions[id];
      const names = Object.keys({ ...before.variables, ...after?.variables });
      for (const variable of names) {
        const [old, now] = [before.variables[variable], after?.variables[variable]];
        if (old !== now) changed.push(`${id}: ${variable} ${old} → ${now}`);
      }
      if (after?.code !== before.code) found.wrong.push(`${id} has other code.`);
    }
    found.said.push(...changed);
    if (changed.length !== 1 || !changed[0]?.includes("RULE_LIMIT 18 → 12")) {
      found.wrong.push("RULE_LIMIT should have changed, and nothing else.");
    }
    if (!isDeepStrictEqual(snapshot.resources, stage.snapshot.resources)) {
      found.wrong.push("Resources have been added, replaced or removed.");
    }
    stage.snapshot = snapshot;
  });
}

async function rehearse(moto: Moto, account: Account, guarded: Guarded): Promise<void> {
  const begin = async (name: string, title: string): Promise<Stage> => {
    const checkout = checkOut(name, settingsOf(name, guarded), variablesOf(moto));
    checkouts.push(checkout);
    return step(title, async (found) => {
      const { snapshot } = await deploy(account, { checkout, name });
      await checkDeployed(account, { checkout, name }, snapshot, found);
      return { name, checkout, snapshot };
    });
  };

  const targetsBefore = await guarded.described();
  const first = await begin(FIRST, `deploys ${FIRST}`);
  reportKinds(moto, first.snapshot);

  // The second stage is deployed while the first one is in use, as it may be.
  const beginning = begin(SECOND, `deploys ${SECOND} beside it`);
  const using = redeploy(account, first).then(() =>
    operate(step, configOf(moto.url, REGION), first, guarded, targetsBefore),
  );
  await Promise.allSettled([beginning, using]);
  const [second] = await Promise.all([beginning, using]);
  await step("each stage has resources of its own", async ({ wrong }) => {
    const ids = new Set(first.snapshot.resources.map(({ id }) => id));
    // moto gives a function's permissions no ids.
    const shared = second.snapshot.resources.filter(({ id }) => id !== "" && ids.has(id));
    wrong.push(...shared.map(({ id, type }) => `Both stages have ${id} (${type}).`));
    const now = await account.read(Object.keys(first.checkout.declared()), FIRST);
    wrong.push(...differences(first.snapshot, now).map((text) => `${FIRST}: ${text}`));
  });

  await step(`removes ${FIRST}; ${SECOND} stays as it is`, async (found) => {
    await first.checkout.serverless("remove", "--verbose");
    await checkRemoved(account, first, found);
    if ((await guarded.described()) !== targetsBefore)
      found.wrong.push("The targets are not what they were before the first deployment.");
    const now = await account.read(Object.keys(second.checkout.declared()), SECOND);
    found.wrong.push(...differences(second.snapshot, now).map((text) => `${SECOND}: ${text}`));
  });
  await step(`removes ${SECOND}`, async (found) => {
    await second.checkout.serverless("remove", "--verbose");
    await checkRemoved(account, second, found);
  });
  await step("docs/policies/deploy.json allows what serverless has called", async (found) => {
    const { wrong, calls } = await checkPolicy(CALLS);
    found.wrong.push(...wrong);
    found.said.push(`${calls} calls`);
  });
}

/** What moto really makes of each type, and what it only keeps as declared. */
function reportKinds({ makes }: Moto, { resources }: Snapshot): void {
  const table = new Table({
    head: ["type", "resources", "in moto"],
    style: { head: [], border: [] },
  });
  for (const type of [...new Set(resources.map((made) => made.type))].toSorted()) {
    const count = resources.filter((made) => made.type === type).length;
    table.push([type, count, makes.includes(type) ? "made" : "declared only"]);
  }
  console.log(table.toString());
}

mkdirSync(dirname(CALLS), { recursive: true });
rmSync(CALLS, { force: true });
const checkouts: Checkout[] = [];
const moto = await startMoto(python);
const account = openAccount(configOf(moto.url, REGION));
process.once("SIGINT", () => process.exit(130));
process.once("exit", () => moto.kill());
const guarded = await makeTargets(configOf(moto.url, REGION), "edge");
try {
  await rehearse(moto, account, guarded);
} catch (error) {
  if (problems.length === 0) throw error;
  console.error(moto.said().split("\n").slice(-30).join("\n"));
} finally {
  account.destroy();
  guarded.destroy();
  await moto.stop();
  for (const checkout of checkouts) checkout.remove();
}
const tookMs = performance.now() - startedAt;
if (tookMs > LIMIT_MS)
  problems.push(`It took ${seconds(startedAt)}; ${LIMIT_MS / 1000} s are the limit.`);
console.log(
  problems.length === 0
    ? pc.green(`Rehearsed in ${seconds(startedAt)}.`)
    : pc.red(`${problems.length} problems in ${seconds(startedAt)}.`),
);
process.exitCode = problems.length === 0 ? 0 : 1;
