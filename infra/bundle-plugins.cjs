const { readFile } = require("node:fs/promises");
const { resolve } = require("node:path");
const { cyclonedxEsbuildPlugin } = require("@cyclonedx/cyclonedx-esbuild");

/** A source map that maps nothing: tells esbuild to leave a library's lines out of ours. */
const noMap = `\n//# sourceMappingURL=data:application/json;base64,${Buffer.from(
  JSON.stringify({ version: 3, sources: [""], mappings: "AAAA" }),
).toString("base64")}`;

/**
 * Libraries stay out of the source map: mapping the AWS SDK would weigh more than all functions.
 */
const mapOwnCodeOnly = {
  name: "map-own-code-only",
  setup(build) {
    build.onLoad({ filter: /node_modules.*\.m?js$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const contents = /@aws-sdk.*schemas_\d+\.js$/.test(path) ? withPureKeys(source) : source;
      return { contents: contents + noMap, loader: "js" };
    });
  },
};

/**
 * The SDK writes its schemas as array literals with computed keys (`{ [_xN]: … }`, `const _xN =
 * "xmlName"`). esbuild must take a computed key for a side effect, so it keeps all of EC2's 700
 * operations (1.0 MB). With the constants written out as plain keys it keeps the ones we use (10 KB).
 */
function withPureKeys(source) {
  const constants = new Map(
    [...source.matchAll(/^const (_\w+) = ("[^"\n]*");$/gm)].map(([, name, value]) => [name, value]),
  );
  return source.replace(/\[(_\w+)\]:/g, (whole, name) =>
    constants.has(name) ? `${constants.get(name)}:` : whole,
  );
}

/**
 * The bill of materials of each bundle, beside its zip and not in it. Made of what esbuild put in:
 * `npm sbom --omit=dev` leaves out packages that are deployed.
 */
const billOfMaterials = cyclonedxEsbuildPlugin({
  outputFile: resolve(".serverless/sbom.cdx.json"),
  outputReproducible: true,
});

module.exports = [mapOwnCodeOnly, billOfMaterials];
