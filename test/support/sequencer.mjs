import TestSequencer from "@jest/test-sequencer";

/** What runs longest, first. */
const FOLDERS = ["/test/faults/", "/test/e2e/", "/test/infra/"];

const placeOf = ({ path }) => {
  const place = FOLDERS.findIndex((folder) => path.replaceAll("\\", "/").includes(folder));
  return place < 0 ? FOLDERS.length : place;
};

/**
 * Begins with the suites that take minutes, so that none of them is left to run alone at the end. By itself
 * Jest goes by its last run; and where there was none, as on a new machine, by the size of the file, which
 * would put the faults last.
 */
export default class LongestFirst extends TestSequencer {
  async sort(tests) {
    return (await super.sort(tests)).toSorted((a, b) => placeOf(a) - placeOf(b));
  }
}
