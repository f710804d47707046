// SPDX-License-Identifier: Apache-2.0
/** What is measured, and what has to come of it. */

/** Kinds of load: those of tools/bench/load.c, and tools/bench/heap.py. */
export const kinds = ["pages", "threads", "mappings", "descriptors", "processes", "heap"] as const;
export type Kind = (typeof kinds)[number];

/** One program of one size. */
export interface Load {
  readonly kind: Kind;
  /** MiB of `pages` and `heap`, else a number. */
  readonly count: number;
}

/**
 * What is measured of each engine. Times in milliseconds, sizes in MiB. `cpu` is what the dump used of processors. Of pages
 * only: `smooth` is the time frozen with `--huge-pages`, `killing` the dump that ends the program, `lazy` the resume that does
 * not wait for memory. Of a heap only: `packed` and `packedImage` are time and size of a dump with `--compress lz4`.
 */
export const measures = ["frozen", "smooth", "dump", "cpu", "killing", "resume", "lazy", "peak", "image", "packed", "packedImage"] as const;
export type Measure = (typeof measures)[number];

const sizes: ReadonlySet<Measure> = new Set(["peak", "image", "packedImage"]);
export const isSize = (measure: Measure): boolean => sizes.has(measure);

/** A figure that must not be exceeded: a ratio to the same of CRIU if nothing else is said. */
export interface Target {
  readonly load: Load;
  readonly measure: Measure;
  readonly atMost: number;
  /** The figure itself, in ms or MB. */
  readonly isAbsolute?: boolean;
  /** What it is compared with. */
  readonly to?: { readonly engine: "crimg" | "criu"; readonly measure: Measure };
}

const load = (kind: Kind, count: number): Load => ({ kind, count });

export const targets: readonly Target[] = [
  { load: load("pages", 1024), measure: "frozen", atMost: 0.03 },
  { load: load("pages", 1024), measure: "smooth", atMost: 0.03, to: { engine: "criu", measure: "frozen" } },
  { load: load("pages", 10), measure: "frozen", atMost: 0.5 },
  { load: load("threads", 1000), measure: "frozen", atMost: 0.5 },
  { load: load("mappings", 10_000), measure: "frozen", atMost: 0.5 },
  { load: load("descriptors", 1000), measure: "frozen", atMost: 0.5 },
  { load: load("processes", 200), measure: "frozen", atMost: 0.5 },
  { load: load("pages", 1024), measure: "killing", atMost: 0.6 },
  { load: load("pages", 4096), measure: "killing", atMost: 0.6 },
  { load: load("pages", 10), measure: "dump", atMost: 1.8 },
  { load: load("threads", 1000), measure: "dump", atMost: 1 },
  { load: load("threads", 10_000), measure: "dump", atMost: 1 },
  { load: load("mappings", 10_000), measure: "dump", atMost: 1 },
  { load: load("descriptors", 1000), measure: "dump", atMost: 1 },
  { load: load("processes", 200), measure: "dump", atMost: 1 },
  { load: load("pages", 1024), measure: "resume", atMost: 0.4 },
  { load: load("pages", 10), measure: "lazy", atMost: 3, isAbsolute: true },
  { load: load("pages", 1024), measure: "lazy", atMost: 3, isAbsolute: true },
  { load: load("pages", 1024), measure: "lazy", atMost: 0.01, to: { engine: "criu", measure: "resume" } },
  { load: load("threads", 1000), measure: "resume", atMost: 0.3 },
  { load: load("threads", 10_000), measure: "resume", atMost: 0.3 },
  { load: load("mappings", 10_000), measure: "resume", atMost: 0.3 },
  { load: load("threads", 10_000), measure: "image", atMost: 1 },
  { load: load("pages", 4096), measure: "peak", atMost: 100, isAbsolute: true },
  { load: load("threads", 10_000), measure: "peak", atMost: 250, isAbsolute: true },
  { load: load("heap", 128), measure: "packed", atMost: 1.3, to: { engine: "crimg", measure: "dump" } },
  { load: load("heap", 128), measure: "packedImage", atMost: 0.5, to: { engine: "crimg", measure: "image" } },
];

/** Sizes of each kind, each twice the one before. */
export const series: Readonly<Record<Kind, readonly number[]>> = {
  pages: [16, 32, 64, 128, 256, 512, 1024],
  threads: [125, 250, 500, 1000, 2000, 4000],
  mappings: [625, 1250, 2500, 5000, 10_000, 20_000],
  descriptors: [125, 250, 500, 1000, 2000],
  processes: [25, 50, 100, 200],
  heap: [32, 64, 128, 256],
};

export const unitOf: Readonly<Record<Kind, string>> = {
  pages: "MiB of pages",
  threads: "threads",
  mappings: "mappings",
  descriptors: "descriptors",
  processes: "processes",
  heap: "MiB of Python objects",
};

export function nameOf({ kind, count }: Load): string {
  return `${count.toLocaleString("en")} ${unitOf[kind]}`;
}

/** Every load that a row or a series needs, the smallest of each kind first. */
export function loadsOf(chosen: readonly Kind[]): Load[] {
  return chosen.flatMap((kind) => {
    const counts = new Set([...series[kind], ...targets.filter((target) => target.load.kind === kind).map((target) => target.load.count)]);
    return [...counts].sort((a, b) => a - b).map((count) => ({ kind, count }));
  });
}
