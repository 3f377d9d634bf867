import { GetCommand } from "@aws-sdk/lib-dynamodb";
import { expect, test } from "@jest/globals";
import { A, blockOf, describeWithTable, endedOf, NOW, TABLE, useTable } from "./table.ts";

describeWithTable("an offender that is remembered", () => {
  const table = useTable();
  const strikesOf = async (cidr: string, now = NOW) => (await table.knownOf(cidr, now)).strikes;

  const DAY = 86_400;
  const ended = (strikes: number, firstSeenAt: number) => ({
    ...endedOf(A, { reportedAt: firstSeenAt }),
    strikes,
  });

  test("is what the next block begins with", async () => {
    await table.offenders.remember(ended(2, NOW), DAY);
    expect(await strikesOf(A)).toBe(2);
  });

  test("is safe to repeat", async () => {
    await table.offenders.remember(ended(2, NOW), DAY);
    const once = await offenderItem();
    await table.offenders.remember(ended(2, NOW), DAY);
    expect(await offenderItem()).toEqual(once);
  });

  test("follows the newest block, in whatever order their ends come", async () => {
    await table.offenders.remember(ended(3, NOW), DAY);
    await table.offenders.remember(ended(2, NOW - 500_000), DAY);
    expect(await strikesOf(A)).toBe(3);
    await table.offenders.remember(ended(4, NOW + 500_000), DAY);
    expect(await strikesOf(A)).toBe(4);
  });

  test("begins again where the past was forgotten before the newest block", async () => {
    await table.offenders.remember(ended(9, NOW - 500_000), 1);
    await table.offenders.remember(ended(1, NOW), DAY);
    expect(await strikesOf(A)).toBe(1);
  });

  test("is forgotten after its time, though DynamoDB may still hold it", async () => {
    const last = ended(2, NOW);
    await table.offenders.remember(last, DAY);
    const forgottenAt = (last.expiresAt + DAY) * 1_000;
    expect(await offenderItem()).toMatchObject({ expiresAt: last.expiresAt + DAY });
    expect(await strikesOf(A, forgottenAt - 1)).toBe(2);
    expect(await strikesOf(A, forgottenAt)).toBe(0);
  });

  test("outlives the block", async () => {
    const block = blockOf(A);
    await table.writeBlock(block);
    await table.offenders.remember(ended(2, NOW - 500_000), DAY);
    await table.blocks.remove(block);
    expect(await strikesOf(A)).toBe(2);
  });

  const offenderItem = async () =>
    (
      await table.dynamo.send(
        new GetCommand({
          TableName: TABLE,
          Key: { list: `${table.list}#memory`, sk: `offender#${A}` },
        }),
      )
    ).Item;
});
