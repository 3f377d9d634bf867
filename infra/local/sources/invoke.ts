import Fastify from "fastify";
import { type Invoke, ThrottledError } from "../lambda.ts";
import type { EventSource } from "./source.ts";

/** A function as Lambda's API shows and runs it. */
export type Invocable = {
  readonly invoke: Invoke;
  readonly environment: Readonly<Record<string, string>>;
};

/**
 * Lambda's own API, as far as a person with a client needs it: synchronous `Invoke`, and the environment in a
 * function's configuration.
 */
export async function startInvokeApi(
  functions: ReadonlyMap<string, Invocable>,
): Promise<EventSource & { url: string }> {
  const app = Fastify({ forceCloseConnections: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => done(null, body));
  app.post<{ Params: { name: string } }>(
    "/2015-03-31/functions/:name/invocations",
    async ({ params: { name }, body }, reply) => {
      const refuse = (status: number, type: string, Message: string) =>
        reply.code(status).header("x-amzn-errortype", type).send({ Type: "User", Message });
      const found = functions.get(name);
      if (!found) return refuse(404, "ResourceNotFoundException", `Function not found: ${name}`);
      try {
        const outcome = await found.invoke(JSON.parse(String(body || "{}")));
        if (!outcome.ok) reply.header("x-amz-function-error", "Unhandled");
        const payload = outcome.ok ? outcome.payload : outcome.error;
        return reply.type("application/json").send(JSON.stringify(payload ?? null));
      } catch (error) {
        if (error instanceof SyntaxError) {
          return refuse(400, "InvalidRequestContentException", "The payload is not JSON.");
        }
        if (!(error instanceof ThrottledError)) throw error;
        return refuse(429, "TooManyRequestsException", error.message);
      }
    },
  );
  app.get<{ Params: { name: string } }>(
    "/2015-03-31/functions/:name/configuration",
    async ({ params: { name } }, reply) => {
      const found = functions.get(name);
      if (found) return { FunctionName: name, Environment: { Variables: found.environment } };
      return reply
        .code(404)
        .header("x-amzn-errortype", "ResourceNotFoundException")
        .send({ Type: "User", Message: `Function not found: ${name}` });
    },
  );
  return {
    url: await app.listen({ host: "127.0.0.1", port: 0 }),
    stop: () => app.close(),
  };
}
