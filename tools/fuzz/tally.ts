// SPDX-License-Identifier: Apache-2.0
/** Counts what became of the cases, and keeps the first examples of what must not happen. */
import type { CaseResult, Outcome } from "./run-case.js";

/** What one process of several counted. */
export interface TallyState {
  readonly outcomes: Readonly<Record<Outcome, number>>;
  readonly byFormat: readonly (readonly [string, Readonly<Record<Outcome, number>>])[];
  readonly examples: readonly (readonly [string, string])[];
  readonly unnoticed: readonly (readonly [string, number])[];
  readonly hangs: number;
  readonly deaths: number;
  readonly large: number;
  readonly slowestMs: number;
  readonly worstBytes: number;
}

export interface FuzzSummary {
  readonly seed: number;
  readonly cases: number;
  readonly outcomes: Readonly<Record<Outcome, number>>;
  readonly hangs: number;
  readonly deaths: number;
  readonly slowestMs: number;
  readonly worstBytes: number;
  /** Share of the mutations that changed meaning that were refused or found, 0 to 1. */
  readonly detection: number;
  readonly byFormat: Readonly<Record<string, Readonly<Record<Outcome, number>>>>;
}

const maxExamples = 25;
const maxUnnoticed = 60;
const limitBytes = 64 << 20;
const noOutcomes = (): Record<Outcome, number> => ({ refused: 0, same: 0, found: 0, unnoticed: 0, crash: 0, unlocated: 0 });

function addTo(sum: Record<Outcome, number>, more: Readonly<Record<Outcome, number>>): void {
  for (const outcome of Object.keys(sum) as Outcome[]) sum[outcome] += more[outcome];
}

export class FuzzTally {
  readonly #outcomes = noOutcomes();
  readonly #byFormat = new Map<string, Record<Outcome, number>>();
  readonly #examples = new Map<string, string>();
  /** Kind of image and changed fields → how often nobody noticed. */
  readonly #unnoticed = new Map<string, number>();
  #hangs = 0;
  #deaths = 0;
  #large = 0;
  #slowestMs = 0;
  #worstBytes = 0;

  constructor(private readonly seed: number) {}

