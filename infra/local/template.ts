import type { GlobalSecondaryIndex, LocalSecondaryIndex } from "@aws-sdk/client-dynamodb";
import {
  type Identity,
  type Resource,
  resolve,
  type Scope,
  type Template,
  UnresolvableError,
} from "./intrinsics.ts";

/** The account that the local engines know. */
export const LOCAL_ACCOUNT = "000000000000";

/** What only the engines know: the addresses of things once they exist. */
export type Created = {
  /** By queue name. */
  queues: Readonly<Record<string, { url: string; arn: string }>>;
  table: { arn: string; streamArn: string };
};

/** `AWS::SQS::Queue` */
export type QueueModel = {
  name: string;
  /** As `CreateQueue` takes them, the redrive policy left out. */
  attributes: Readonly<Record<string, string>>;
  redrive?: { deadLetterQueue: string; maxReceiveCount: number };
};

/** `AWS::DynamoDB::Table` */
export type TableModel = {
  name: string;
  /** As `CreateTable` takes them. */
  keySchema: readonly { AttributeName: string; KeyType: "HASH" | "RANGE" }[];
  attributeDefinitions: readonly { AttributeName: string; AttributeType: "S" | "N" | "B" }[];
  localIndexes: readonly LocalSecondaryIndex[];
  globalIndexes: readonly GlobalSecondaryIndex[];
  ttlAttribute?: string;
  streamViewType?: string;
};

/** `AWS::SSM::Parameter` */
export type ParameterModel = { name: string; value: string; type: string };

/** `AWS::Lambda::Function`, with its `AWS::Lambda::EventInvokeConfig`. */
export type FunctionModel = {
  name: string;
  arn: string;
  /** The name of its zip, which is also its short name. */
  artefact: string;
  /** `file.export` */
  handler: string;
  timeoutSeconds: number;
  memoryMb: number;
  reservedConcurrency?: number;
  environment: Readonly<Record<string, string>>;
  /** The variables that are settings (literals), not addresses of other resources. */
  settings: readonly string[];
  /** For asynchronous invocations, such as a schedule's. */
  asynchronous: { maximumRetryAttempts: number; maximumEventAgeSeconds: number };
};

/** An event source mapping from an SQS queue. */
export type QueueMapping = {
  functionName: string;
  queueArn: string;
  batchSize: number;
  reportsBatchItemFailures: boolean;
  /** Batches at a time, over all message groups. */
  maximumConcurrency?: number;
};

/** An event source mapping from a DynamoDB stream. */
export type StreamMapping = {
  functionName: string;
  streamArn: string;
  batchSize: number;
  /** As JSON; a record passes when any of them matches. */
  filterPatterns: readonly string[];
  bisectBatchOnFunctionError: boolean;
  /** -1: for ever. */
  maximumRetryAttempts: number;
  /** -1: for ever. */
  maximumRecordAgeSeconds: number;
  failureQueueArn?: string;
};

/** `AWS::Events::Rule` with a rate. */
export type ScheduleModel = { functionName: string; ruleName: string; periodSeconds: number };

/** `AWS::Events::Rule` with a pattern, whose target is a queue: one for each target. */
export type EventRule = {
  ruleName: string;
  /** As JSON. */
  pattern: string;
  queueArn: string;
  messageGroupId?: string;
  /** What is sent: text in which variables stand for parts of the event. */
  inputTemplate: string;
};

/** The product as its compiled templates describe it, every reference resolved. */
export type Model = {
  region: string;
  accountId: string;
  functions: readonly FunctionModel[];
  queues: readonly QueueModel[];
  table: TableModel;
  parameters: readonly ParameterModel[];
  queueMappings: readonly QueueMapping[];
  streamMappings: readonly StreamMapping[];
  schedules: readonly ScheduleModel[];
  eventRules: readonly EventRule[];
  /** The function behind the HTTP API's `$default` route. */
  apiFunctionName: string;
};

type Properties = Record<string, unknown>;

/** Where the values of compiled templates are resolved; names stand in for what has not been created. */
export function createScope(
  templates: readonly Template[],
  { region, created }: { region: string; created?: Created },
): Scope {
  const pseudo = {
    "AWS::Region": region,
    "AWS::AccountId": LOCAL_ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
  };
  const scope: Scope = { templates, pseudo, identify: (t, r) => identify(scope, t, r, created) };
  return scope;
}

