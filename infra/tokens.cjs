const { createHash } = require("node:crypto");

const sha256 = (token) => createHash("sha256").update(token).digest("hex");

/**
 * The tokens parameter's value. Only digests leave this machine: neither template nor stack ever
 * holds a token. Without tokens nobody may call: closed is the safe default.
 */
module.exports.tokens = async ({ resolveVariable }) => {
  const detector = await resolveVariable("param:accessToken, env:ACCESS_TOKEN, ''");
  const operator = await resolveVariable("param:operatorToken, env:OPERATOR_TOKEN, ''");
  return JSON.stringify([
    ...(detector ? [{ name: "detector", role: "detector", sha256: sha256(detector) }] : []),
    ...(operator ? [{ name: "operator", role: "operator", sha256: sha256(operator) }] : []),
  ]);
};
