import { runSimulation } from "@cloud-copilot/iam-simulate";
import { LOCAL_ACCOUNT } from "../../infra/local/template.ts";
import type { Statement } from "./policies.ts";
import type { Request } from "./requests.ts";

/** A policy of an organisation that leaves everything to the roles. */
const EVERYTHING = {
  orgIdentifier: "o-organisation",
  policies: [
    {
      name: "FullAWSAccess",
      policy: {
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }],
      },
    },
  ],
};

/**
 * Whether a role with these statements may make the request.
 *
 * @throws Error where policy or request make no sense to IAM: an action that does not exist, a resource
 * that the action does not know
 */
export async function isAllowed(
  { action, resource, context }: Request,
  statements: readonly Statement[],
): Promise<boolean> {
  const simulated = await runSimulation(
    {
      request: {
        principal: `arn:aws:iam::${LOCAL_ACCOUNT}:role/function`,
        action,
        resource: { resource, accountId: LOCAL_ACCOUNT },
        contextVariables: { ...context },
      },
      identityPolicies: [
        { name: "role", policy: { Version: "2012-10-17", Statement: [...statements] } },
      ],
      serviceControlPolicies: [EVERYTHING],
      resourceControlPolicies: [],
    },
    {},
  );
  if (simulated.resultType === "error") {
    throw new Error(`${action} on ${resource}: ${JSON.stringify(simulated.errors)}`);
  }
  return simulated.overallResult === "Allowed";
}
