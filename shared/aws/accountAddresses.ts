import {
  DescribeAddressesCommand,
  type EC2Client,
  paginateDescribeNatGateways,
} from "@aws-sdk/client-ec2";
import type { EpochMillis, Millis } from "../domain/time.ts";
import type { Logger } from "./log.ts";
import type { TargetStates } from "./table/targetStates.ts";

/** How often EC2 is asked: addresses rarely change. */
const READ_EVERY: Millis = 60_000;

/** How long a converge waits for them: blocks must not wait for what rarely changes. */
const PATIENCE: Millis = 2_000;

/** The name under which they are recorded, beside the targets' networks. */
const ACCOUNT = "account";

/**
 * The account's own addresses in this region: Elastic IPs and those of NAT gateways. Our own services call
 * from there, and blocking one of them blocks everything behind it. They are recorded for the endpoint and
 * the worker, which may not ask EC2.
 *
 * @returns a function that never fails: while EC2 cannot be read, the known or recorded addresses apply
 */
export function createAccountAddresses(
  ec2: EC2Client,
  states: Pick<TargetStates, "readNetworks" | "writeNetwork">,
  log: Pick<Logger, "warn">,
  clock: () => EpochMillis,
): () => Promise<readonly string[]> {
  let known: readonly string[] | undefined;
  let recorded: string | undefined;
  let readAt = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | undefined;

  async function read(): Promise<void> {
    readAt = clock();
    try {
      known = await addressesOf(ec2);
    } catch (error) {
      log.warn("The account's own addresses cannot be read", error as Error);
      known ??= (await states.readNetworks().catch(() => undefined))?.get(ACCOUNT);
      return;
    }
    const text = known.join();
    if (text === recorded) return;
    try {
      await states.writeNetwork(ACCOUNT, known);
      recorded = text;
    } catch (error) {
      log.warn("The account's own addresses could not be recorded", error as Error);
    }
  }

  return async () => {
    if (clock() - readAt >= READ_EVERY) {
      reading ??= read().finally(() => {
        reading = undefined;
      });
    }
    await reading;
    return known ?? [];
  };
}

async function addressesOf(ec2: EC2Client): Promise<string[]> {
  const abortSignal = AbortSignal.timeout(PATIENCE);
  const gatewayAddresses = async () => {
    const found: (string | undefined)[] = [];
    for await (const { NatGateways = [] } of paginateDescribeNatGateways(
      { client: ec2, pageSize: 1_000 },
      {},
      { abortSignal },
    )) {
      const addresses = NatGateways.flatMap(({ NatGatewayAddresses = [] }) => NatGatewayAddresses);
      found.push(...addresses.map(({ PublicIp }) => PublicIp));
    }
    return found;
  };
  const [elastic, gateways] = await Promise.all([
    ec2.send(new DescribeAddressesCommand({}), { abortSignal }),
    gatewayAddresses(),
  ]);
  const all = [...(elastic.Addresses ?? []).map(({ PublicIp }) => PublicIp), ...gateways];
  return [...new Set(all.filter((ip) => ip !== undefined))].toSorted();
}
