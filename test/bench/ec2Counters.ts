/** The calls that change an ACL. */
export const MUTATING = [
  "CreateNetworkAclEntry",
  "ReplaceNetworkAclEntry",
  "DeleteNetworkAclEntry",
] as const;

/** How often each action has been called, as the EC2 emulator counted. */
export async function callCounts(ec2: string): Promise<Readonly<Record<string, number>>> {
  const response = await fetch(new URL("/_control", ec2), { signal: AbortSignal.timeout(10_000) });
  return ((await response.json()) as { calls: Record<string, number> }).calls;
}
