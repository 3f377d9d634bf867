import { globSync } from "node:fs";
import { relative } from "node:path";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import { judge } from "./judge.ts";
import { type Recording, startRecording } from "./recording.ts";

// As coverage is, permissions are proven by a whole run: whatever suites run, the calls of their functions are
// recorded, and at the end each must be allowed; and where all suites ran, nothing may be granted in vain.

/** The suites that together call all that the functions ever call. */
const SUITES = "test/{e2e,faults}/**/*.test.ts";

/** What Jest tells a reporter, as far as it is used here. */
type Results = {
  readonly numFailedTests: number;
  readonly numRuntimeErrorTestSuites: number;
  readonly testResults: readonly { readonly testFilePath: string }[];
};

/** A reporter of Jest's: an error of its own fails the run. */
export default class Permissions {
  readonly #isFiltered: boolean;
  #recording: Recording | undefined;
  #error: Error | undefined;

  constructor({ testNamePattern }: { readonly testNamePattern?: string }) {
    this.#isFiltered = Boolean(testNamePattern);
  }

  onRunStart(): void {
    this.#recording = startRecording();
  }

  async onRunComplete(_contexts: unknown, results: Results): Promise<void> {
    try {
      if (this.#recording === undefined) return;
      const proven = await judge(this.#recording, !this.#isFiltered && isWhole(results));
      if (proven !== undefined) console.error(`Permissions: ${proven}`);
    } catch (error) {
      this.#error = error as Error;
      console.error(`Permissions: ${this.#error.message}`);
    } finally {
      this.#recording?.stop();
    }
  }

  getLastError(): Error | undefined {
    return this.#error;
  }
}

function isWhole({ numFailedTests, numRuntimeErrorTestSuites, testResults }: Results): boolean {
  const ran = new Set(testResults.map(({ testFilePath }) => relative(PROJECT_ROOT, testFilePath)));
  const all = globSync(SUITES, { cwd: PROJECT_ROOT });
  return numFailedTests + numRuntimeErrorTestSuites === 0 && all.every((suite) => ran.has(suite));
}
