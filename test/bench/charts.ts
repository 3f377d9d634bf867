import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { init } from "echarts";
import { readJson } from "../../infra/local/files.ts";
import { PROJECT_ROOT } from "../../infra/local/package.ts";
import type { Figure } from "./figure.ts";
import type { machine } from "./report.ts";

// The bench's figures as charts for the README: docs/bench/*.svg, made from .local/bench.json. Run by
// itself it draws them anew.

/** What a whole bench leaves in .local/bench.json. */
export type Bench = {
  readonly date: string;
  readonly seconds: number;
  readonly machine: ReturnType<typeof machine>;
  readonly figures: readonly Figure[];
};

type Chart = {
  readonly title: string;
  readonly about: string;
  readonly categories: readonly string[];
  /** For each series one value for each category. */
  readonly series: readonly { readonly name: string; readonly values: readonly number[] }[];
  readonly isLogarithmic?: boolean;
  readonly unit: string;
};

const WIDTH = 760;
const COLOURS = ["#1f6f8b", "#c9ced6"];
const INK = "#1f2328";
const FAINT = "#57606a";

export function drawCharts(bench: Bench): void {
  const dir = join(PROJECT_ROOT, "docs", "bench");
  mkdirSync(dir, { recursive: true });
  for (const [name, chart] of Object.entries(chartsOf(bench.figures))) {
    writeFileSync(join(dir, `${name}.svg`), svgOf(chart, bench));
  }
}

function chartsOf(figures: readonly Figure[]): Record<string, Chart> {
  const find = (name: string) => {
    const found = figures.find((figure) => figure.name === name);
    if (!found) throw new Error(`The bench has no figure ${name}.`);
    return found;
  };
  const times = ["quiet", "storm", "throttled"].flatMap((kind) =>
    ["p50", "p95", "p99"].map((p) => ({ kind, p, ...find(`timeToBlockMs ${kind} ${p}`) })),
  );
  const ratios = [
    ["requests accepted ÷ bare SendMessage, 1 at a time", find("acceptRatio ×1").ratio],
    ["the same, 8 at a time", find("acceptRatio ×8").ratio],
    ["converge with 100,000 waiting ÷ with 100", find("convergeRatio100k").value.value],
    ["block writes ÷ addresses in batches", find("writesPerAddressAndBatch").value.value],
    ["EC2 calls ÷ changed rules", find("ec2CallsPerChange").value.value],
    ...["blacklist", "worker", "enforcer"].map(
      (name) => [`cold start of ${name} ÷ bare SDK`, find(`coldStart ${name}`).ratio] as const,
    ),
  ] as const;
  const compressed = ["compressionLossless", "compression16", "compression64"].map(find);
  return {
    "time-to-block": {
      title: "From acceptance to the entry in the network ACL",
      about:
        "quiet: one at a time; storm: 10,000 alerts for 500 addresses; throttled: as AWS throttles (logarithmic)",
      categories: times.map(({ kind, p }) => `${kind}, ${p}`),
      series: [
        { name: "measured", values: times.map(({ value }) => value.value) },
        {
          name: "floor: the bare calls on the way",
          values: times.map((one) => one.floor?.value ?? 0),
        },
      ],
      isLogarithmic: true,
      unit: "ms",
    },
    ratios: {
      title: "Each against its own floor, measured in the same run",
      about: "1.0 is the floor itself; accepted requests are better the higher, all else the lower",
      categories: ratios.map(([name]) => name),
      series: [{ name: "ratio", values: ratios.map(([, ratio]) => ratio ?? 0) }],
      unit: "",
    },
    compression: {
      title: "Of 1,000 attackers, how many 18 entries hold",
      about: "neighbours share an entry, as far as no more innocents are covered than allowed",
      categories: ["one by one", "merged, no innocent", "≤ 16 innocents", "≤ 64 innocents"],
      series: [
        {
          name: "attackers denied",
          values: [compressed[0]?.floor?.value ?? 0, ...compressed.map(({ value }) => value.value)],
        },
      ],
      unit: "",
    },
  };
}

function svgOf(chart: Chart, { date, machine }: Bench): string {
  const { title, about, categories, series, isLogarithmic = false, unit } = chart;
  const height = 130 + categories.length * (series.length > 1 ? 38 : 28);
  const longest = Math.max(...categories.map(({ length }) => length));
  const picture = init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height });
  const source = `${date.slice(0, 10)}, ${machine.cores} cores, ${machine.memoryGb} GB, Node ${machine.node}`;
  picture.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    color: COLOURS,
    textStyle: { fontFamily: "sans-serif", color: INK },
    title: {
      ...{ text: title, subtext: `${about}\n${source}`, left: 16, top: 12 },
      textStyle: { fontSize: 16, color: INK },
      subtextStyle: { fontSize: 12, color: FAINT, lineHeight: 17 },
    },
    legend: {
      show: series.length > 1,
      bottom: 8,
      left: 16,
      itemGap: 28,
      textStyle: { color: INK },
    },
    // Without a browser nobody knows how wide a text is.
    grid: { left: 24 + 6.6 * longest, right: 84, top: 84, bottom: series.length > 1 ? 48 : 16 },
    xAxis: { type: isLogarithmic ? "log" : "value", min: isLogarithmic ? 10 : 0, show: false },
    yAxis: {
      ...{ type: "category", data: [...categories], inverse: true },
      axisTick: { show: false },
      axisLine: { lineStyle: { color: "#d0d7de" } },
      axisLabel: { color: INK, fontSize: 12 },
    },
    series: series.map(({ name, values }) => ({
      ...{ name, type: "bar" as const, data: values.map(rounded), barMaxWidth: 18 },
      label: { show: true, position: "right", color: INK, formatter: `{c} ${unit}` },
    })),
  });
  const svg = picture.renderToSVGString();
  picture.dispose();
  return svg.replace(
    /^<svg [^>]*>/,
    (begin) => `${begin}\n<title>${title}</title>\n<desc>${about}</desc>`,
  );
}

/** To three digits. */
const rounded = (value: number) => Number(value.toPrecision(3));

if (import.meta.main) {
  const bench = readJson<Bench>(join(PROJECT_ROOT, ".local", "bench.json"));
  if (!bench) throw new Error("There is no .local/bench.json: run npm run bench.");
  drawCharts(bench);
}
