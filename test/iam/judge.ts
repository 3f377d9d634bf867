import { join } from "node:path";
import { writeJson } from "../../infra/local/files.ts";
import { PROJECT_ROOT, packageServices } from "../../infra/local/package.ts";
import { PLACE } from "./place.ts";
import { type Role, readRoles } from "./policies.ts";
import { refused, unneeded } from "./proof.ts";
import type { Recording } from "./recording.ts";

const DIR = join(PROJECT_ROOT, ".local", "permissions");

/** The roles of the functions, as they are packaged for the local cloud. */
export async function packagedRoles(): Promise<Readonly<Record<string, Role>>> {
  const { templates } = await packageServices(join(DIR, "code"));
  return readRoles(templates, PLACE.region);
}

/**
 * Proves the packaged policies by what was recorded: each call is allowed, and, where the recording is whole,
 * nothing is granted that none of them needs. What was asked is written to .local/permissions/calls.json.
 *
 * @returns what was proven, in a sentence; nothing where no function has run
 * @throws Error with all that was refused, or granted in vain
 */
export async function judge(recording: Recording, isWhole: boolean): Promise<string | undefined> {
  const recorded = recording.read();
  if (!isWhole && Object.keys(recorded).length === 0) return undefined;
  writeJson(join(DIR, "calls.json"), recorded);
  const wrong: string[] = [];
  const proven: string[] = [];
  for (const [name, role] of Object.entries(await packagedRoles())) {
    const requests = [...(recorded[name] ?? []), ...role.lambdaCalls];
    for (const { action, resource, context } of await refused(role, requests)) {
      wrong.push(`${name} may not ${action} on ${resource} ${JSON.stringify(context)}`);
    }
    proven.push(`${requests.length} kinds of calls of ${name}`);
    if (!isWhole) continue;
    const granted = await unneeded(role, requests);
    wrong.push(...granted.unneeded.map((what) => `${name} never needs ${what}`));
    proven.push(`each of ${granted.takenOut} grants needed`);
  }
  if (wrong.length > 0) throw new Error(wrong.join("\n  "));
  return `allowed are ${proven.join(", ")}.`;
}
