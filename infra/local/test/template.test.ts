// biome-ignore-all lint/suspicious/noTemplateCurlyInString: CloudFormation writes them so.
import { describe, expect, it } from "@jest/globals";
import type { Template } from "../intrinsics.ts";
import { type Created, readModel } from "../template.ts";

const store: Template = {
  Resources: {
    Bucket: { Type: "AWS::S3::Bucket", Properties: { Name: { "Fn::Nonsense": [] } } },
    Queue: {
      Type: "AWS::SQS::Queue",
      Properties: {
        QueueName: "main.fifo",
        FifoQueue: true,
        VisibilityTimeout: 30,
        RedrivePolicy: {
          deadLetterTargetArn: { "Fn::GetAtt": ["Dead", "Arn"] },
          maxReceiveCount: 5,
        },
      },
    },
    Dead: { Type: "AWS::SQS::Queue", Properties: { QueueName: "dead.fifo", FifoQueue: true } },
    Table: {
      Type: "AWS::DynamoDB::Table",
      Properties: {
        TableName: "things",
        AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
        KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
        TimeToLiveSpecification: { AttributeName: "endsAt", Enabled: true },
        StreamSpecification: { StreamViewType: "NEW_AND_OLD_IMAGES" },
        SSESpecification: { KMSMasterKeyId: { Ref: "UnknownKey" } },
      },
    },
    Parameter: {
      Type: "AWS::SSM::Parameter",
      Properties: { Name: "/a/b", Type: "String", Value: "none" },
    },
  },
  Outputs: {
    Url: { Value: { Ref: "Queue" }, Export: { Name: "x-Url" } },
    Arn: { Value: { "Fn::GetAtt": "Queue.Arn" }, Export: { Name: { "Fn::Sub": "x-Arn" } } },
    Stream: { Value: { "Fn::GetAtt": ["Table", "StreamArn"] }, Export: { Name: "x-Stream" } },
    Index: {
      Value: { "Fn::Join": ["/", [{ "Fn::GetAtt": ["Table", "Arn"] }, "index/byRank"]] },
      Export: { Name: "x-Index" },
    },
    Parameter: { Value: { Ref: "Parameter" }, Export: { Name: "x-Parameter" } },
  },
};

const service = (environment: Record<string, unknown>): Template => ({
  Resources: {
    Role: { Type: "AWS::IAM::Role", Properties: { Path: { "Fn::Nonsense": [] } } },
    Fn: {
      Type: "AWS::Lambda::Function",
      Properties: {
        FunctionName: "svc-fn",
        Handler: "handler.handler",
        Timeout: 7,
        MemorySize: 256,
        ReservedConcurrentExecutions: 1,
        Role: { "Fn::GetAtt": ["Role", "Arn"] },
        Code: { S3Bucket: { Ref: "Somewhere" }, S3Key: "serverless/x/1/fn.zip" },
        Environment: { Variables: environment },
      },
    },
    FnConfig: {
      Type: "AWS::Lambda::EventInvokeConfig",
      Properties: {
        FunctionName: { Ref: "Fn" },
        MaximumRetryAttempts: 0,
        MaximumEventAgeInSeconds: 60,
      },
    },
    FromQueue: {
      Type: "AWS::Lambda::EventSourceMapping",
      Properties: {
        BatchSize: 10,
        EventSourceArn: { "Fn::ImportValue": { "Fn::Sub": "x-Arn" } },
        FunctionName: { "Fn::GetAtt": ["Fn", "Arn"] },
        FunctionResponseTypes: ["ReportBatchItemFailures"],
        ScalingConfig: { MaximumConcurrency: 10 },
      },
    },
    FromStream: {
      Type: "AWS::Lambda::EventSourceMapping",
      Properties: {
        EventSourceArn: { "Fn::ImportValue": "x-Stream" },
        FunctionName: { Ref: "Fn" },
        StartingPosition: "TRIM_HORIZON",
        BisectBatchOnFunctionError: true,
        FilterCriteria: { Filters: [{ Pattern: '{"eventName":["INSERT"]}' }] },
        DestinationConfig: { OnFailure: { Destination: { "Fn::ImportValue": "x-Arn" } } },
      },
    },
    Rule: {
      Type: "AWS::Events::Rule",
      Properties: {
        Name: "tick",
        ScheduleExpression: "rate(5 minutes)",
        State: "ENABLED",
        Targets: [{ Arn: { "Fn::GetAtt": ["Fn", "Arn"] }, Id: "fn" }],
      },
    },
    Route: { Type: "AWS::ApiGatewayV2::Route", Properties: { RouteKey: "$default" } },
    Integration: {
      Type: "AWS::ApiGatewayV2::Integration",
      Properties: { IntegrationUri: { "Fn::GetAtt": ["Fn", "Arn"] } },
    },
  },
});

