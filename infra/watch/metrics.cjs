// The metrics that alarms and dashboard watch: ours carry the dimensions that shared/aws/log.ts gives them.

/** @param stage its name */
module.exports = (stage) => ({
  /** One of our own; `target` where it is counted for each target apart. */
  own: (service, name, target) => ({
    Namespace: "Portcullis",
    MetricName: name,
    Dimensions: {
      service: `portcullis-${service}`,
      stage,
      ...(target !== undefined && { target }),
    },
  }),
  /** What the endpoint counts of one detector. */
  detector: (name, detector) => ({
    Namespace: "Portcullis",
    MetricName: name,
    Dimensions: { service: "portcullis-blacklist", stage, detector },
  }),
  lambda: (service, name) => ({
    Namespace: "AWS/Lambda",
    MetricName: name,
    Dimensions: { FunctionName: `portcullis-${service}-${stage}-${service}` },
  }),
  /** @param suffix of the queue's name: .fifo, -dead.fifo, -stream-failures, -wake-ups, -undelivered-events */
  queue: (suffix, name) => ({
    Namespace: "AWS/SQS",
    MetricName: name,
    Dimensions: { QueueName: `portcullis-${stage}${suffix}` },
  }),
  /** @param kind of the events that the rule is for */
  rule: (kind, name) => ({
    Namespace: "AWS/Events",
    MetricName: name,
    Dimensions: { RuleName: `portcullis-${stage}-${kind}` },
  }),
  table: (name) => ({
    Namespace: "AWS/DynamoDB",
    MetricName: name,
    Dimensions: { TableName: `portcullis-${stage}-blacklist_ip` },
  }),
  logs: (service, name) => ({
    Namespace: "AWS/Logs",
    MetricName: name,
    Dimensions: { LogGroupName: `/aws/lambda/portcullis-${service}-${stage}-${service}` },
  }),
  api: (name) => ({
    Namespace: "AWS/ApiGateway",
    MetricName: name,
    Dimensions: { ApiId: { "Fn::ImportValue": `portcullis-${stage}-ApiId` } },
  }),
});
