const { resolveStage } = require("../stage.cjs");
const metricsOf = require("./metrics.cjs");

const RUNBOOKS = "docs/runbooks";

/**
 * The alarms of a stage. Each names its metric, when it goes off, and what it says; its runbook is the file
 * that has its name. None is red where all is well: what has no data yet is not breaching.
 *
 * `over`: the threshold; `stat`: of the samples in a period; `period`: seconds; `of`: how many periods
 * are looked at; `points`: how many of them must be over, all if absent.
 */
function alarmsOf(metrics, { blockLimit, eventDetectors }) {
  const { own, lambda, queue, api } = metrics;
  const refusedCalls = (name, over, more) => ({
    metric: own("blacklist", name),
    ...{ over, stat: "Sum", period: 300, of: 1, ...more },
  });
  const lying = (suffix) => ({
    metric: queue(suffix, "ApproximateNumberOfMessagesVisible"),
    ...{ over: 0, stat: "Maximum", period: 60, of: 1 },
  });
  const age = (suffix, over, of) => ({
    metric: queue(suffix, "ApproximateAgeOfOldestMessage"),
    ...{ over, stat: "Maximum", period: 60, of },
  });
  const throttled = (service) => ({
    metric: lambda(service, "Throttles"),
    ...{ over: 0, stat: "Sum", period: 60, of: 5, points: 3 },
    runbook: "function-throttles",
    text: `Lambda turns invocations of ${service} away: its concurrency, or the account's, is used up.`,
  });
  return {
    // The way in.
    EndpointErrors: {
      metric: api("5xx"),
      ...{ over: 5, stat: "Sum", period: 300, of: 1 },
      text: "Callers were answered 5xx: nothing of theirs was accepted.",
    },
    EndpointRefusals: {
      metric: api("4xx"),
      ...{ over: 5_000, stat: "Sum", period: 300, of: 1 },
      text: "Thousands of calls were refused, by us or by the gateway's throttle (429).",
    },
    BlacklistErrors: failing(metrics, "blacklist"),
    BlacklistThrottles: throttled("blacklist"),
    Unauthorized: {
      ...refusedCalls("Unauthorized", 100),
      text: "More than a hundred calls without a valid token in five minutes; the log names their sources.",
    },
    Forbidden: {
      ...refusedCalls("Forbidden", 10),
      text: "A token was used from where, or for what, it may not be; the log names caller and source.",
    },
    OverBudget: {
      ...refusedCalls("OverBudget", 100, { of: 3 }),
      text: "A caller has been over its limits (429) for fifteen minutes; the log names it.",
    },
    MalformedParameter: {
      ...refusedCalls("MalformedParameter", 0, { period: 60 }),
      text: "The list of tokens or of callers is malformed; nobody may call. The log says where.",
    },
    ParameterUnreadable: {
      ...refusedCalls("ParameterUnreadable", 0, { period: 60, of: 3 }),
      text: "The endpoint has not been able to read its parameters for three minutes.",
    },
    ...(eventDetectors.length > 0 && {
      UndeliveredEvents: {
        ...lying("-undelivered-events"),
        text: "EventBridge could not put findings into the queue; they lie aside for 14 days.",
      },
    }),
    // From acceptance to the table.
    QueueAge: {
      ...age(".fifo", 120, 2),
      text: "Accepted blocks have waited in the queue for more than two minutes.",
    },
    DeadLetters: {
      ...lying("-dead.fifo"),
      text: 'Messages lie in the dead-letter queue; each says why in its attribute "reason".',
    },
    DeadLettersAge: {
      ...age("-dead.fifo", 11 * 86_400, 1),
      runbook: "dead-letters",
      text: "Messages in the dead-letter queue are about to be deleted: it keeps them for 14 days.",
    },
    WorkerErrors: failing(metrics, "worker"),
    WorkerThrottles: throttled("worker"),
    // From the table to the targets.
    StreamAge: {
      metric: lambda("enforcer", "IteratorAge"),
      ...{ over: 60_000, stat: "Maximum", period: 60, of: 3 },
      text: "The enforcer is more than a minute behind the table's stream.",
    },
    StreamFailures: {
      ...lying("-stream-failures"),
      text: "The enforcer could not take some of the table's stream records.",
    },
    WakeUpsAge: {
      ...age("-wake-ups", 1_200, 3), // the longest delay is 900
      text: "The enforcer's wake-ups wait: blocks that have ended may outstay.",
    },
    EnforcerErrors: failing(metrics, "enforcer"),
    NoConverge: {
      metric: own("enforcer", "Converges"),
      ...{ under: 1, stat: "SampleCount", period: 60, of: 5 },
      // Silence is what is looked for, and a new stage is silent. An alarm begins without data, and only
      // going back there is an event: the first converge arms it.
      isSilence: true,
      text: "The enforcer has not converged for five minutes or more.",
    },
    Outstanding: {
      metric: own("worker", "Outstanding"),
      ...{ over: 0.8 * blockLimit, stat: "Maximum", period: 300, of: 1 },
      text: `The list is four fifths full: at ${blockLimit} blocks nothing more is accepted.`,
    },
    OffendersForgotten: {
      metric: own("enforcer", "OffendersForgotten"),
      ...{ over: 0, stat: "Sum", period: 300, of: 1 },
      text: "Blocks have ended whose addresses could not be remembered; their next blocks do not escalate.",
    },
  };
}

