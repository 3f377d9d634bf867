import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { CreateNetworkAclEntryCommand, DescribeNetworkAclsCommand } from "@aws-sdk/client-ec2";
import type { TestCloud } from "./cloud.ts";

const CLI = new URL("../../services/cli/portcullis.ts", import.meta.url).pathname;

type Outcome = { readonly code: number; readonly out: string; readonly err: string };

/** What `portcullis` says, with such an environment beside the shell's own. */
export async function portcullis(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const options = { env: { ...process.env, NODE_OPTIONS: "", ...env }, timeout: 120_000 };
  const answer = promisify(execFile)(process.execPath, [CLI, ...args], options);
  return answer.then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
    ({ code, stdout, stderr }) => ({ code, out: stdout, err: stderr }),
  );
}

/** A person at a terminal: the command line, and what the AWS CLI shows of the targets. */
export function operatorOf(cloud: TestCloud, waf: string) {
  const run = (...args: string[]) => portcullis(args, { PORTCULLIS_LOCAL_DIR: cloud.dir });

  return {
    run,
    json: async (...args: string[]) => JSON.parse((await run(...args, "--json")).out),

    /** Denies an address by hand, among our rules and in the set. */
    async deny(address: string): Promise<void> {
      await cloud.ec2.send(
        new CreateNetworkAclEntryCommand({
          ...{ NetworkAclId: cloud.stack.aclId, Egress: false, RuleNumber: 50, Protocol: "-1" },
          ...{ RuleAction: "deny", CidrBlock: address },
        }),
      );
      await cloud.addToIpSet(`${waf}-v4`, address);
    },

    /** The targets, byte for byte, but for the lock tokens, which every update changes. */
    async described(): Promise<string> {
      const { NetworkAcls } = await cloud.ec2.send(new DescribeNetworkAclsCommand({}));
      const sets = [await cloud.ipSet(`${waf}-v4`), await cloud.ipSet(`${waf}-v6`)];
      return JSON.stringify({ NetworkAcls, sets });
    },
  };
}
