import { gzipSync } from "node:zlib";

type Fields = {
  readonly to?: number;
  readonly packets?: number | string;
  readonly action?: "ACCEPT" | "REJECT";
};

/** A record of the default format, version 2. */
export const record = (
  source: string,
  { to = 22, packets = 1, action = "REJECT" }: Fields = {},
): string =>
  `2 123456789012 eni-0a1b2c3d4e5f60718 ${source} 10.0.0.5 49761 ${to} 6 ${packets} 40 1800000000 1800000060 ${action} OK`;

/** What CloudWatch Logs sends to the function that has subscribed to a log group. */
export const flowLogEvent = (lines: readonly string[], messageType = "DATA_MESSAGE") => {
  const batch = {
    ...{ messageType, owner: "123456789012", logGroup: "/vpc/flow-logs" },
    ...{ logStream: "eni-0a1b2c3d4e5f60718-all", subscriptionFilters: ["rejected"] },
    logEvents: lines.map((message, index) => ({ id: String(index), timestamp: 0, message })),
  };
  return { awslogs: { data: gzipSync(JSON.stringify(batch)).toString("base64") } };
};