const failing = ({ lambda }, service) => ({
  metric: lambda(service, "Errors"),
  ...{ over: 0, stat: "Sum", period: 60, of: 5, points: 3 },
  runbook: "function-errors",
  text: `The function ${service} fails.`,
});

/** The alarms of CrowdSec's pull, where the stage has one. */
function alarmsOfPull(metrics) {
  const { own } = metrics;
  return {
    CrowdsecErrors: failing(metrics, "crowdsec"),
    PullFailed: {
      metric: own("crowdsec", "PullFailed"),
      ...{ over: 0, stat: "Maximum", period: 60, of: 5 },
      text: "CrowdSec's decisions could not be pulled for five minutes; the log says why.",
    },
    PullLeft: {
      metric: own("crowdsec", "PullLeft"),
      ...{ over: 0, stat: "Maximum", period: 300, of: 6 },
      text: "CrowdSec wants more addresses blocked than its caller may have reported, for half an hour.",
    },
  };
}

/** The alarms of one target. */
function alarmsOfTarget({ own }, target) {
  const counted = (name, of, more) => ({
    metric: own("enforcer", name, target),
    ...{ over: 0, stat: "Maximum", period: 60, of, ...more },
  });
  return {
    TimeToEntry: {
      metric: own("enforcer", "TimeToEntry", target),
      ...{ over: 30_000, percentile: "p99", period: 300, of: 2 },
      text: `Blocks take more than 30 seconds from acceptance to their entry in ${target}.`,
    },
    TargetMissing: {
      ...counted("TargetMissing", 1),
      text: `${target} does not exist, or its description does not say that it is ours.`,
    },
    TargetFailed: {
      ...counted("TargetFailed", 3),
      text: `${target} could not be converged for three minutes; the log says why.`,
    },
    ChangesRefused: {
      ...counted("ChangesRefused", 3),
      text: `AWS has refused changes of ${target} for three minutes; the log has the code.`,
    },
    Unassociated: {
      ...counted("Unassociated", 1),
      text: `${target} has no subnet; its entries deny nobody.`,
    },
    Shadowed: {
      ...counted("Shadowed", 5),
      text: `An allow of a person in ${target} comes before blocks that would have a place; they wait.`,
    },
    Waiting: {
      ...counted("Waiting", 5),
      text: `More blocks are wanted than ${target} has room for; the weakest wait.`,
    },
    NeverBlockUnreadable: {
      ...counted("NeverBlockUnreadable", 2),
      text: `The never-block list cannot be read for ${target}. What was read last holds for a day.`,
    },
  };
}

