import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { parse } from "yaml";

// What the endpoint's template grants, and tells the function.

const templateOf = (path: string) =>
  parse(readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8"), {
    logLevel: "error", // CloudFormation's own tags are not YAML's
  });

type Statement = {
  readonly Action: string | readonly string[];
  readonly Resource: string | readonly string[];
  readonly Condition?: Readonly<
    Record<string, Readonly<Record<string, readonly string[] | undefined>>>
  >;
};

const { provider, functions } = templateOf("services/blacklist/serverless.yml");
const statements: readonly Statement[] = provider.iam.role.statements;
const LIST = "portcullis-$" + "{sls:stage}";

describe("the endpoint may", () => {
  test.each([
    ["BatchGetItem", "TableArn", ["", "#outstanding"]],
    ["Query", "RankIndexArn", [""]],
    ["GetItem", "TableArn", ["#targets", "#settings", "#tokens"]],
    ["Query", "TableArn", ["#targets", "#orders", "#callers", "#settings", "#tokens"]],
    ["UpdateItem", "TableArn", ["#orders", "#budgets", "#callers"]],
    ["PutItem", "TableArn", ["#orders", "#callers"]],
    ["DeleteItem", "TableArn", ["#orders"]],
  ])("%s %s: the partitions that it needs", (action, resource, partitions) => {
    const granted = statements.find(
      ({ Action, Resource }) =>
        Action === `dynamodb:${action}` && Resource === `${LIST}-${resource}`,
    );
    expect(granted?.Condition).toEqual({
      "ForAllValues:StringEquals": {
        "dynamodb:LeadingKeys": partitions.map((name) => `${LIST}${name}`),
      },
    });
  });

  test("do nothing else to the table", () => {
    const table = statements.filter(({ Action }) => String(Action).includes("dynamodb"));
    expect(table).toHaveLength(7);
    expect(table.every(({ Condition }) => Condition !== undefined)).toBe(true);
  });

  test("read the three parameters that it is told of, and no other", () => {
    const [ssm, ...more] = statements.filter(({ Action }) => String(Action).startsWith("ssm:"));
    expect([ssm?.Action, more]).toEqual(["ssm:GetParameter", []]);
    const names = [ssm?.Resource ?? []].flat().map((arn) => arn.split("/").at(-1));
    expect(names.toSorted()).toEqual(["callers", "never-block", "tokens"]);
  });
});

test("the function is told of both lists and of the list's limit", () => {
  expect(Object.keys(functions.blacklist.environment)).toEqual(
    expect.arrayContaining(["TOKENS_PARAMETER", "CALLERS_PARAMETER", "BLOCK_LIMIT"]),
  );
});