/**
 * Reads the model from the compiled templates of all services. Resource types that nothing local
 * depends on (roles, log groups, alarms …) are skipped, and so are their properties.
 *
 * @param created - what the engines gave; before anything exists, names stand in for addresses
 * @throws UnresolvableError when a value that is needed depends on something unknown here
 */
export function readModel(
  templates: readonly Template[],
  { region, created }: { region: string; created?: Created },
): Model {
  const scope = createScope(templates, { region, ...(created && { created }) });

  function all(type: string): { template: Template; raw: Properties; name: string }[] {
    return templates.flatMap((template) =>
      Object.entries(template.Resources)
        .filter(([, resource]) => resource.Type === type)
        .map(([name, { Properties: raw = {} }]) => ({ template, raw, name })),
    );
  }
  /** The named properties of a resource, resolved; the others are not even looked at. */
  function read(of: { template: Template; raw: Properties; name: string }, ...names: string[]) {
    const picked = Object.fromEntries(
      Object.entries(of.raw).filter(([name]) => names.includes(name)),
    );
    try {
      return resolve(scope, of.template, picked) as Properties;
    } catch (error) {
      if (!(error instanceof UnresolvableError)) throw error;
      throw new UnresolvableError(`${of.name}: ${error.message}`);
    }
  }

  const queues = all("AWS::SQS::Queue").map((queue) =>
    queueModel(read(queue, ...Object.keys(queue.raw))),
  );
  const [table, ...furtherTables] = all("AWS::DynamoDB::Table");
  if (!table || furtherTables.length > 0) throw new Error("The templates must have one table");

  const asynchronous = new Map(
    all("AWS::Lambda::EventInvokeConfig").map((config) => {
      const p = read(config, "FunctionName", "MaximumRetryAttempts", "MaximumEventAgeInSeconds");
      return [
        String(p.FunctionName),
        {
          maximumRetryAttempts: Number(p.MaximumRetryAttempts ?? 2),
          maximumEventAgeSeconds: Number(p.MaximumEventAgeInSeconds ?? 21_600),
        },
      ];
    }),
  );
  const functions = all("AWS::Lambda::Function").map((fn): FunctionModel => {
    const p = read(
      fn,
      "FunctionName",
      "Handler",
      "Timeout",
      "MemorySize",
      "ReservedConcurrentExecutions",
      "Environment",
    );
    const name = String(p.FunctionName);
    const raw = (fn.raw.Environment as { Variables?: Properties } | undefined)?.Variables ?? {};
    return {
      name,
      arn: functionArn(region, name),
      artefact: artefactName(fn.raw),
      handler: String(p.Handler),
      timeoutSeconds: Number(p.Timeout ?? 3),
      memoryMb: Number(p.MemorySize ?? 128),
      ...(p.ReservedConcurrentExecutions === undefined
        ? {}
        : { reservedConcurrency: Number(p.ReservedConcurrentExecutions) }),
      environment: strings((p.Environment as { Variables?: Properties } | undefined)?.Variables),
      settings: Object.keys(raw).filter((variable) => typeof raw[variable] === "string"),
      asynchronous: asynchronous.get(name) ?? {
        maximumRetryAttempts: 2,
        maximumEventAgeSeconds: 21_600,
      },
    };
  });

  const mappings = all("AWS::Lambda::EventSourceMapping")
    .map((mapping) => read(mapping, ...Object.keys(mapping.raw)))
    .filter((mapping) => mapping.Enabled !== false);
  const isFrom = (service: string) => (mapping: Properties) =>
    String(mapping.EventSourceArn).split(":")[2] === service;

  return {
    region,
    accountId: LOCAL_ACCOUNT,
    functions,
    queues,
    table: tableModel(
      read(
        table,
        "TableName",
        "KeySchema",
        "AttributeDefinitions",
        "LocalSecondaryIndexes",
        "GlobalSecondaryIndexes",
        "TimeToLiveSpecification",
        "StreamSpecification",
      ),
    ),
    parameters: all("AWS::SSM::Parameter").map((parameter) => {
      const p = read(parameter, "Name", "Type", "Value");
      return { name: String(p.Name), type: String(p.Type), value: String(p.Value) };
    }),
    queueMappings: mappings.filter(isFrom("sqs")).map(queueMapping),
    streamMappings: mappings.filter(isFrom("dynamodb")).map(streamMapping),
    schedules: all("AWS::Events::Rule").flatMap((rule) =>
      scheduleModels(read(rule, "Name", "ScheduleExpression", "State", "Targets")),
    ),
    eventRules: all("AWS::Events::Rule").flatMap((rule) =>
      eventRules(read(rule, "Name", "EventPattern", "State", "Targets")),
    ),
    apiFunctionName: apiFunctionName(
      all("AWS::ApiGatewayV2::Route").map((route) => String(route.raw.RouteKey)),
      all("AWS::ApiGatewayV2::Integration").map((it) => read(it, "IntegrationUri")),
    ),
  };
}

