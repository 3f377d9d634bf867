import {
  type Detector,
  type Finding,
  MAX_FINDINGS,
  type Misunderstanding,
  NotUnderstoodError,
  type Options,
  tried,
} from "../../shared/detectors/detector.ts";
import type { Blacklist, Request } from "./blacklist.ts";
import { detectors } from "./detectors/index.ts";
import { badRequest, Refusal } from "./errors.ts";
import type { Answer } from "./http.ts";
import { type Said, takeAll } from "./intake.ts";
import { termsOfFinding } from "./judge.ts";

/** The detector that a path names. @throws Refusal 404 */
export function detectorNamed(name: string | undefined): Detector {
  const detector = detectors.get(name ?? "");
  if (!detector) throw new Refusal(404, "not_found", "There is no such detector.");
  return detector;
}

/**
 * Takes documents in a detector's own format: each document is parsed by itself, and each address in it
 * judged by itself. A document that is not understood is answered like a refused address.
 *
 * @throws Refusal 400 if too much is said, and as `takeAll`
 */
export async function takeAlerts(
  detector: Detector,
  documents: readonly unknown[],
  options: Options,
  request: Request,
  blacklist: Blacklist,
): Promise<Answer> {
  return takeAll(
    findingsIn(detector, documents, options).map((finding) => saidBy(finding, blacklist)),
    request,
    blacklist,
  );
}

/** What all documents say. @throws Refusal 400 as soon as that is too much */
function findingsIn(
  detector: Detector,
  documents: readonly unknown[],
  options: Options,
): readonly (Finding | Misunderstanding)[] {
  const said: (Finding | Misunderstanding)[] = [];
  let looked = 0;
  for (const document of documents) {
    const found = tried(() => detector.findings(document, options));
    looked += found instanceof NotUnderstoodError ? found.parts : found.length;
    if (looked > MAX_FINDINGS) {
      throw badRequest("too_many", `One request may name ${MAX_FINDINGS} addresses at most.`);
    }
    if (found instanceof NotUnderstoodError) said.push({ notUnderstood: found.message });
    else said.push(...found);
  }
  return said;
}

function saidBy(finding: Finding | Misunderstanding, blacklist: Blacklist): Said {
  if ("notUnderstood" in finding) {
    return { kind: "refused", refusal: badRequest("not_understood", finding.notUnderstood) };
  }
  const { ip, withdraws } = finding;
  if (withdraws) return { kind: "withdrawal", ip };
  return { kind: "report", ip, terms: () => termsOfFinding(finding, blacklist) };
}
