import type { Role, Statement } from "./policies.ts";
import { reductions } from "./reductions.ts";
import type { Request } from "./requests.ts";
import { isAllowed } from "./simulate.ts";

/** What Serverless grants by itself, beside what it must: nothing here can take it away. */
const GRANTED_BY_SERVERLESS = [
  "logs:CreateLogGroup", // the template makes the groups
  "logs:TagResource",
  "dynamodb:ListStreams", // the mapping names its stream
  "sqs:ListQueues",
];

/** Those of the requests that a role's statements do not allow. */
export async function refused(
  { statements }: Pick<Role, "statements">,
  requests: readonly Request[],
): Promise<Request[]> {
  const found = [];
  for (const one of requests) if (!(await isAllowed(one, statements))) found.push(one);
  return found;
}

/**
 * As the simulator answers, each question once: a request is allowed where one statement allows it, as the roles
 * deny nothing, and a statement that does not name the action need not be asked.
 */
function createAsk(): typeof isAllowed {
  const answers = new Map<string, Promise<boolean>>();
  const allows = (statement: Statement, request: Request) => {
    const key = JSON.stringify([statement, request]);
    const answer = answers.get(key) ?? isAllowed(request, [statement]);
    answers.set(key, answer);
    return answer;
  };
  return async (request, statements) => {
    for (const statement of statements) {
      const named = statement.Action.some((one) => one === request.action || one.includes("*"));
      if (named && (await allows(statement, request))) return true;
    }
    return false;
  };
}

/**
 * Whatever may be taken out of a role's statements, and all requests are allowed as before: an action, a
 * resource or a partition.
 */
export async function unneeded(
  { statements }: Pick<Role, "statements">,
  requests: readonly Request[],
): Promise<{ takenOut: number; unneeded: string[] }> {
  if (statements.some(({ Effect }) => Effect !== "Allow")) {
    throw new Error("A role that denies something cannot be taken apart.");
  }
  const ask = createAsk();
  const all = reductions(statements);
  const found: string[] = [];
  for (const { what, statements: reduced } of all) {
    let isMissed = false;
    for (const one of requests) isMissed ||= !(await ask(one, reduced));
    if (!isMissed && !GRANTED_BY_SERVERLESS.includes(what)) found.push(what);
  }
  return { takenOut: all.length, unneeded: found };
}