/** What `Ref` and `Fn::GetAtt` give, for the resource types that others refer to. */
function identify(
  scope: Scope,
  template: Template,
  resource: Resource,
  created: Created | undefined,
): Identity | undefined {
  const name = (property: string) =>
    String(resolve(scope, template, resource.Properties?.[property]));
  const arn = (service: string, rest: string) =>
    `arn:aws:${service}:${scope.pseudo["AWS::Region"]}:${LOCAL_ACCOUNT}:${rest}`;
  switch (resource.Type) {
    case "AWS::SQS::Queue": {
      const queue = name("QueueName");
      const { url, arn: queueArn } = created?.queues[queue] ?? {};
      return {
        ref: url ?? queue,
        attributes: { Arn: queueArn ?? arn("sqs", queue), QueueName: queue },
      };
    }
    case "AWS::DynamoDB::Table": {
      const tableArn = created?.table.arn ?? arn("dynamodb", `table/${name("TableName")}`);
      const streamArn = created?.table.streamArn ?? `${tableArn}/stream/unborn`;
      return { ref: name("TableName"), attributes: { Arn: tableArn, StreamArn: streamArn } };
    }
    case "AWS::SSM::Parameter":
      return { ref: name("Name"), attributes: { Type: name("Type"), Value: name("Value") } };
    case "AWS::Lambda::Function":
      return {
        ref: name("FunctionName"),
        attributes: {
          Arn: functionArn(String(scope.pseudo["AWS::Region"]), name("FunctionName")),
        },
      };
    default:
      return undefined;
  }
}

const functionArn = (region: string, name: string): string =>
  `arn:aws:lambda:${region}:${LOCAL_ACCOUNT}:function:${name}`;

/** A function is named by its ARN or its name, with or without a qualifier. */
const functionNameOf = (reference: unknown): string => {
  const text = String(reference);
  return text.startsWith("arn:") ? (text.split(":")[6] ?? text) : text;
};

function artefactName({ Code: code }: Properties): string {
  const key = String((code as { S3Key?: unknown } | undefined)?.S3Key);
  const name = /([^/]+)\.zip$/.exec(key)?.[1];
  if (name === undefined) throw new Error(`A function has no zip: ${key}`);
  return name;
}

function queueModel(properties: Properties): QueueModel {
  const { QueueName: name, RedrivePolicy: redrive, Tags: _tags, ...attributes } = properties;
  const { deadLetterTargetArn, maxReceiveCount } = (redrive ?? {}) as Properties;
  return {
    name: String(name),
    attributes: strings(attributes),
    ...(redrive === undefined
      ? {}
      : {
          redrive: {
            deadLetterQueue: String(deadLetterTargetArn).split(":").at(-1) ?? "",
            maxReceiveCount: Number(maxReceiveCount),
          },
        }),
  };
}

function tableModel(p: Properties): TableModel {
  const ttl = p.TimeToLiveSpecification as { AttributeName: string; Enabled: boolean } | undefined;
  const stream = p.StreamSpecification as { StreamViewType: string } | undefined;
  return {
    name: String(p.TableName),
    keySchema: p.KeySchema as TableModel["keySchema"],
    attributeDefinitions: p.AttributeDefinitions as TableModel["attributeDefinitions"],
    localIndexes: (p.LocalSecondaryIndexes ?? []) as TableModel["localIndexes"],
    globalIndexes: (p.GlobalSecondaryIndexes ?? []) as TableModel["globalIndexes"],
    ...(ttl?.Enabled ? { ttlAttribute: ttl.AttributeName } : {}),
    ...(stream ? { streamViewType: stream.StreamViewType } : {}),
  };
}

