import { jest } from "@jest/globals";

/** Catches what is written to the standard streams from now on, which is what Lambda logs. */
export function captureOutput(): { text(): string; restore(): void } {
  let text = "";
  const streams = [process.stdout, process.stderr].map((stream) =>
    jest.spyOn(stream, "write").mockImplementation((chunk) => {
      text += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
      return true;
    }),
  );
  return {
    text: () => text,
    restore: () => {
      for (const stream of streams) stream.mockRestore();
    },
  };
}

/** The lines of a log, parsed; what is no JSON apart. */
export const linesIn = (text: string): Record<string, unknown>[] =>
  text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
