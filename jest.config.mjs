import { join } from "node:path";

// What the tests start (six processes a local cloud, and the operator's program) compiles nothing twice.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, ".local", "compile-cache");

/** @type {import("jest").Config} */
export default {
  testMatch: ["<rootDir>/test/**/*.test.ts", "<rootDir>/infra/local/test/**/*.test.ts"],
  extensionsToTreatAsEsm: [".ts"],
  transform: {
    "\\.ts$": [
      "@swc/jest",
      { jsc: { parser: { syntax: "typescript" }, target: "es2024" }, module: { type: "es6" } },
    ],
  },
  // Two cores: the end-to-end tests start whole local clouds.
  maxWorkers: 2,
  testSequencer: "<rootDir>/test/support/sequencer.mjs",
  testTimeout: 30_000,
  // Each run proves the policies by the calls that its functions made.
  reporters: ["default", "<rootDir>/test/iam/reporter.ts"],
};
