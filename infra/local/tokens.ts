import { createHash, randomBytes } from "node:crypto";
import { readJson, writeJson } from "./files.ts";

/** The access tokens of a local run. */
export type Tokens = { detector: string; operator: string };

/** Random tokens, or those of the run whose state is resumed. */
export function makeTokens(file: string): Tokens {
  const kept = readJson<Tokens>(file);
  if (kept) return kept;
  const random = () => randomBytes(24).toString("base64url");
  const tokens = { detector: random(), operator: random() };
  writeJson(file, tokens);
  return tokens;
}

/** What the tokens parameter holds of them: digests, as in a deployment. */
export function tokensParameter(tokens: Tokens): string {
  return JSON.stringify(
    Object.entries(tokens).map(([role, token]) => ({
      name: role,
      role,
      sha256: createHash("sha256").update(token).digest("hex"),
    })),
  );
}
