import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import * as v from "valibot";
import { readJson, writeJson } from "../files.ts";

type Parameter = { value: string; type: string; version: number; modifiedAtSeconds: number };

const name = v.pipe(v.string(), v.nonEmpty());
const putInput = v.object({
  Name: name,
  Value: v.pipe(v.string(), v.nonEmpty()),
  Type: v.optional(v.string(), "String"),
  Overwrite: v.optional(v.boolean(), false),
});
const getInput = v.object({ Name: name });
const getManyInput = v.object({ Names: v.array(name) });

/** An error as the JSON 1.1 protocol names it. */
class SsmError extends Error {
  readonly code: string;

  constructor(code: string, message = "") {
    super(message);
    this.code = code;
  }
}

/**
 * Parameter Store, as far as the product and a person with the AWS CLI use it: `GetParameter`,
 * `GetParameters` and `PutParameter` of the JSON 1.1 protocol. Keeps its parameters in a file.
 */
export async function startSsm(options: {
  stateFile: string;
  region: string;
}): Promise<{ url: string; stop(): Promise<void> }> {
  const parameters = new Map(
    Object.entries(readJson<Record<string, Parameter>>(options.stateFile) ?? {}),
  );
  const save = () => writeJson(options.stateFile, Object.fromEntries(parameters));

  function shown(parameterName: string): Record<string, unknown> | undefined {
    const found = parameters.get(parameterName);
    return (
      found && {
        Name: parameterName,
        Type: found.type,
        Value: found.value,
        Version: found.version,
        LastModifiedDate: found.modifiedAtSeconds,
        ARN: `arn:aws:ssm:${options.region}:000000000000:parameter${parameterName}`,
        DataType: "text",
      }
    );
  }

  const actions: Record<string, (input: unknown) => unknown> = {
    GetParameter(input) {
      const Parameter = shown(v.parse(getInput, input).Name);
      if (!Parameter) throw new SsmError("ParameterNotFound");
      return { Parameter };
    },
    GetParameters(input) {
      const { Names } = v.parse(getManyInput, input);
      return {
        Parameters: Names.map(shown).filter((parameter) => parameter !== undefined),
        InvalidParameters: Names.filter((each) => !parameters.has(each)),
      };
    },
    PutParameter(input) {
      const { Name, Value, Type, Overwrite } = v.parse(putInput, input);
      const old = parameters.get(Name);
      if (old && !Overwrite) {
        throw new SsmError("ParameterAlreadyExists", "The parameter already exists.");
      }
      const version = (old?.version ?? 0) + 1;
      const type = old?.type ?? Type;
      parameters.set(Name, { value: Value, type, version, modifiedAtSeconds: Date.now() / 1_000 });
      save();
      return { Version: version, Tier: "Standard" };
    },
  };

  const server = createServer(async (request, response) => {
    const answer = await answerTo(actions, request);
    response.writeHead(answer.status, { "content-type": "application/x-amz-json-1.1" });
    response.end(JSON.stringify(answer.body));
  });
  await listen(server);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () =>
      new Promise((stopped) => {
        server.close(() => stopped());
        server.closeAllConnections();
      }),
  };
}

async function answerTo(
  actions: Record<string, (input: unknown) => unknown>,
  request: IncomingMessage,
): Promise<{ status: number; body: unknown }> {
  try {
    const action = String(request.headers["x-amz-target"]).replace("AmazonSSM.", "");
    const text = Buffer.concat(await request.toArray()).toString();
    if (!Object.hasOwn(actions, action)) throw new SsmError("UnknownOperationException");
    return { status: 200, body: actions[action]?.(JSON.parse(text)) };
  } catch (error) {
    const code = error instanceof SsmError ? error.code : "ValidationException";
    return { status: 400, body: { __type: code, message: (error as Error).message } };
  }
}

const listen = (server: Server): Promise<void> =>
  new Promise((listening, failed) => {
    server.once("error", failed).listen(0, "127.0.0.1", () => listening());
  });
