import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, expect, test } from "@jest/globals";
import { compileFilters } from "../../infra/local/sources/filter.ts";
import type { Detector } from "../../shared/detectors/detector.ts";
import { guardDuty } from "../../shared/detectors/guardDuty.ts";
import { securityHub } from "../../shared/detectors/securityHub.ts";

type Resource = { readonly Type: string; readonly Properties: Record<string, unknown> };
const events: (serverless: object) => Promise<{ Resources: Record<string, Resource> }> =
  createRequire(import.meta.url)("../../infra/events.cjs");

/** The resources of a stage. */
const resourcesOf = async (stage: string) =>
  (await events({ options: {}, resolveVariable: async () => stage })).Resources;

const get = (name: string) => ({ "Fn::GetAtt": [name, "Arn"] });

test("where nothing is switched on, nothing is made", async () => {
  expect(await resourcesOf("example")).toEqual({});
});

describe("a rule", () => {
  test("sends the whole event, in its detector's lane, and what fails elsewhere", async () => {
    const { GuardDutyRule } = await resourcesOf("local");
    expect(GuardDutyRule?.Properties.Targets).toEqual([
      expect.objectContaining({
        Arn: get("Queue"),
        SqsParameters: { MessageGroupId: "portcullis-local.guardduty" },
        InputTransformer: {
          InputTemplate: '{"kind":"guardduty","event":<aws.events.event.json>}',
        },
        DeadLetterConfig: { Arn: get("UndeliveredEvents") },
      }),
    ]);
  });

  test.each(["Queue", "UndeliveredEvents"])("may send to %s, and no other may", async (queue) => {
    const all = Object.values(await resourcesOf("local")).filter(
      ({ Type }) => Type === "AWS::SQS::QueuePolicy",
    );
    const own = all.filter(({ Properties: { Queues } }) =>
      JSON.stringify(Queues).includes(`"${queue}"`),
    );
    expect(own).toMatchObject([
      {
        Properties: {
          PolicyDocument: {
            Statement: [
              {
                Principal: { Service: "events.amazonaws.com" },
                Action: "sqs:SendMessage",
                Resource: get(queue),
                Condition: {
                  ArnEquals: { "aws:SourceArn": [get("GuardDutyRule"), get("SecurityHubRule")] },
                },
              },
            ],
          },
        },
      },
    ]);
  });
});

type Case = { readonly what: string; readonly document: unknown; readonly refusal?: string };

const RULES: readonly [string, Detector, readonly string[]][] = [
  [
    "GuardDutyRule",
    guardDuty,
    [
      "an outbound connection",
      "a connection of our own instance's",
      "a call to AWS",
      "a question to a name server",
      "an archived finding",
    ],
  ],
  ["SecurityHubRule", securityHub, ["a call to AWS", "archived, suppressed and resolved ones"]],
];

describe.each(RULES)("the pattern of %s", (rule, detector, left) => {
  const url = new URL(
    `../services/blacklist/detectors/fixtures/${detector.name}.json`,
    import.meta.url,
  );
  const cases: readonly Case[] = JSON.parse(readFileSync(url, "utf8"));
  const passes = async (document: unknown) => {
    const { [rule]: found } = await resourcesOf("local");
    return compileFilters([JSON.stringify(found?.Properties.EventPattern)])(document);
  };

  const names = ({ document, refusal }: Case) =>
    refusal === undefined && detector.findings(document, {}).length > 0;

  test.each(cases.filter(names))(
    "lets through what the adapter finds somebody in: $what",
    async ({ document }) => {
      expect(await passes(document)).toBe(true);
    },
  );

  test.each(left)("leaves out %s", async (what) => {
    const found = cases.find((one) => one.what === what);
    expect(found && (await passes(found.document))).toBe(false);
  });
});
