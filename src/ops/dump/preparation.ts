// SPDX-License-Identifier: Apache-2.0
/**
 * What is done before a tree is frozen so that it need not stand still for it, and the way in which it will run on. All of it is a
 * guess: what turns out otherwise takes the next way (run-on.ts), or ends in StaleMappings, and the dump begins anew with less.
 */
import type { FormatAdapter } from "../../adapter/format.js";
import { EarlyMappings } from "../../dump/early-mappings.js";
import type { Gadgets } from "../../dump/gadgets.js";
import { makeHugePages } from "../../dump/huge-pages.js";
import { seemsPlain, seemsToBeLetGo } from "../../dump/let-go.js";
import { lookAhead } from "../../dump/look-ahead.js";
import { readMaps } from "../../dump/procfs.js";
import { WriteTracking } from "../../dump/write-tracking.js";
import { logStep, quietly } from "../../errors/log.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import { uncounted } from "../../native/index.js";
import type { DumpOptions } from "../options.js";
import type { PendingOutput } from "../output.js";
import { PreCopy } from "./pre-copy.js";
import { warmUp } from "./warm-up.js";
import { writing } from "./writing.js";

/**
 * What may be taken from the program before the freeze, where that is worth it: its memory and its mappings, the latter, or nothing.
 * StaleMappings is thrown if they changed until then. With "memory" it is the first time that this program is dumped: what a second
 * time finds done is prepared only then.
 */
export type BeforeFreeze = "memory" | "mappings" | "nothing";

/**
 * How a program runs on that is to run on, at the earliest. Each way may turn out not to be possible; the next one is taken then.
 * - pre-copy: its memory has been copied already; what it has written to since is copied while it stands still
 * - let-go: it runs on before all has been found out, and a fork answers for it
 * - detach: a fork keeps its memory, or a copy does
 * - store-frozen: its image is written first, since there is little to write and a fork would take longer
 * - hold: its image is complete first
 */
export type Way = "pre-copy" | "let-go" | "detach" | "store-frozen" | "hold";

/**
 * Ways in which next to all of the time that the program stands still is the kernel's. To practise takes a dump of thousands of mappings
 * 12 ms longer and spares the program 3 of 40.
 */
const isMostlyKernel: ReadonlySet<Way> = new Set(["store-frozen"]);

/** Where pages can be written before the tree is frozen. */
interface Place {
  readonly fd: number;
  readonly begin: number;
}

/** What `prepare` needs to know. */
export interface Prepared {
  readonly format: FormatAdapter;
  /** Undefined where only the tree tells what it will be. */
  readonly output: PendingOutput | undefined;
  /** A driver has to give back what it holds before the tree can run on, and has changed its mappings. */
  readonly hasDevices: boolean;
  /** Whether it is worth to practise. */
  readonly isPractised: boolean;
  /** Throws if the dump is to end. */
  readonly check: () => void;
}

/** Bytes of a line of maps that says of a mapping without a name, and some. */
const lineOfMaps = 64;
/** Mappings from which on it takes long to fork them, and bytes of pages that can be stored meanwhile, at most. */
const manyMappings = 4000;
const mostStored = 64n << 20n;

/**
 * Whether it takes longer to fork a process than to store its pages: the kernel copies 2 µs a mapping, and frees them as long
 * when the fork ends; of a page both take some 3 µs.
 * @param maps what maps says of it
 */
function isLongerToFork(pid: number, maps: Buffer | undefined): boolean {
  const mappings = (maps?.length ?? 0) / lineOfMaps;
  if (mappings < manyMappings) return false;
  const resident = WriteTracking.residentIn(pid);
  return resident <= mostStored && Number(resident / 4096n) <= mappings;
}

export class Preparation {
  /** What maps said last; undefined: it is to be asked again. */
  #maps: Buffer | undefined;
  /** Waits for what is being read of the mappings; to be called right before the freeze, once. */
  #readEarly: (() => EarlyMappings | undefined) | undefined;
  #preCopy: PreCopy | undefined;
  #way: Way = "hold";
  #stoodStill = 0;
  /** Whether it looks as if the program will be let go, if nothing is copied before. */
  #seemsLetGo = false;
  #isLongerToFork = false;
  readonly #later: (() => void)[] = [];
  readonly #isFirst: boolean;
  readonly #mayReadEarly: boolean;

  /** Begins to read what takes longest. */
  constructor(
    private readonly pid: number,
    private readonly options: DumpOptions,
    before: BeforeFreeze,
  ) {
    this.#isFirst = before === "memory";
    this.#mayReadEarly = before !== "nothing" && options.after === "leave-running" && options.fork !== false;
    // Whoever looks at the mappings before the freeze takes these. Reading more of them takes longest, so it begins first.
    this.#maps = this.#isFirst || this.#mayReadEarly ? readMaps(pid) : undefined;
    if (this.#mayReadEarly && options.hugePages !== true) {
      this.#isLongerToFork = isLongerToFork(pid, this.#maps);
      this.#readEarly = EarlyMappings.begin(pid, this.#maps, this.#isLongerToFork);
    }
  }

