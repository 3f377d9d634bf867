import { gzipSync } from "node:zlib";
import { describe, expect, test } from "@jest/globals";
import { documentsOf } from "../../../services/blacklist/documents.ts";

const read = (text: string) => documentsOf(Buffer.from(text), undefined);
const refusal = (status: number, code: string) => ({
  status,
  code,
  message: expect.stringMatching(/^[^\n]+\.$/),
});

describe("documentsOf", () => {
  test.each([
    ["an object", '{"a":1}', [{ a: 1 }]],
    ["an object over several lines", '{\n  "a": 1\n}\n', [{ a: 1 }]],
    ["an array", '[{"a":1},{"a":2}]', [{ a: 1 }, { a: 2 }]],
    ["an empty array", "[]", []],
    ["lines", '{"a":1}\n{"a":2}\n', [{ a: 1 }, { a: 2 }]],
    ["lines of Windows, with blank ones", '{"a":1}\r\n\r\n  \n{"a":2}\r\n', [{ a: 1 }, { a: 2 }]],
    [
      "objects without anything between",
      '{"a":{}}{"a":2} {"a":3}',
      [{ a: {} }, { a: 2 }, { a: 3 }],
    ],
    ["braces and quotes in a text", '{"a":"}{\\"}"}{"a":"\\\\"}', [{ a: '}{"}' }, { a: "\\" }]],
    ["a torn line", '{"a":1}\n{"a":\n{"a":3}', [{ a: 1 }, undefined, { a: 3 }]],
    ["a torn end", '{"a":1}{"a":', [{ a: 1 }, undefined]],
    ["what is no object", "42", [42]],
  ])("%s", async (_what, text, documents) => {
    expect(await read(text)).toEqual(documents);
  });

  test.each(["", "  \n", "block 203.0.113.9", "ip=203.0.113.9&reason=x", "\u0082\u00a2", '{"a":'])(
    "%j is no JSON",
    async (text) => {
      await expect(read(text)).rejects.toMatchObject(refusal(400, "invalid_json"));
    },
  );

  test.each([
    ["in an array", (count: number) => `[${Array(count).fill("1").join()}]`],
    ["in lines", (count: number) => "{}\n".repeat(count)],
    ["one after the other", (count: number) => "{}".repeat(count)],
    ["torn", (count: number) => `{}\n${"{\n".repeat(count - 1)}`],
  ])("10,000 of them %s, no more", async (_where, body) => {
    expect(await read(body(10_000))).toHaveLength(10_000);
    await expect(read(body(10_001))).rejects.toMatchObject(refusal(400, "too_many"));
    await expect(read(body(1_900_000))).rejects.toMatchObject(refusal(400, "too_many"));
  });

  test("what is as hard to read as can be is read in one go", async () => {
    const hostile = ['"'.repeat(5_999_999), "{".repeat(5_999_999), '"\\'.repeat(2_999_999)];
    for (const text of hostile) {
      await expect(read(text)).rejects.toMatchObject(refusal(400, "invalid_json"));
    }
    await expect(read("[".repeat(5_999_999))).rejects.toMatchObject(refusal(400, "invalid_json"));
  });

  test("gzip is unpacked", async () => {
    for (const encoding of ["gzip", "GZIP", "x-gzip"]) {
      expect(await documentsOf(gzipSync('{"a":1}'), encoding)).toEqual([{ a: 1 }]);
    }
  });

  test("up to 6 MB are taken, as sent and unpacked", async () => {
    const fits = `["${" ".repeat(6_000_000 - 5)}"]`;
    const tooLarge = refusal(413, "too_large");
    expect(await read(fits)).toHaveLength(1);
    expect(await documentsOf(gzipSync(fits), "gzip")).toHaveLength(1);
    await expect(read(`${fits} `)).rejects.toMatchObject(tooLarge);
    await expect(documentsOf(gzipSync(`${fits} `), "gzip")).rejects.toMatchObject(tooLarge);
    const bomb = gzipSync(Buffer.alloc(200_000_000));
    await expect(documentsOf(bomb, "gzip")).rejects.toMatchObject(tooLarge);
  });

  test("what is not what it says is refused", async () => {
    const damaged = gzipSync('{"a":1}').subarray(0, 20);
    for (const bytes of [damaged, Buffer.from("{}")]) {
      await expect(documentsOf(bytes, "gzip")).rejects.toMatchObject(refusal(400, "invalid_gzip"));
    }
    await expect(documentsOf(Buffer.from("{}"), "zstd")).rejects.toMatchObject(
      refusal(415, "unsupported_media_type"),
    );
  });
});