/** The alarm of a detector that reports all the time: it is armed by the first report. */
const alarmsOfDetector = ({ detector }, name, seconds) => ({
  Silent: {
    metric: detector("Reports", name),
    ...{ under: 1, stat: "Sum", period: seconds, of: 1, isSilence: true },
    runbook: "silent-detector",
    text: `The detector ${name} has reported nothing for ${seconds / 60} minutes or more.`,
  },
});

/** The alarm of the rule for a detector's events. */
const alarmsOfRule = ({ rule }, kind) => ({
  FailedEvents: {
    metric: rule(kind, "FailedInvocations"),
    ...{ over: 0, stat: "Sum", period: 300, of: 1 },
    runbook: "undelivered-events",
    text: `EventBridge could not put findings of ${kind} into the queue.`,
  },
});

/** TimeToEntry → time-to-entry */
const dashed = (name) => name.replace(/(?!^)[A-Z]/g, "-$&").toLowerCase();

/** CloudFormation takes letters and digits only; two targets never share a name. */
const logicalId = (target) =>
  target.replace(/[^A-Za-z0-9]/g, (sign) => `x${sign.charCodeAt(0).toString(16)}`);

function alarm(stage, name, target, spec) {
  const topic = [{ Ref: "Alarms" }];
  const page = `${RUNBOOKS}/${spec.runbook ?? dashed(name)}.md`;
  return {
    Type: "AWS::CloudWatch::Alarm",
    Properties: {
      AlarmName: ["portcullis", stage, name, target].filter(Boolean).join("-"),
      AlarmDescription: `${spec.text} Runbook: ${page}`,
      ...spec.metric,
      Dimensions: Object.entries(spec.metric.Dimensions).map(([Name, Value]) => ({ Name, Value })),
      ...(spec.percentile
        ? { ExtendedStatistic: spec.percentile, EvaluateLowSampleCountPercentile: "evaluate" }
        : { Statistic: spec.stat }),
      Period: spec.period,
      EvaluationPeriods: spec.of,
      DatapointsToAlarm: spec.points ?? spec.of,
      Threshold: spec.under ?? spec.over,
      ComparisonOperator: spec.under ? "LessThanThreshold" : "GreaterThanThreshold",
      TreatMissingData: spec.isSilence ? "missing" : "notBreaching",
      AlarmActions: topic,
      OKActions: topic,
      ...(spec.isSilence && { InsufficientDataActions: topic }),
    },
  };
}

module.exports = async (serverless) => {
  const { name: stage, targets, alarmEmails, ...settings } = await resolveStage(serverless);
  const metrics = metricsOf(stage);
  const alarms = {
    ...alarmsOf(metrics, settings),
    ...(settings.crowdsec && alarmsOfPull(metrics)),
    ...(settings.flowLogs && { FlowLogsErrors: failing(metrics, "flow-logs") }),
  };
  const ids = [...targets.networkAcls, ...targets.wafIpSets];
  const resources = [
    ...Object.entries(alarms).map(([name, spec]) => [
      `${name}Alarm`,
      alarm(stage, name, undefined, spec),
    ]),
    ...[
      ...ids.map((id) => [id, alarmsOfTarget(metrics, id)]),
      ...settings.eventDetectors.map((kind) => [kind, alarmsOfRule(metrics, kind)]),
      ...Object.entries(settings.silentAfter).map(([detector, seconds]) => [
        detector,
        alarmsOfDetector(metrics, detector, seconds),
      ]),
    ].flatMap(([id, specs]) =>
      Object.entries(specs).map(([name, spec]) => [
        `${name}Alarm${logicalId(id)}`,
        alarm(stage, name, id, spec),
      ]),
    ),
  ];
  return {
    Resources: {
      Alarms: {
        Type: "AWS::SNS::Topic",
        Properties: { TopicName: `portcullis-${stage}-alarms` },
      },
      ...Object.fromEntries(
        alarmEmails.map((address) => [
          `AlarmEmail${logicalId(address)}`,
          {
            Type: "AWS::SNS::Subscription",
            Properties: { TopicArn: { Ref: "Alarms" }, Protocol: "email", Endpoint: address },
          },
        ]),
      ),
      ...Object.fromEntries(resources),
    },
  };
};
