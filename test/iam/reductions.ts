import type { Statement } from "./policies.ts";

/** The statements without one action, one resource or one partition, each in its turn. */
export function reductions(
  statements: readonly Statement[],
): { what: string; statements: readonly Statement[] }[] {
  return statements.flatMap((statement, index) => {
    const instead = (what: string, reduced: Statement, isLeft: boolean) => ({
      what,
      statements: isLeft ? statements.with(index, reduced) : statements.toSpliced(index, 1),
    });
    const without = (list: readonly string[], one: string) => list.filter((each) => each !== one);
    const keys = statement.Condition?.["ForAllValues:StringEquals"]?.["dynamodb:LeadingKeys"] ?? [];
    return [
      ...statement.Action.map((action) => {
        const Action = without(statement.Action, action);
        return instead(action, { ...statement, Action }, Action.length > 0);
      }),
      ...statement.Resource.map((resource) => {
        const Resource = without(statement.Resource, resource);
        return instead(
          `${statement.Action} on ${resource}`,
          { ...statement, Resource },
          Resource.length > 0,
        );
      }),
      ...keys.map((key) => {
        const left = without(keys, key);
        const Condition = { "ForAllValues:StringEquals": { "dynamodb:LeadingKeys": left } };
        return instead(
          `${statement.Action} in ${key}`,
          { ...statement, Condition },
          left.length > 0,
        );
      }),
    ];
  });
}