function queueMapping(p: Properties): QueueMapping {
  const scaling = p.ScalingConfig as { MaximumConcurrency?: number } | undefined;
  return {
    functionName: functionNameOf(p.FunctionName),
    queueArn: String(p.EventSourceArn),
    batchSize: Number(p.BatchSize ?? 10),
    reportsBatchItemFailures: responseTypes(p).includes("ReportBatchItemFailures"),
    ...(scaling?.MaximumConcurrency !== undefined && {
      maximumConcurrency: Number(scaling.MaximumConcurrency),
    }),
  };
}

function streamMapping(p: Properties): StreamMapping {
  if (responseTypes(p).length > 0) {
    throw new Error("ReportBatchItemFailures on a stream is not supported locally");
  }
  const filters = (p.FilterCriteria as { Filters?: { Pattern: string }[] } | undefined)?.Filters;
  const destination = (p.DestinationConfig as { OnFailure?: { Destination?: string } } | undefined)
    ?.OnFailure?.Destination;
  return {
    functionName: functionNameOf(p.FunctionName),
    streamArn: String(p.EventSourceArn),
    batchSize: Number(p.BatchSize ?? 100),
    filterPatterns: (filters ?? []).map(({ Pattern }) => Pattern),
    bisectBatchOnFunctionError: p.BisectBatchOnFunctionError === true,
    maximumRetryAttempts: Number(p.MaximumRetryAttempts ?? -1),
    maximumRecordAgeSeconds: Number(p.MaximumRecordAgeInSeconds ?? -1),
    ...(destination === undefined ? {} : { failureQueueArn: destination }),
  };
}

const responseTypes = (p: Properties): readonly unknown[] =>
  (p.FunctionResponseTypes as unknown[] | undefined) ?? [];

function scheduleModels(p: Properties): ScheduleModel[] {
  if (p.ScheduleExpression === undefined || p.State === "DISABLED") return [];
  const [, count, unit] =
    /^rate\((\d+) (minute|hour|day)s?\)$/.exec(String(p.ScheduleExpression)) ?? [];
  const seconds = { minute: 60, hour: 3_600, day: 86_400 }[String(unit)];
  if (seconds === undefined) {
    throw new Error(`${p.ScheduleExpression} is not supported locally: only rate(…) is`);
  }
  return ((p.Targets ?? []) as { Arn: string }[]).map((target) => ({
    functionName: functionNameOf(target.Arn),
    ruleName: String(p.Name),
    periodSeconds: Number(count) * seconds,
  }));
}

function eventRules(p: Properties): EventRule[] {
  if (p.EventPattern === undefined || p.State === "DISABLED") return [];
  type Target = {
    Arn: string;
    SqsParameters?: { MessageGroupId: string };
    InputTransformer?: { InputTemplate: string; InputPathsMap?: object };
  };
  return ((p.Targets ?? []) as Target[]).map(({ Arn, SqsParameters, InputTransformer }) => {
    if (Arn.split(":")[2] !== "sqs" || InputTransformer?.InputPathsMap) {
      throw new Error(`${p.Name}: locally events go to queues, and templates know no paths`);
    }
    return {
      ruleName: String(p.Name),
      pattern: JSON.stringify(p.EventPattern),
      queueArn: Arn,
      ...(SqsParameters && { messageGroupId: SqsParameters.MessageGroupId }),
      inputTemplate: InputTransformer?.InputTemplate ?? "<aws.events.event.json>",
    };
  });
}

function apiFunctionName(routeKeys: readonly string[], integrations: Properties[]): string {
  const [integration] = integrations;
  if (!integration || routeKeys.join() !== "$default" || integrations.length > 1) {
    throw new Error("Locally the HTTP API must have the one route $default");
  }
  return functionNameOf(integration.IntegrationUri);
}

/** CloudFormation accepts numbers, booleans and objects where the APIs want strings. */
function strings(values: Properties | undefined): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values ?? {}).map(([name, value]) => [
      name,
      typeof value === "object" ? JSON.stringify(value) : String(value),
    ]),
  );
}
