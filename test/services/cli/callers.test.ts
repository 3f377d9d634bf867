import { createHash } from "node:crypto";
import { type GetParameterCommand, ParameterNotFound, type SSMClient } from "@aws-sdk/client-ssm";
import { beforeEach, expect, test } from "@jest/globals";
import { createCallerBook } from "../../../services/cli/callers.ts";
import { createAdditions } from "../../../shared/aws/table/additions.ts";
import { partition } from "../../../shared/aws/table/items.ts";
import { describeWithTable, NOW, TABLE, useTable } from "../../contract/table/table.ts";
import { digestOf, signingKeyOf } from "../../support/tokens.ts";

describeWithTable("the callers, as operators change them", () => {
  const table = useTable();
  let stored: Record<string, string>;
  beforeEach(() => {
    stored = {};
  });
  const ssm = {
    async send({ input: { Name = "" } }: GetParameterCommand) {
      const Value = stored[Name];
      if (Value === undefined) throw new ParameterNotFound({ message: Name, $metadata: {} });
      return { Parameter: { Value } };
    },
  } as unknown as SSMClient;
  const book = (...eventDetectors: string[]) =>
    createCallerBook(table.dynamo, ssm, {
      ...{ tableName: TABLE, list: table.list },
      parameters: { tokens: "/tokens", callers: "/callers", neverBlock: "" },
      eventDetectors,
    });
  const secrets = async () => {
    const of = createAdditions(table.dynamo, { tableName: TABLE }, partition.tokens(table.list));
    return Object.fromEntries((await of.items()).map(({ sk, secrets }) => [sk, secrets]));
  };
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

  test("a new one's token has 32 random bytes, of which the table has the digest alone", async () => {
    const token = await book().add({ name: "zeek", role: "detector" }, false);
    expect(Buffer.from(token, "base64url")).toHaveLength(32);
    expect(await secrets()).toEqual({ "token#zeek": [{ sha256: sha256(token) }] });
    expect(await book().add({ name: "suricata", role: "detector" }, false)).not.toBe(token);
  });

  test("two who add the same name at once: one of them succeeds", async () => {
    const adding = [1, 2].map(() => book().add({ name: "zeek", role: "detector" }, false));
    const outcomes = await Promise.allSettled(adding);
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  });

  test("a detector that the deployment knows by itself is listed, and can be revoked", async () => {
    expect(await book("guardduty").list(NOW)).toEqual([
      { name: "guardduty", role: "detector", addedBy: "deployment", tokens: [] },
    ]);
    await book("guardduty").revoke("guardduty");
    expect(await book("guardduty").list(NOW)).toEqual([]);
    await book("guardduty").add({ name: "guardduty", role: "detector", longest: 3_600 }, false);
    expect(await book("guardduty").list(NOW)).toMatchObject([
      { name: "guardduty", addedBy: "operator" },
    ]);
  });

  test("a deployment's own is rotated: its old token, and the key of that, end later", async () => {
    stored["/callers"] = JSON.stringify([{ name: "detector", role: "detector" }]);
    stored["/tokens"] = JSON.stringify([
      { name: "detector", sha256: digestOf("old"), signingKey: signingKeyOf("old") },
    ]);
    const token = await book().rotate("detector", 60, false, NOW);
    const old = {
      ...{ sha256: digestOf("old"), signingKey: signingKeyOf("old") },
      expiresAt: NOW / 1000 + 60,
    };
    expect(await secrets()).toEqual({ "token#detector": [{ sha256: sha256(token) }, old] });

    // The one before last ends, and its key with it.
    const next = await book().rotate("detector", 90, false, NOW);
    expect(await secrets()).toEqual({
      "token#detector": [
        { sha256: sha256(next) },
        { sha256: sha256(token), expiresAt: NOW / 1000 + 90 },
      ],
    });
    const last = await book().rotate("detector", 0, false, NOW);
    expect(await secrets()).toEqual({ "token#detector": [{ sha256: sha256(last) }] });
  });

  test("one that is revoked may be made anew; what is forgotten is the deployment's again", async () => {
    stored["/callers"] = JSON.stringify([{ name: "detector", role: "detector" }]);
    await book().revoke("detector");
    expect(await book().list(NOW)).toEqual([]);
    await expect(book().revoke("detector")).rejects.toThrow("There is no caller detector.");
    await book().add({ name: "detector", role: "reader" }, true);
    expect(await book().list(NOW)).toMatchObject([{ role: "reader", addedBy: "operator" }]);
    await book().forget("detector");
    expect(await book().list(NOW)).toMatchObject([{ role: "detector", addedBy: "deployment" }]);
  });
});
