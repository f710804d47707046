// SPDX-License-Identifier: Apache-2.0
/** docs/performance.md and its charts. */
import { chart, type Line } from "./chart.js";
import { isSize, type Kind, kinds, type Load, type Measure, measures, nameOf, series, type Target, targets, unitOf } from "./rows.js";

/** Medians by engine, of one load. */
export interface Result {
  readonly load: Load;
  readonly medians: ReadonlyMap<string, Readonly<Record<Measure, number>>>;
  readonly rounds: number;
}

const wordsOf: Readonly<Record<Measure, string>> = {
  frozen: "frozen",
  smooth: "frozen with --huge-pages",
  dump: "whole dump",
  cpu: "processors' time of the dump",
  killing: "dump that ends the program",
  resume: "resume",
  lazy: "lazy resume",
  peak: "peak memory",
  image: "image",
  packed: "dump with lz4",
  packedImage: "image with lz4",
};

const megabytes = (mebibytes: number): number => (mebibytes * 2 ** 20) / 1e6;
const shown = (measure: Measure, value: number | undefined): string =>
  value === undefined ? "–" : `${value.toFixed(value < 10 ? 1 : 0)} ${isSize(measure) ? "MiB" : "ms"}`;

/** Undefined: not measured. */
export function figureOf(results: readonly Result[], { kind, count }: Load, engine: string, measure: Measure): number | undefined {
  const figure = results.find(({ load }) => load.kind === kind && load.count === count)?.medians.get(engine)?.[measure];
  return Number.isNaN(figure) ? undefined : figure;
}

/** What a target came to: a ratio, or ms or MB. */
export function reached(results: readonly Result[], { load, measure, isAbsolute, to }: Target): number | undefined {
  const own = figureOf(results, load, "crimg", measure);
  if (own === undefined) return undefined;
  if (isAbsolute === true) return isSize(measure) ? megabytes(own) : own;
  const other = figureOf(results, load, to?.engine ?? "criu", to?.measure ?? measure);
  return other === undefined ? undefined : own / other;
}

function targetRow(results: readonly Result[], target: Target): string {
  const { load, measure, atMost, isAbsolute, to } = target;
  const value = reached(results, target);
  const unit = isAbsolute !== true ? " ×" : isSize(measure) ? " MB" : " ms";
  const verdict = value === undefined ? "not measured" : value <= atMost ? "met" : "**not met**";
  const figures = [
    shown(measure, figureOf(results, load, "crimg", measure)),
    to?.engine === "crimg" ? "–" : shown(measure, figureOf(results, load, "criu", to?.measure ?? measure)),
  ];
  const ratio = value === undefined ? "–" : `${value.toFixed(2)}${unit}`;
  const compared = to === undefined ? "" : `, to ${to.engine === "criu" ? "CRIU's" : "its own"} ${wordsOf[to.measure]}`;
  return `| ${[`${nameOf(load)}: ${wordsOf[measure]}${compared}`, ...figures, ratio, `${atMost}${unit}`, verdict].join(" | ")} |`;
}

function seriesTable(results: readonly Result[], kind: Kind): string[] {
  const measured = series[kind].filter((count) => figureOf(results, { kind, count }, "crimg", "dump") !== undefined);
  const cells = (count: number, measure: Measure): string =>
    ["crimg", "criu"].map((engine) => shown(measure, figureOf(results, { kind, count }, engine, measure))).join(" / ");
  const isMeasured = (measure: Measure): boolean =>
    measured.some((count) => figureOf(results, { kind, count }, "crimg", measure) !== undefined);
  const columns = measures.filter(isMeasured);
  return [
    `| ${unitOf[kind]} | ${columns.map((measure) => wordsOf[measure]).join(" | ")} |`,
    `|---|${columns.map(() => "---|").join("")}`,
    ...measured.map((count) => {
      const row = columns.map((measure) => cells(count, measure));
      return `| ${count.toLocaleString("en")} | ${row.join(" | ")} |`;
    }),
  ];
}

/** The chart of one kind. */
export function chartOf(results: readonly Result[], kind: Kind): string {
  const line = (engine: string, measure: Measure, color: string, isDashed: boolean): Line => ({
    name: `${engine === "criu" ? "CRIU" : engine}, ${wordsOf[measure]}`,
    color,
    isDashed,
    points: series[kind].flatMap((count) => {
      const value = figureOf(results, { kind, count }, engine, measure);
      return value === undefined ? [] : [[count, value] as const];
    }),
  });
  const lines = [
    line("crimg", "frozen", "#1769aa", false),
    line("crimg", "dump", "#1769aa", true),
    line("criu", "frozen", "#c2410c", false),
    line("criu", "dump", "#c2410c", true),
  ].filter(({ points }) => points.length > 0);
  return chart(`Dump by ${unitOf[kind]}`, unitOf[kind], lines);
}

/** The page. `machine`: one line about where it was measured. */
export function pageOf(results: readonly Result[], machine: string): string {
  const has = (kind: Kind): boolean => series[kind].some((count) => figureOf(results, { kind, count }, "crimg", "dump") !== undefined);
  return [
    "# Performance",
    "",
    "Written by `npm run bench` with `CRIU_BIN`: its own load programs (`tools/bench/load.c`) are dumped with `--leave-running` by crimg",
    "and by CRIU v4.2 in turn, in one run, after a turn that is not counted, and resumed from the image. Figures are medians. *Frozen* is",
    "what each tool says of itself (`frozenMs` of `--json`, `stats-dump`); *resume* is from execve until the",
    "program runs, which it says by the clock of the machine. Ratios are what to quote: times mean little on another machine.",
    "",
    machine,
    "",
    "| what | crimg | CRIU | crimg to CRIU | at most | |",
    "|---|---|---|---|---|---|",
    ...targets.map((target) => targetRow(results, target)),
    "",
    "Each cell below is crimg / CRIU.",
    ...kinds
      .filter(has)
      .flatMap((kind) => [
        "",
        `## ${unitOf[kind].replace(/^\w/, (letter) => letter.toUpperCase())}`,
        "",
        `![Time of a dump by ${unitOf[kind]}](performance-${kind}.svg)`,
        "",
        ...seriesTable(results, kind),
      ]),
    "",
  ].join("\n");
}