  add({
    index,
    result,
    ms,
    bytes,
  }: {
    readonly index: number;
    readonly result: CaseResult;
    readonly ms: number;
    readonly bytes: number;
  }): void {
    this.#outcomes[result.outcome] += 1;
    const kind = result.seed.startsWith("own/")
      ? `own ${result.seed.slice(result.seed.lastIndexOf(".") + 1)}`
      : (result.seed.split("/")[0] ?? "");
    const own = this.#byFormat.get(kind) ?? noOutcomes();
    own[result.outcome] += 1;
    this.#byFormat.set(kind, own);
    this.#slowestMs = Math.max(this.#slowestMs, ms);
    this.#worstBytes = Math.max(this.#worstBytes, bytes);
    if (result.outcome === "unnoticed" && result.detail !== undefined) this.#countUnnoticed(`${kind}: ${result.detail}`, 1);
    if (result.outcome === "crash" || result.outcome === "unlocated") {
      this.#example(
        `${result.outcome} ${result.detail ?? ""}`,
        `case ${index}: ${result.outcome} in ${result.seed} (${result.file}): ${result.detail ?? ""}`,
      );
    }
    if (bytes > limitBytes) {
      this.#large += 1;
      this.#example(`memory ${result.seed}`, `case ${index}: ${(bytes / 1048576).toFixed(0)} MB in ${result.seed} (${result.file})`);
    }
  }

  hang(index: number): void {
    this.#hangs += 1;
    this.#example(`hang ${index}`, `case ${index}: hangs`);
  }

  death(index: number, message: string): void {
    this.#deaths += 1;
    this.#example(`death ${message}`, `case ${index}: ended the thread: ${message}`);
  }

  get state(): TallyState {
    return {
      outcomes: this.#outcomes,
      byFormat: [...this.#byFormat],
      examples: [...this.#examples],
      unnoticed: [...this.#unnoticed],
      hangs: this.#hangs,
      deaths: this.#deaths,
      large: this.#large,
      slowestMs: this.#slowestMs,
      worstBytes: this.#worstBytes,
    };
  }

  /** Adds what another process counted. */
  merge(other: TallyState): void {
    addTo(this.#outcomes, other.outcomes);
    for (const [kind, theirs] of other.byFormat) {
      const own = this.#byFormat.get(kind) ?? noOutcomes();
      addTo(own, theirs);
      this.#byFormat.set(kind, own);
    }
    for (const [key, text] of other.examples) this.#example(key, text);
    for (const [key, count] of other.unnoticed) this.#countUnnoticed(key, count);
    this.#hangs += other.hangs;
    this.#deaths += other.deaths;
    this.#large += other.large;
    this.#slowestMs = Math.max(this.#slowestMs, other.slowestMs);
    this.#worstBytes = Math.max(this.#worstBytes, other.worstBytes);
  }

  #countUnnoticed(key: string, count: number): void {
    this.#unnoticed.set(key, (this.#unnoticed.get(key) ?? 0) + count);
  }

  #example(key: string, text: string): void {
    const short = key.slice(0, 160).replace(/[0-9]+/g, "N");
    if (this.#examples.size < maxExamples && !this.#examples.has(short)) this.#examples.set(short, text);
  }

  get isClean(): boolean {
    return this.#hangs + this.#deaths + this.#large + this.#outcomes.crash + this.#outcomes.unlocated === 0;
  }

  summary(): FuzzSummary {
    const { refused, found, unnoticed } = this.#outcomes;
    const changed = refused + found + unnoticed;
    return {
      seed: this.seed,
      cases: Object.values(this.#outcomes).reduce((sum, count) => sum + count, 0) + this.#hangs + this.#deaths,
      outcomes: { ...this.#outcomes },
      hangs: this.#hangs,
      deaths: this.#deaths,
      slowestMs: Math.round(this.#slowestMs),
      worstBytes: this.#worstBytes,
      detection: changed === 0 ? 1 : (refused + found) / changed,
      // In one order, whichever process met a format first.
      byFormat: Object.fromEntries([...this.#byFormat].sort(([a], [b]) => (a < b ? -1 : 1))),
    };
  }

  text(): string {
    const summary = this.summary();
    const lines = [
      `fuzz: ${summary.cases} mutations: ${summary.outcomes.crash + summary.deaths} crashes, ${summary.hangs} hangs, ` +
        `${summary.outcomes.unlocated} errors without a place`,
      `fuzz: slowest ${summary.slowestMs} ms of processor time, worst memory ${(summary.worstBytes / 1048576).toFixed(1)} MB`,
      `fuzz: refused ${summary.outcomes.refused}, found ${summary.outcomes.found}, unnoticed ${summary.outcomes.unnoticed}, no ` +
        `change ${summary.outcomes.same}`,
      `fuzz: ${(100 * summary.detection).toFixed(1)} % of the mutations that changed meaning were detected`,
      ...Object.entries(summary.byFormat).map(([kind, own]) => {
        const changed = own.refused + own.found + own.unnoticed;
        return (
          `fuzz:   ${kind.padEnd(16)} ` +
          `${changed === 0 ? "-" : `${((100 * (own.refused + own.found)) / changed).toFixed(1)} %`} of ${changed}`
        );
      }),
      ...[...this.#unnoticed]
        .sort((a, b) => b[1] - a[1])
        .slice(0, maxUnnoticed)
        .map(([key, count]) => `fuzz: not noticed ${count} times: ${key}`),
      ...[...this.#examples.values()].map((text) => `fuzz: ${text}`),
    ];
    return lines.join("\n");
  }
}