const read = (environment: Record<string, unknown> = {}, created?: Created) =>
  readModel([store, service(environment)], { region: "eu-west-1", ...(created && { created }) });

describe("readModel", () => {
  it("resolves references within and between templates", () => {
    const { functions } = read({
      QUEUE_URL: { "Fn::ImportValue": "x-Url" },
      INDEX: { "Fn::ImportValue": "x-Index" },
      PARAMETER: { "Fn::ImportValue": "x-Parameter" },
      SUB: { "Fn::Sub": "${AWS::Partition}:${AWS::Region}:${Fn.Arn}:${!kept}" },
      SUB_WITH: { "Fn::Sub": ["${a}/${Fn}", { a: { Ref: "AWS::AccountId" } }] },
      GONE: { Ref: "AWS::NoValue" },
      LITERAL: 5,
      SETTING: "on",
    });
    expect(functions[0]?.environment).toEqual({
      QUEUE_URL: "main.fifo",
      INDEX: "arn:aws:dynamodb:eu-west-1:000000000000:table/things/index/byRank",
      PARAMETER: "/a/b",
      SUB: "aws:eu-west-1:arn:aws:lambda:eu-west-1:000000000000:function:svc-fn:${kept}",
      SUB_WITH: "000000000000/svc-fn",
      LITERAL: "5",
      SETTING: "on",
    });
    expect(functions[0]?.settings).toEqual(["SETTING"]);
  });

  it("puts in the addresses of what was created", () => {
    const created = {
      queues: { "main.fifo": { url: "http://q/main.fifo", arn: "arn:aws:sqs:here:1:main.fifo" } },
      table: { arn: "arn:table", streamArn: "arn:aws:dynamodb:here:1:table/things/stream/now" },
    };
    const model = read({ QUEUE_URL: { "Fn::ImportValue": "x-Url" } }, created);
    expect(model.functions[0]?.environment.QUEUE_URL).toBe("http://q/main.fifo");
    expect(model.queueMappings[0]?.queueArn).toBe("arn:aws:sqs:here:1:main.fifo");
    expect(model.streamMappings[0]?.streamArn).toBe(created.table.streamArn);
  });

  it("names the resource and the reference that cannot be resolved", () => {
    expect(() => read({ KEY: { Ref: "Nobody" } })).toThrow(/^Fn: Ref Nobody/);
    expect(() => read({ KEY: { "Fn::ImportValue": "x-Nobody" } })).toThrow(/x-Nobody/);
    expect(() => read({ KEY: { "Fn::GetAtt": ["Table", "Colour"] } })).toThrow(/Table\.Colour/);
    expect(() => read({ KEY: { "Fn::Select": [0, []] } })).toThrow(/Fn::Select/);
  });

  it("reads queues, table and parameters", () => {
    const { queues, table, parameters } = read();
    expect(queues[0]).toEqual({
      name: "main.fifo",
      attributes: { FifoQueue: "true", VisibilityTimeout: "30" },
      redrive: { deadLetterQueue: "dead.fifo", maxReceiveCount: 5 },
    });
    expect(table).toMatchObject({
      name: "things",
      ttlAttribute: "endsAt",
      streamViewType: "NEW_AND_OLD_IMAGES",
      localIndexes: [],
    });
    expect(parameters).toEqual([{ name: "/a/b", type: "String", value: "none" }]);
  });

  it("reads the function and what triggers it", () => {
    const model = read();
    expect(model.functions).toMatchObject([
      {
        name: "svc-fn",
        artefact: "fn",
        handler: "handler.handler",
        timeoutSeconds: 7,
        memoryMb: 256,
        reservedConcurrency: 1,
        asynchronous: { maximumRetryAttempts: 0, maximumEventAgeSeconds: 60 },
      },
    ]);
    expect(model.queueMappings).toEqual([
      {
        functionName: "svc-fn",
        queueArn: "arn:aws:sqs:eu-west-1:000000000000:main.fifo",
        batchSize: 10,
        reportsBatchItemFailures: true,
        maximumConcurrency: 10,
      },
    ]);
    expect(model.streamMappings).toMatchObject([
      {
        functionName: "svc-fn",
        batchSize: 100,
        filterPatterns: ['{"eventName":["INSERT"]}'],
        bisectBatchOnFunctionError: true,
        maximumRetryAttempts: -1,
        maximumRecordAgeSeconds: -1,
        failureQueueArn: "arn:aws:sqs:eu-west-1:000000000000:main.fifo",
      },
    ]);
    expect(model.schedules).toEqual([
      { functionName: "svc-fn", ruleName: "tick", periodSeconds: 300 },
    ]);
    expect(model.apiFunctionName).toBe("svc-fn");
  });
});
