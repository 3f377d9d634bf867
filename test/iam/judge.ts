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
 * @returns what was proven, in a sentence
 * @throws Error with all that was refused, or granted in vain
 */
export async function judge(recording: Recording, isWhole: boolean): Promise<string> {
  const recorded = recording.read();
  const names = Object.keys(recorded).toSorted();
  if (names.length === 0) return "Permissions: no function has run.";
  writeJson(join(DIR, "calls.json"), recorded);
  const roles = await packagedRoles();
  const wrong: string[] = [];
  const proven: string[] = [];
  for (const name of names) {
    const role = roles[name];
    if (!role) throw new Error(`there is no function ${name} in the templates.`);
    const requests = [...(recorded[name] ?? []), ...role.lambdaCalls];
    for (const { action, resource, context } of await refused(role, requests)) {
      wrong.push(`${name} may not ${action} on ${resource} ${JSON.stringify(context)}`);
    }
    if (isWhole) {
      const { takenOut, unneeded: granted } = await unneeded(role, requests);
      wrong.push(...granted.map((what) => `${name} never needs ${what}`));
      proven.push(`${name} ${requests.length}, ${takenOut} taken out`);
    } else proven.push(`${name} ${requests.length}`);
  }
  if (wrong.length > 0) throw new Error(`\n  ${wrong.join("\n  ")}`);
  const what = isWhole ? "allowed and nothing more" : "allowed (of all suites only part ran)";
  return `Permissions: kinds of calls: ${proven.join("; ")}: ${what}.`;
}
