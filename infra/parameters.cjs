const { createHash, createHmac } = require("node:crypto");
const { failure, resolveStage } = require("./stage.cjs");

/** Shorter secrets can be guessed. */
const LEAST_LENGTH = 32;

/** The parameters of the callers' tokens, for the message to whoever gave none that will do. */
const VARIABLES = { detector: "ACCESS_TOKEN", operator: "OPERATOR_TOKEN" };

const sha256 = (token) => createHash("sha256").update(token).digest("hex");
const signingKey = (token) =>
  createHmac("sha256", token).update("portcullis-signature").digest("hex");

/** A first try's tokens, with the names of their callers, which are also their roles. */
function checked(tokens) {
  const given = Object.entries(tokens).filter(([, token]) => token !== "");
  for (const [name, token] of given) {
    if (token.length < LEAST_LENGTH || /\s/.test(token)) {
      throw failure(
        `${VARIABLES[name]} must have at least ${LEAST_LENGTH} characters and no blanks; ` +
          "make one with: openssl rand -hex 32",
      );
    }
  }
  return given;
}

const parameter = (stage, name, description, value) => ({
  Type: "AWS::SSM::Parameter",
  Properties: {
    Name: `/portcullis/${stage}/${name}`,
    Description: description,
    Type: "String",
    Value: value,
  },
});

/**
 * The parameters of a first try. In every other stage operators write them: what CloudFormation does not
 * own, no deployment can empty.
 *
 * Only digests leave this machine: neither template nor stack ever holds a token. A key that requests are
 * signed with is as good as a token for whoever reads it, so the keys are there only where they are asked
 * for.
 */
module.exports = async (serverless) => {
  const { name: stage, firstTry, tokens, signedRequests } = await resolveStage(serverless);
  if (!firstTry) return { Resources: {} };
  const given = checked(tokens);
  const callers = given.map(([name]) => ({ name, role: name }));
  const digests = given.map(([name, token]) => ({
    name,
    sha256: sha256(token),
    ...(signedRequests === "on" && { signingKey: signingKey(token) }),
  }));
  return {
    Resources: {
      CallersParameter: parameter(
        stage,
        "callers",
        "Who may call, and how far each may go",
        JSON.stringify(callers),
      ),
      TokensParameter: parameter(
        stage,
        "tokens",
        "SHA-256 digests of the access tokens",
        JSON.stringify(digests),
      ),
      NeverBlockParameter: parameter(
        stage,
        "never-block",
        "Addresses and ranges that are never blocked",
        "none", // SSM stores no empty value
      ),
    },
  };
};
