import {
  Agent,
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { pause } from "../../infra/local/waiting.ts";

/** A call to an engine, as far as faults tell calls apart. */
export type Call = {
  readonly service: "sqs" | "dynamodb" | "ec2" | "wafv2" | "ssm";
  readonly action: string;
  readonly body: string;
  /** Names the function that calls, as `app/name`. */
  readonly userAgent: string;
};

/**
 * What happens to a call instead of being passed on and answered:
 *
 *     down           the connection is cut, and the engine never hears of it
 *     error          the engine answers 500, and has done nothing
 *     throttle       the engine answers its own throttling error, and has done nothing
 *     expired        DynamoDB answers that the stream's iterator has expired
 *     lostAnswer     it takes effect, and is answered too late for any client
 *     belated        the connection is cut, and it takes effect long after all attempts have failed
 *     slow           it takes effect, and is answered late
 *     twice          it takes effect twice
 *     killBefore     the runner is killed, and the engine never hears of it
 *     killAfter      it takes effect, and the runner is killed before it hears of that
 */
export type Fault =
  | "down"
  | "error"
  | "throttle"
  | "expired"
  | "lostAnswer"
  | "belated"
  | "slow"
  | "twice"
  | "killBefore"
  | "killAfter";

/** Chooses what happens to a call. */
export type Choose = (call: Call) => Fault | undefined;

/** Later than any of the product's clients waits for one answer. */
const TOO_LATE_MS = 5_500;
/** Later than all attempts of a client together, where each fails at once. */
const BELATED_MS = 8_000;
/** Sooner than a client gives up. */
const LATE_MS = 300;

/** Passes calls on to an engine, but for those that the campaign chooses. */
export async function startProxy(
  service: Call["service"],
  upstream: string,
  choose: Choose,
  kill: () => Promise<void>,
): Promise<{ url: string; stop(): void }> {
  const agent = new Agent({ keepAlive: true });
  const server = createServer((incoming, response) => {
    answer(incoming, response).catch(() => response.destroy());
  });

  async function answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = Buffer.concat(await incoming.toArray());
    const userAgent = String(incoming.headers["user-agent"] ?? "");
    const action = actionOf(incoming, body);
    const fault = choose({ service, action, body: body.toString(), userAgent });
    const pass = () => forward(incoming, body);
    const reply = ({ status, headers, bytes }: Reply) =>
      response.writeHead(status, headers).end(bytes);
    switch (fault) {
      case "down":
        response.destroy();
        break;
      case "error":
      case "throttle":
      case "expired":
        reply(errorOf(service, fault));
        break;
      case "lostAnswer":
        await pass();
        await pause(TOO_LATE_MS);
        response.destroy();
        break;
      case "belated":
        response.destroy();
        await pause(BELATED_MS);
        await pass();
        break;
      case "slow":
        await pause(LATE_MS);
        reply(await pass());
        break;
      case "twice": {
        const first = await pass();
        await pass();
        reply(first);
        break;
      }
      case "killBefore":
      case "killAfter":
        if (fault === "killAfter") await pass();
        await kill();
        response.destroy();
        break;
      default:
        reply(await pass());
    }
  }

  async function forward({ method, url, headers }: IncomingMessage, body: Buffer): Promise<Reply> {
    const call = request(new URL(url ?? "/", upstream), { agent, method, headers });
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      call.once("response", resolve).once("error", reject);
    });
    call.end(body);
    const reply = await answered;
    const bytes = Buffer.concat(await reply.toArray());
    return { status: reply.statusCode ?? 502, headers: reply.headers, bytes };
  }

  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop() {
      server.closeAllConnections();
      server.close();
      agent.destroy();
    },
  };
}

type Reply = { status: number; headers: IncomingHttpHeaders; bytes: Buffer | string };

/** By the JSON protocols' header, or by EC2's form. */
function actionOf({ headers }: IncomingMessage, body: Buffer): string {
  const target = String(headers["x-amz-target"] ?? "");
  return target
    ? target.slice(target.lastIndexOf(".") + 1)
    : (new URLSearchParams(body.toString()).get("Action") ?? "");
}

function errorOf(service: Call["service"], fault: "error" | "throttle" | "expired"): Reply {
  if (service === "ec2") {
    const [status, code] =
      fault === "throttle"
        ? ([503, "RequestLimitExceeded"] as const)
        : ([500, "InternalError"] as const);
    const error = `<Error><Code>${code}</Code><Message>Failed by order</Message></Error>`;
    const bytes = `<Response><Errors>${error}</Errors><RequestID>0</RequestID></Response>`;
    return { status, headers: { "content-type": "text/xml" }, bytes };
  }
  const types = {
    error: [500, service === "wafv2" ? "WAFInternalErrorException" : "InternalServerError"],
    throttle: [400, "ThrottlingException"],
    expired: [400, "com.amazonaws.dynamodb.v20120810#ExpiredIteratorException"],
  } as const;
  const [status, __type] = types[fault];
  const bytes = JSON.stringify({ __type, message: "Failed by order" });
  const version = service === "wafv2" || service === "ssm" ? "1.1" : "1.0";
  return { status, headers: { "content-type": `application/x-amz-json-${version}` }, bytes };
}
