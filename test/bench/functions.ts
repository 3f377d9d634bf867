import { join } from "node:path";
import type { FunctionModel } from "../../infra/local/template.ts";
import { environmentOf, type Stage } from "./stage.ts";

export type FunctionName = "blacklist" | "worker" | "enforcer";

/** A packaged function: its bundle, and the environment that its template and the engines give it. */
export type PackagedFunction = {
  readonly bundle: string;
  readonly handler: string;
  readonly env: Readonly<Record<string, string>>;
};

/** @param aclId what the deployment is told, as there is no default */
export function packagedFunction(
  { model, codeDir, endpoints }: Stage,
  name: FunctionName,
  aclId: string,
): PackagedFunction {
  const found = model.functions.find(({ artefact }) => artefact === name);
  if (!found) throw new Error(`The templates have no function ${name}.`);
  const [file = "", handler = ""] = found.handler.split(".");
  return {
    bundle: join(codeDir, name, `${file}.cjs`),
    handler,
    env: {
      ...lambdaEnvironment(found),
      ...environmentOf(endpoints),
      ACL_ID: aclId,
      WAF_IP_SETS: "",
    },
  };
}

const lambdaEnvironment = ({ name, memoryMb, environment }: FunctionModel) => ({
  ...environment,
  PATH: process.env.PATH ?? "",
  TZ: "UTC",
  AWS_EXECUTION_ENV: "AWS_Lambda_nodejs24.x",
  AWS_LAMBDA_FUNCTION_NAME: name,
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(memoryMb),
});
