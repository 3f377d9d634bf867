import pc from "picocolors";
import { type Cloud, startCloud } from "./cloud.ts";
import { SetupError } from "./errors.ts";

// The local cloud until Ctrl-C.

const TITLES = { networkAcl: "ACL       ", wafIpSet: "WAF IP set" };

try {
  const cloud = await startCloud();
  console.log(welcome(cloud));
  const why = await ending(cloud);
  console.log(why.text);
  await cloud.stop({ keepState: why.code !== 0 });
  process.exit(why.code);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(pc.red(error.message));
  process.exit(1);
}

/**
 * Resolves when it is time to stop. A second Ctrl-C does not wait. A test that is killed leaves no
 * cloud behind: with EXIT_WITH_PARENT=1 the end of stdin counts as Ctrl-C.
 */
function ending(cloud: Cloud): Promise<{ text: string; code: number }> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(130));
        resolve({ text: "Stopping …", code: 0 });
      });
    }
    if (process.env.EXIT_WITH_PARENT === "1") {
      process.stdin.resume().once("close", () => {
        resolve({ text: "The parent process has ended.", code: 0 });
      });
    }
    cloud.failed.then((name) => {
      resolve({ text: pc.red(`${name} ended by itself: see ${cloud.localDir}/logs.`), code: 1 });
    });
  });
}

function welcome({ stack, localDir }: Cloud): string {
  const { api, detectorToken, operatorToken, aclId, targets, region, endpoints } = stack;
  const aws =
    "AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local aws " +
    `--region ${region} --endpoint-url ${endpoints.ec2} ` +
    `ec2 describe-network-acls --network-acl-ids ${aclId}`;
  return [
    pc.bold("Portcullis is up."),
    `  ${pc.bold("API")}        ${api}`,
    ...targets.map(({ id, kind }) => `  ${pc.bold(TITLES[kind])} ${id} in ${region}`),
    ...Object.entries(endpoints).map(([name, url]) => `  ${pc.bold(name.padEnd(10))} ${url}`),
    "",
    pc.bold("Block an address:"),
    `  curl -X POST '${api}/blacklistip?ip=198.51.100.7' -H 'authorization: Bearer ${detectorToken}'`,
    pc.bold("See what is blocked:"),
    `  curl '${api}/blacklist' -H 'authorization: Bearer ${operatorToken}'`,
    `  ${aws}`,
    "",
    pc.dim(`Addresses and tokens: ${localDir}/stack.json. Logs: ${localDir}/logs. Ctrl-C stops.`),
  ].join("\n");
}
