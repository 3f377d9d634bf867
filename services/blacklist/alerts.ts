import {
  type Detector,
  type Finding,
  type Misunderstanding,
  NotUnderstoodError,
  type Options,
} from "../../shared/detectors/detector.ts";
import type { Blacklist, Request } from "./blacklist.ts";
import { detectors } from "./detectors/index.ts";
import { badRequest, Refusal } from "./errors.ts";
import type { Answer } from "./http.ts";
import { type Said, takeAll } from "./intake.ts";
import { termsOfFinding } from "./judge.ts";

/** How many addresses one request may name, over all its documents. */
const MAX_FINDINGS = 10_000;

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
 * @throws Refusal 400 if nothing is understood, and as `takeAll`
 */
export async function takeAlerts(
  detector: Detector,
  documents: readonly unknown[],
  options: Options,
  request: Request,
  blacklist: Blacklist,
): Promise<Answer> {
  const findings = documents.flatMap((document) => findingsIn(detector, document, options));
  if (findings.length > MAX_FINDINGS) {
    throw badRequest("too_many", `One request may name ${MAX_FINDINGS} addresses at most.`);
  }
  return takeAll(
    findings.map((finding) => saidBy(finding, blacklist)),
    request,
    blacklist,
  );
}

function findingsIn(
  detector: Detector,
  document: unknown,
  options: Options,
): readonly (Finding | Misunderstanding)[] {
  try {
    return detector.findings(document, options);
  } catch (error) {
    if (!(error instanceof NotUnderstoodError)) throw error;
    return [{ notUnderstood: error.message }];
  }
}

function saidBy(finding: Finding | Misunderstanding, blacklist: Blacklist): Said {
  if ("notUnderstood" in finding) {
    return { kind: "refused", refusal: badRequest("not_understood", finding.notUnderstood) };
  }
  const { ip, withdraws } = finding;
  if (withdraws) return { kind: "withdrawal", ip };
  return { kind: "report", ip, terms: () => termsOfFinding(finding, blacklist) };
}
