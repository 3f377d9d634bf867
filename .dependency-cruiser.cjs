/**
 * The dependency rule: services → shared/aws → shared/domain, never back; the local cloud beside them.
 */
module.exports = {
  forbidden: [
    {
      name: "domain-is-pure",
      comment: "The domain knows nothing of AWS: it imports itself and libraries that do no I/O.",
      severity: "error",
      from: { path: "^shared/domain/" },
      to: { pathNot: "^(shared/domain/|node_modules/ipaddr\\.js/)" },
    },
    {
      name: "detectors-are-pure",
      comment: "What a detector says follows from its document alone.",
      severity: "error",
      from: { path: "^(shared|services/blacklist)/detectors/" },
      to: {
        pathNot: "^(shared/domain/|(shared|services/blacklist)/detectors/|node_modules/valibot/)",
      },
    },
    {
      name: "adapters-do-not-know-services",
      severity: "error",
      from: { path: "^shared/aws/" },
      to: { path: "^(services|infra|test)/" },
    },
    {
      name: "targets-do-not-know-services",
      severity: "error",
      from: { path: "^shared/targets/" },
      to: { path: "^(services|infra|test)/" },
    },
    {
      name: "plans-are-pure",
      comment:
        "What a target's plan is made of imports the domain, its own folder and the port's types.",
      severity: "error",
      from: { path: "^shared/targets/[^/]+/(plan|place|schedule|rules)\\.ts$" },
      to: {
        pathNot:
          "^shared/(domain/|targets/target\\.ts|targets/[^/]+/(plan|place|schedule|rules|record)\\.ts)",
      },
    },
    {
      name: "no-service-imports-another",
      severity: "error",
      from: { path: "^services/([^/]+)/" },
      to: { path: "^services/", pathNot: "^services/$1/" },
    },
    {
      name: "services-do-not-know-infra",
      severity: "error",
      from: { path: "^(services|shared)/" },
      to: { path: "^(infra|test)/" },
    },
    {
      name: "local-cloud-stands-alone",
      comment:
        "The local cloud is a package of its own: it imports itself and libraries, nothing of the product.",
      severity: "error",
      from: { path: "^infra/local/" },
      to: { path: "^(services|shared|test|infra)/", pathNot: "^infra/local/" },
    },
    {
      name: "only-tests-use-the-local-cloud",
      comment:
        "What runs against a deployment never imports from the local cloud; tests and package scripts start it.",
      severity: "error",
      from: { path: "^(services|shared|infra)/", pathNot: "^infra/local/" },
      to: { path: "^(infra/local/|node_modules/@portcullis/local-cloud)" },
    },
    {
      name: "local-cloud-declares-what-it-imports",
      severity: "error",
      from: { path: "^infra/local/" },
      to: { dependencyTypes: ["npm-no-pkg", "npm-unknown"] },
    },
    {
      name: "no-cycles",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "no-orphans",
      comment: "A module that nobody imports is dead.",
      severity: "error",
      from: {
        orphan: true,
        pathNot:
          "(\\.test\\.ts|handler\\.ts|infra/(watch/)?[^/]+\\.cjs|infra/(install|bundle-sizes)\\.mjs)$",
      },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "(\\.esbuild|\\.serverless)/" },
    tsPreCompilationDeps: "specify",
    parser: "swc",
    moduleSystems: ["es6", "cjs"],
    enhancedResolveOptions: { extensions: [".ts", ".mjs", ".cjs", ".js"] },
  },
};
