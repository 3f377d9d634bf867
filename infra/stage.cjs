const { existsSync, readFileSync } = require("node:fs");
const { join } = require("node:path");
const v = require("valibot");
const { parse } = require("yaml");

/** The seed's parameters, which a first try takes from the command line or the environment. */
const FIRST_TRY = {
  aclId: "param:acl_id, env:ACL_ID, ''",
  accessToken: "param:accessToken, env:ACCESS_TOKEN, ''",
  operatorToken: "param:operatorToken, env:OPERATOR_TOKEN, ''",
  expiryTime: "param:expiryTime, env:EXPIRY_TIME, ''",
  ruleLimit: "param:ruleLimit, env:RULE_LIMIT, ''",
};

/** What CloudFormation takes for a property that is not there. */
const ABSENT = { Ref: "AWS::NoValue" };

const count = (min, max) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));
const seconds = (min) => count(min, 31_536_000);
const onOff = v.picklist(["on", "off"]);
const setting = (schema, byDefault) => v.optional(schema, byDefault);
const named = (pattern, what) => v.pipe(v.string(), v.regex(pattern, `must be ${what}`));

/** A cap or guarantee of Lambda's concurrency; off where the account has none to give. */
const concurrency = v.union([count(1, 1_000), v.literal("off")], "must be a number from 1, or off");

/** Where a function must be to reach what it asks; outside of every VPC where absent. */
const vpc = v.optional(
  v.strictObject({
    subnetIds: v.pipe(v.array(named(/^subnet-[0-9a-f]{8,17}$/, "a subnet's id")), v.minLength(1)),
    securityGroupIds: v.pipe(v.array(named(/^sg-[0-9a-f]{8,17}$/, "a group's id")), v.minLength(1)),
  }),
);

/**
 * What a stage file says. There is no default where a wrong one hurts; the others are those of
 * infra/stages/example.yml, which says what each setting means.
 */
