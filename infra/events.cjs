const { resolveStage } = require("./stage.cjs");

/** Seconds; about as long as a finding blocks. */
const RETRIED_FOR = 21_600;

/**
 * The rules' names in the template, and which events are for us. A pattern leaves out what the adapter of
 * shared/detectors would drop, as far as it can tell: that costs nothing and is in no log. Samples come
 * through, so that the way can be tried.
 */
const RULES = {
  guardduty: {
    id: "GuardDutyRule",
    pattern: {
      source: ["aws.guardduty"],
      "detail-type": ["GuardDuty Finding"],
      detail: {
        service: {
          archived: [false, { exists: false }],
          resourceRole: ["TARGET"],
          action: {
            actionType: [{ "anything-but": ["AWS_API_CALL", "DNS_REQUEST"] }],
            networkConnectionAction: { connectionDirection: ["INBOUND", { exists: false }] },
          },
        },
      },
    },
  },
  securityhub: {
    id: "SecurityHubRule",
    pattern: {
      source: ["aws.securityhub"],
      "detail-type": ["Security Hub Findings - Imported"],
      detail: {
        findings: {
          RecordState: ["ACTIVE"],
          Workflow: { Status: ["NEW", "NOTIFIED"] },
          // Most of what it imports are checks of configurations, which name nobody.
          $or: [
            { Action: { ActionType: ["NETWORK_CONNECTION", "PORT_PROBE"] } },
            {
              Action: { ActionType: [{ exists: false }] },
              ProductFields: { "aws/guardduty/service/resourceRole": ["TARGET"] },
            },
          ],
        },
      },
    },
  },
};

const get = (resource, attribute) => ({ "Fn::GetAtt": [resource, attribute] });

/** Puts each event whole into the queue, in the lane of its detector: no function in between. */
const rule = (stage, kind) => ({
  Type: "AWS::Events::Rule",
  Properties: {
    Name: `portcullis-${stage}-${kind}`,
    Description: "Findings that name an attacker, to Portcullis's queue",
    EventPattern: RULES[kind].pattern,
    Targets: [
      {
        Id: "queue",
        Arn: get("Queue", "Arn"),
        SqsParameters: { MessageGroupId: `portcullis-${stage}.${kind}` },
        InputTransformer: {
          InputTemplate: `{"kind":"${kind}","event":<aws.events.event.json>}`,
        },
        RetryPolicy: { MaximumEventAgeInSeconds: RETRIED_FOR, MaximumRetryAttempts: 185 },
        DeadLetterConfig: { Arn: get("UndeliveredEvents", "Arn") },
      },
    ],
  },
});

/** Lets the rules send to a queue, and nobody else in EventBridge's name. */
const policy = (queue, kinds) => ({
  Type: "AWS::SQS::QueuePolicy",
  Properties: {
    Queues: [{ Ref: queue }],
    PolicyDocument: {
      Version: "2012-10-17",
      Statement: [
        {
          Effect: "Allow",
          Principal: { Service: "events.amazonaws.com" },
          Action: "sqs:SendMessage",
          Resource: get(queue, "Arn"),
          Condition: {
            ArnEquals: { "aws:SourceArn": kinds.map((kind) => get(RULES[kind].id, "Arn")) },
          },
        },
      ],
    },
  },
});

/** The rules for events of AWS's own detectors, where they are switched on. */
module.exports = async (serverless) => {
  const { name: stage, eventDetectors: kinds, queueEncryption } = await resolveStage(serverless);
  if (kinds.length === 0) return { Resources: {} };
  return {
    Resources: {
      ...Object.fromEntries(kinds.map((kind) => [RULES[kind].id, rule(stage, kind)])),
      // What SQS did not take. A rule's dead letters cannot go into a FIFO queue.
      UndeliveredEvents: {
        Type: "AWS::SQS::Queue",
        Properties: {
          QueueName: `portcullis-${stage}-undelivered-events`,
          MessageRetentionPeriod: 1_209_600,
          SqsManagedSseEnabled: queueEncryption.managed,
          KmsMasterKeyId: queueEncryption.key,
        },
      },
      QueuePolicy: policy("Queue", kinds),
      UndeliveredEventsPolicy: policy("UndeliveredEvents", kinds),
    },
  };
};
