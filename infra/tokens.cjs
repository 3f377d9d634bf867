const { createHash, createHmac } = require("node:crypto");

/** Shorter secrets can be guessed. */
const LEAST_LENGTH = 32;

/** The tokens that are given, by the names and roles of their callers. */
async function given(resolveVariable) {
  const detector = await resolveVariable("param:accessToken, env:ACCESS_TOKEN, ''");
  const operator = await resolveVariable("param:operatorToken, env:OPERATOR_TOKEN, ''");
  const tokens = [
    { name: "detector", token: String(detector), variable: "ACCESS_TOKEN" },
    { name: "operator", token: String(operator), variable: "OPERATOR_TOKEN" },
  ].filter(({ token }) => token !== "");
  for (const { token, variable } of tokens) {
    if (token.length < LEAST_LENGTH || /\s/.test(token)) {
      const message =
        `${variable} must have at least ${LEAST_LENGTH} characters and no blanks; ` +
        "make one with: openssl rand -hex 32";
      // Whoever packages needs the sentence, and not where it was made.
      throw Object.assign(new Error(message), { stack: message });
    }
  }
  return tokens;
}

const sha256 = (token) => createHash("sha256").update(token).digest("hex");
const signingKey = (token) =>
  createHmac("sha256", token).update("portcullis-signature").digest("hex");

/**
 * The tokens parameter's value. Only digests leave this machine: neither template nor stack ever
 * holds a token. Without tokens nobody may call: closed is the safe default. A key that requests are
 * signed with is as good as a token for whoever reads it, so the keys are there only where they are asked
 * for.
 */
module.exports.tokens = async ({ resolveVariable }) => {
  const isSigning =
    (await resolveVariable("param:signedRequests, env:SIGNED_REQUESTS, 'off'")) === "on";
  const tokens = await given(resolveVariable);
  return JSON.stringify(
    tokens.map(({ name, token }) => ({
      name,
      sha256: sha256(token),
      ...(isSigning && { signingKey: signingKey(token) }),
    })),
  );
};

/** The callers parameter's value: who may call, with the limits of the role. */
module.exports.callers = async ({ resolveVariable }) => {
  const tokens = await given(resolveVariable);
  return JSON.stringify(tokens.map(({ name }) => ({ name, role: name })));
};