const schema = v.pipe(
  v.strictObject({
    firstTry: setting(v.boolean(), false),
    region: named(/^[a-z]{2}(-[a-z]+)+-\d$/, "a region, as eu-west-1"),
    targets: v.strictObject({
      networkAcls: setting(
        v.array(named(/^acl-[0-9a-f]{8,17}$/, "an id, as acl-0123456789abcdef0")),
        [],
      ),
      wafIpSets: setting(
        v.array(named(/^[\w-]{1,125}$/, "a name of letters, digits, - and _")),
        [],
      ),
      leastSeverity: setting(v.record(v.string(), count(1, 10)), {}),
    }),
    mode: v.picklist(["enforce", "monitor"]),
    alarmEmails: v.array(v.pipe(v.string(), v.email("must be an e-mail address"))),
    concurrency: v.pipe(
      v.strictObject({
        endpoint: concurrency,
        worker: concurrency,
        enforcer: v.union([v.literal(1), v.literal("off")], "must be 1 or off"),
        lanes: setting(count(2, 1_000), 10),
      }),
      v.check(
        ({ worker, lanes }) => worker === "off" || worker >= lanes,
        "worker must be off, or at least as many as lanes",
      ),
    ),
    table: v.strictObject({
      onRemove: v.picklist(["keep", "delete"]),
      deletionProtection: onOff,
    }),
    tags: setting(v.record(v.string(), v.string()), {}),
    permissionsBoundary: v.optional(named(/^arn:[\w-]+:iam::/, "the ARN of a policy")),
    kmsKey: v.optional(named(/^arn:[\w-]+:kms:/, "the ARN of a key")),
    logRetention: setting(count(1, 3_653), 90),
    logLevel: setting(v.picklist(["DEBUG", "INFO", "WARN", "ERROR"]), "INFO"),
    tracing: setting(onOff, "off"),
    throttle: setting(v.strictObject({ rate: count(1, 10_000), burst: count(1, 5_000) }), {
      rate: 500,
      burst: 1_000,
    }),
    expiryTime: setting(seconds(1), 3_600),
    maxExpiryTime: setting(seconds(1), 2_592_000),
    ruleLimit: setting(count(1, 40), 18),
    ruleNumberFirst: setting(count(1, 32_766), 1),
    ruleNumberLast: setting(count(1, 32_766), 99),
    directions: setting(v.picklist(["ingress", "both"]), "ingress"),
    queueShards: setting(count(1, 100), 1),
    repeatPercent: setting(count(100, 1_000), 200),
    repeatMax: setting(seconds(1), 604_800),
    repeatMemory: setting(seconds(0), 2_592_000),
    maxInnocents: setting(count(0, 65_536), 0),
    corroborationThreshold: setting(count(0, 1_000), 0),
    corroborationWindow: setting(count(1, 86_400), 600),
    holdTime: setting(seconds(0), 0),
    withdrawalGrace: setting(count(0, 3_600), 60),
    scoreHalfLife: setting(count(1, 86_400), 300),
    blockLimit: setting(count(1, 2_000_000), 200_000),
    silentAfter: setting(
      v.record(
        named(/^[\w.-]{1,64}$/, "the name of a caller"),
        v.pipe(count(60, 86_400), v.multipleOf(60, "must be whole minutes, in seconds")),
      ),
      {},
    ),
    events: setting(
      v.strictObject({ guardDuty: setting(onOff, "off"), securityHub: setting(onOff, "off") }),
      {},
    ),
    signedRequests: setting(onOff, "off"),
    /** The records of rejected packets that tell of blocked attackers; nobody reads them without it. */
    flowLogs: v.optional(
      v.strictObject({
        logGroup: named(/^[\w./#-]{1,512}$/, "the name of a log group"),
        extend: setting(onOff, "off"),
      }),
    ),
    /** The pull of CrowdSec's decisions; there is none without it. */
    crowdsec: v.optional(
      v.strictObject({
        url: named(/^https?:\/\/[^\s/?#@]+(\/[^\s?#]*)?$/, "an address, as https://10.0.0.7:8080"),
        origins: setting(v.pipe(v.array(named(/^[\w-]{1,64}$/, "a name")), v.minLength(1)), [
          "crowdsec",
          "cscli",
        ]),
        vpc,
      }),
    ),
  }),
  v.check(
    ({ firstTry, targets: { networkAcls, wafIpSets } }) =>
      firstTry || networkAcls.length + wafIpSets.length > 0,
    "targets must name at least one network ACL or pair of IP sets",
  ),
);

/** An error for whoever packages: the sentence, and not where it was made. */
const failure = (message) => Object.assign(new Error(message), { stack: message });

/**
 * The stage's file, checked.
 *
 * @throws Error with one sentence that says what is wrong and how to mend it
 */
function readStage(stage) {
  const name = `infra/stages/${stage}.yml`;
  const path = join(__dirname, "stages", `${stage}.yml`);
  if (!/^[a-z][a-z0-9-]{0,15}$/.test(stage)) {
    throw failure(
      `"${stage}" is no name of a stage: at most 16 lower-case letters, digits and hyphens.`,
    );
  }
  if (!existsSync(path)) {
    throw failure(`There is no ${name}: copy infra/stages/example.yml to it and fill it in.`);
  }
  const { success, output, issues } = v.safeParse(schema, parse(readFileSync(path, "utf8")));
  if (success) return output;
  const [issue] = issues;
  const where = v.getDotPath(issue);
  throw failure(`${name}: ${where ? `${where}: ` : ""}${issue.message}.`);
}

/** The stage, as variables of the templates resolve it; a first try with what it is given. */
async function resolveStage({ options, resolveVariable }) {
  const name = await resolveVariable("sls:stage");
  const stage = readStage(name);
  if (options.region && options.region !== stage.region) {
    throw failure(
      `infra/stages/${name}.yml says ${stage.region}: leave out --region ${options.region}.`,
    );
  }
  return {
    name,
    ...stage,
    eventDetectors: Object.entries(stage.events)
      .filter(([, state]) => state === "on")
      .map(([detector]) => detector.toLowerCase()),
    queueEncryption: stage.kmsKey
      ? { managed: ABSENT, key: stage.kmsKey }
      : { managed: true, key: ABSENT },
    ...(stage.firstTry && (await givenFor(stage, resolveVariable))),
  };
}

/** A first try's parameters: a redeployment without them must not empty what they filled. */
async function givenFor(stage, resolveVariable) {
  const given = {};
  for (const [name, variable] of Object.entries(FIRST_TRY)) {
    given[name] = String(await resolveVariable(variable));
  }
  for (const [name, variable] of [
    ["aclId", "ACL_ID"],
    ["accessToken", "ACCESS_TOKEN"],
  ]) {
    if (given[name] === "")
      throw failure(`A first try needs ${variable} each time it is deployed.`);
  }
  const number = (name) => (given[name] === "" ? stage[name] : Number(given[name]));
  const networkAcls = given.aclId.split(",").map((id) => id.trim());
  return {
    targets: { ...stage.targets, networkAcls },
    expiryTime: number("expiryTime"),
    ruleLimit: number("ruleLimit"),
    tokens: { detector: given.accessToken, operator: given.operatorToken },
  };
}

const arn = (service, resource) => ({
  "Fn::Sub": `arn:\${AWS::Partition}:${service}:\${AWS::Region}:\${AWS::AccountId}:${resource}`,
});

/**
 * Which functions a service has that a stage may do without, of those that its serverless.yml names:
 * Serverless takes no condition. It is read apart from the settings, as plugins are needed before these.
 */
async function functionSets({ resolveVariable }) {
  const { crowdsec, flowLogs } = readStage(await resolveVariable("sls:stage"));
  return {
    crowdsec: crowdsec === undefined ? "none" : crowdsec.vpc ? "inVpc" : "outside",
    flowLogs: flowLogs === undefined ? "none" : flowLogs.extend === "on" ? "extending" : "counting",
  };
}

/** The settings as the templates use them. A function's environment holds texts. */
async function settings(serverless) {
  // What is resolved here ends up in files: no token may.
  const { tokens: _, ...stage } = await resolveStage(serverless);
  const { targets, concurrency, table, kmsKey, permissionsBoundary, crowdsec } = stage;
  const { networkAcls, wafIpSets } = targets;
  const reserved = (limit) => (limit === "off" ? ABSENT : limit);
  const texts = Object.entries(stage).filter(([, value]) => typeof value === "number");
  return {
    ...stage,
    ...Object.fromEntries(texts.map(([name, value]) => [name, String(value)])),
    logRetention: stage.logRetention,
    aclId: networkAcls.join(","),
    wafIpSets: wafIpSets.join(","),
    eventDetectors: stage.eventDetectors.join(","),
    leastSeverity: Object.entries(targets.leastSeverity)
      .map(([target, severity]) => `${target}=${severity}`)
      .join(","),
    watchedDetectors: Object.keys(stage.silentAfter).join(","),
    // What the enforcer may change: these and nothing else.
    targetArns: {
      networkAcls: (networkAcls.length > 0 ? networkAcls : ["none"]).map((id) =>
        arn("ec2", `network-acl/${id}`),
      ),
      ipSets: (wafIpSets.length > 0 ? wafIpSets : ["none"]).flatMap((set) =>
        [4, 6].map((family) => arn("wafv2", `regional/ipset/${set}-v${family}/*`)),
      ),
    },
    concurrency: {
      endpoint: reserved(concurrency.endpoint),
      worker: reserved(concurrency.worker),
      enforcer: reserved(concurrency.enforcer),
      lanes: concurrency.lanes,
    },
    // What is not used is resolved as well.
    flowLogs: stage.flowLogs ?? { logGroup: "none", extend: "off" },
    crowdsec: {
      url: crowdsec?.url ?? "",
      origins: crowdsec?.origins.join(",") ?? "",
      vpc: crowdsec?.vpc ?? {},
    },
    tracing: stage.tracing === "on",
    permissionsBoundary: permissionsBoundary ?? ABSENT,
    tableDeletion: {
      // A first deployment that rolls back takes its table along, and can be repeated.
      policy: table.onRemove === "keep" ? "RetainExceptOnCreate" : "Delete",
      isProtected: table.deletionProtection === "on",
    },
    functionKey: kmsKey ?? ABSENT,
    tableEncryption: kmsKey
      ? { SSEEnabled: true, SSEType: "KMS", KMSMasterKeyId: kmsKey }
      : { SSEEnabled: true },
  };
}

module.exports = { failure, functionSets, readStage, resolveStage, settings };