  get maps(): Buffer | undefined {
    return this.#maps;
  }

  get readEarly(): (() => EarlyMappings | undefined) | undefined {
    return this.#readEarly;
  }

  get preCopy(): PreCopy | undefined {
    return this.#preCopy;
  }

  get way(): Way {
    return this.#way;
  }

  /** How long the program has stood still for this, milliseconds. */
  get stoodStill(): number {
    return this.#stoodStill;
  }

  /** Does all that is left to do, and decides the way. @throws what `check` and writing the output throw */
  async prepare(what: Prepared): Promise<void> {
    // A driver has unmapped its own.
    if (what.hasDevices) this.#forget();
    const place = this.#isFirst && !what.hasDevices ? await placeOfPages(what, this.options) : undefined;
    const copyTo = place !== undefined && PreCopy.isWorth(this.pid) ? place : undefined;
    if (this.#isFirst && this.options.hugePages === true) this.#makeHugePages(what);
    this.#seemsLetGo = this.#isFirst && this.#readEarly !== undefined && copyTo === undefined && seemsToBeLetGo(this.pid, this.#maps);
    this.#way = this.#wayWithout(place, what);
    const isPractised = what.isPractised && !isMostlyKernel.has(this.#way);
    const practised = isPractised || copyTo !== undefined ? await this.#practise() : undefined;
    if (copyTo !== undefined) await this.#beginPreCopy(copyTo, what, practised);
  }

  /** Ends what has been begun; the tree may run. */
  async close(): Promise<void> {
    for (const work of this.#later) work();
    await this.#preCopy?.close();
  }

  #forget(): void {
    this.#maps = undefined;
    this.#readEarly = undefined;
  }

  #makeHugePages({ hasDevices, check }: Prepared): void {
    makeHugePages(this.pid, { isTree: this.options.isTree, check });
    this.#maps = readMaps(this.pid);
    if (this.#mayReadEarly && !hasDevices) this.#readEarly = EarlyMappings.begin(this.pid, this.#maps);
  }

  /** The way, as long as nothing has been copied before. */
  #wayWithout(place: Place | undefined, { hasDevices }: Prepared): Way {
    const { after, rehearse, bundle } = this.options;
    if (after !== "leave-running" || hasDevices || bundle) return "hold";
    // A tree that cannot be rehearsed after all is detached.
    if (!this.#mayReadEarly || rehearse === true) return "detach";
    return this.#seemsLetGo && place !== undefined && this.#isLongerToFork ? "store-frozen" : "let-go";
  }

  /** How long a program stands still that will not go on hurts nobody; how long the dump takes does. */
  async #practise(): Promise<Checkpoint | undefined> {
    if (!this.#isFirst || this.options.after !== "leave-running") return undefined;
    const isDetached = this.#way !== "store-frozen";
    const isLetGo = isDetached && this.#seemsLetGo;
    return warmUp({
      isDetached,
      mayFork: this.options.fork !== false,
      isLetGo,
      endsWhenGone: isLetGo && seemsPlain(this.pid),
      later: (work) => this.#later.push(work),
    });
  }

  async #beginPreCopy(place: Place, { format, check }: Prepared, practised: Checkpoint | undefined): Promise<void> {
    const findGadgets = (): Gadgets | undefined => lookAhead(this.pid, this.#maps);
    const onStop = (milliseconds: number): void => {
      this.#stoodStill += milliseconds;
      logStep(() => `it stood still for ${milliseconds.toFixed(1)} ms`);
    };
    const meanwhile = (): Promise<void> => (practised === undefined ? Promise.resolve() : practiseWriting(format, practised));
    this.#preCopy = await writing(this.options.output, PreCopy.begin(this.pid, { ...place, findGadgets, onStop, meanwhile, check }));
    if (this.#preCopy === undefined) return;
    this.#way = "pre-copy";
    // It took a while.
    this.#maps = readMaps(this.pid);
    this.#readEarly = EarlyMappings.begin(this.pid, this.#maps);
  }
}

/** Where pages can be written before the tree is frozen; undefined: nowhere, or it is of no use. */
async function placeOfPages(
  { format, output }: Prepared,
  { after, hugePages, compress, dedup, parent, bundle, rehearse, output: name }: DumpOptions,
): Promise<Place | undefined> {
  const isOtherwise = compress !== undefined || dedup === true || parent !== undefined || bundle || rehearse === true || name === "-";
  if (after !== "leave-running" || hugePages === true || isOtherwise || output === undefined || format.pagesBegin === undefined)
    return undefined;
  return { fd: output.file().fd, begin: await format.pagesBegin() };
}

/** Quietly, and uncounted: it is practice. */
function practiseWriting(format: FormatAdapter, checkpoint: Checkpoint): Promise<void> {
  return quietly(() => uncounted(() => format.practise?.(checkpoint) ?? Promise.resolve()));
}
