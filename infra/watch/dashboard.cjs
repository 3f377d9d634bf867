const { resolveStage } = require("../stage.cjs");
const metricsOf = require("./metrics.cjs");

const SERVICES = ["blacklist", "worker", "enforcer"];
const [WIDTH, HEIGHT, COLUMNS] = [8, 6, 3];

/** The widgets, each with its lines: a metric, and how its samples are taken together. */
function widgetsOf({ own, lambda, queue, table, api, logs }, targets) {
  const ofTargets = (name, stat = "Maximum") =>
    targets.map((target) => [own("enforcer", name, target), stat, `${name} ${target}`]);
  const ofServices = (metric, name, stat) =>
    SERVICES.map((service) => [metric(service, name), stat, `${name} ${service}`]);
  return {
    "Alerts in": [
      [api("Count"), "Sum", "requests"],
      [queue(".fifo", "NumberOfMessagesSent"), "Sum", "accepted messages"],
      ...["Unauthorized", "Forbidden", "OverBudget"].map((name) => [own("blacklist", name), "Sum"]),
    ],
    "The way in": [
      [api("4xx"), "Sum"],
      [api("5xx"), "Sum"],
      [api("Latency"), "p99", "latency p99, ms"],
    ],
    "Functions: errors and throttles": [
      ...ofServices(lambda, "Errors", "Sum"),
      ...ofServices(lambda, "Throttles", "Sum"),
    ],
    "Blocks in force": ofTargets("Enforced"),
    "Waiting and shadowed": [...ofTargets("Waiting"), ...ofTargets("Shadowed")],
    "Time from acceptance to entry, ms": [
      ...ofTargets("TimeToEntry", "p50").map(([metric, stat, label]) => [
        metric,
        stat,
        `${label} p50`,
      ]),
      ...ofTargets("TimeToEntry", "p99").map(([metric, stat, label]) => [
        metric,
        stat,
        `${label} p99`,
      ]),
    ],
    "EC2 and WAF: changes made, left (throttled or out of time), refused": [
      ...ofTargets("ChangesApplied", "Sum"),
      ...ofTargets("ChangesLeft", "Sum"),
      ...ofTargets("ChangesRefused", "Sum"),
    ],
    "Age of queue and stream": [
      [queue(".fifo", "ApproximateAgeOfOldestMessage"), "Maximum", "queue, s"],
      [queue("-wake-ups", "ApproximateAgeOfOldestMessage"), "Maximum", "wake-ups, s"],
      [lambda("enforcer", "IteratorAge"), "Maximum", "stream, ms"],
    ],
    "Dead letters and stream failures": [
      [queue("-dead.fifo", "ApproximateNumberOfMessagesVisible"), "Maximum", "dead letters"],
      [
        queue("-stream-failures", "ApproximateNumberOfMessagesVisible"),
        "Maximum",
        "stream failures",
      ],
    ],
    "Cost: invocations": ofServices(lambda, "Invocations", "Sum"),
    "Cost: table": [
      [table("ConsumedWriteCapacityUnits"), "Sum"],
      [table("ConsumedReadCapacityUnits"), "Sum"],
    ],
    "Cost: bytes logged": ofServices(logs, "IncomingBytes", "Sum"),
  };
}

/** A line as a dashboard's body has it: namespace, name, dimension, value, …, options. */
const lineOf = ([{ Namespace, MetricName, Dimensions }, stat, label]) => [
  Namespace,
  MetricName,
  ...Object.entries(Dimensions).flatMap(([name, value]) => [
    name,
    // The body is one text, in which CloudFormation puts what only it knows.
    typeof value === "string" ? value : `\${${name}}`,
  ]),
  { stat, label: label ?? MetricName },
];

module.exports = async (serverless) => {
  const { name: stage, region, targets } = await resolveStage(serverless);
  const widgets = widgetsOf(metricsOf(stage), [...targets.networkAcls, ...targets.wafIpSets]);
  const body = {
    widgets: Object.entries(widgets).map(([title, lines], index) => ({
      type: "metric",
      x: (index % COLUMNS) * WIDTH,
      y: Math.floor(index / COLUMNS) * HEIGHT,
      width: WIDTH,
      height: HEIGHT,
      properties: { title, region, view: "timeSeries", period: 60, metrics: lines.map(lineOf) },
    })),
  };
  return {
    Resources: {
      Dashboard: {
        Type: "AWS::CloudWatch::Dashboard",
        Properties: {
          DashboardName: `portcullis-${stage}`,
          DashboardBody: { "Fn::Sub": [JSON.stringify(body), metricsOf(stage).api().Dimensions] },
        },
      },
    },
  };
};
