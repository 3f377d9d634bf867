import { createHash, createHmac, randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { GetParameterCommand, PutParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import type { TestCloud } from "./cloud.ts";

/** Longer than the functions keep a parameter. */
export const PARAMETER_MS = 6_000;
export const CALLERS = "/portcullis/local/callers";
const TOKENS = "/portcullis/local/tokens";

type Entry = { readonly name: string };

/** Changes a list that a parameter of the local stage holds. */
export async function changeList(
  { stack: { region, endpoints } }: TestCloud,
  Name: string,
  by: (list: readonly Entry[]) => readonly object[],
): Promise<void> {
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  const ssm = new SSMClient({ endpoint: endpoints.ssm, region, credentials });
  try {
    const { Parameter } = await ssm.send(new GetParameterCommand({ Name }));
    const list = JSON.parse(Parameter?.Value ?? "[]") as readonly Entry[];
    await ssm.send(
      new PutParameterCommand({ Name, Value: JSON.stringify(by(list)), Overwrite: true }),
    );
  } finally {
    ssm.destroy();
  }
}

/** Adds a detector beside the one that the local stage has. @returns its token, once it is known */
export async function addDetector(cloud: TestCloud, name: string): Promise<string> {
  const token = randomBytes(24).toString("base64url");
  const signingKey = createHmac("sha256", token).update("portcullis-signature").digest("hex");
  const sha256 = createHash("sha256").update(token).digest("hex");
  await changeList(cloud, CALLERS, (list) => [...list, { name, role: "detector" }]);
  await changeList(cloud, TOKENS, (list) => [...list, { name, sha256, signingKey }]);
  await pause(PARAMETER_MS);
  return token;
}
