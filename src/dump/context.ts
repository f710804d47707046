// SPDX-License-Identifier: Apache-2.0
/** What collectors share: the tables they fill, the frozen tasks, the way to refuse. */
import type { CrimgErrorFields } from "../errors/crimg-error.js";
import type { MutableTables } from "../gen/tables.js";
import type { PageSource } from "../model/page-source.js";
import { clockNs } from "../native/index.js";
import type { FrozenProcess, FrozenThread, FrozenTree } from "./freeze.js";
import type { Injector, ThreadCalls } from "./injector.js";
import { Blockers } from "./blockers.js";
import type { Mapping } from "./smaps.js";
import type { ListsMade } from "./run-lists.js";
import type { ThreadFacts } from "./thread-facts.js";
import type { FactsOfProcess } from "./tree-facts.js";
import { TreeView } from "./namespaces/view.js";
import { ObjectTable } from "./objects.js";
import { type IgnorableClass, type Ignored, nothingIgnored, refusal } from "./refusal.js";
import type { TreeEnd } from "./tree-end.js";

/** What collectors need that only make calls in the first thread of a process. */
export interface Questioned {
  /** Its row in `tables.tasks`. */
  readonly row: number;
  /** Runs calls in the first thread; opened at the first call, closed by the dump. Not for zombies. */
  injector(): ThreadCalls;
}

/** A process under dump. */
export interface DumpedProcess extends Questioned {
  /** Host pid: what /proc and system calls take. The model has the pid that the program sees. */
  readonly pid: number;
  /** Its name, for messages. */
  readonly name: string;
  readonly frozen: FrozenProcess;
  /** Ascending; none of a zombie. */
  readonly mappings: readonly Mapping[];
  /** Runs calls in the first thread; opened at the first call, closed by the dump. Not for zombies. */
  injector(): Injector;
  /** What /proc told of it. */
  readonly own?: FactsOfProcess | undefined;
  /** What is known of its threads from outside. */
  readonly facts?: ThreadFacts;
  /** Calls that its threads have made, once they have. */
  readonly lists?: ListsMade;
  /** Runs calls in any of its threads; whoever asks closes it. */
  injectorFor(thread: FrozenThread): Injector;
}

export class DumpContext {
  readonly sources: PageSource[] = [];
  readonly objects: ObjectTable;
  /** How what the tree sees is reached. */
  readonly view = new TreeView();
  /** In table order, zombies included. */
  readonly processes: DumpedProcess[] = [];
  /** What cannot be kept; told all together before anything is written. */
  readonly blockers = new Blockers();
  readonly #ends = new Map<string, TreeEnd>();
  #momentNs: bigint | undefined;

  readonly #takes = new Map<object, () => (() => void) | undefined>();
  readonly #returns: (() => void)[] = [];

  constructor(
    readonly tables: MutableTables,
    readonly tree: FrozenTree,
    readonly ignored: Ignored = nothingIgnored,
  ) {
    this.objects = new ObjectTable(tables, this.sources, this.view);
  }

  /** The moment that is collected, CLOCK_MONOTONIC, nanoseconds: now, as long as the tree stands still. */
  get momentNs(): bigint {
    return this.#momentNs ?? clockNs(1);
  }

  /** The tree runs on from now. */
  standsStillUntil(): void {
    this.#momentNs = clockNs(1);
  }

  /**
   * What can be seen only by taking it from the program is taken last, when nothing stands in the way of the dump any
   * more; `take` returns how it is given back if the program goes on. A later `take` of the same `owner` replaces it.
   */
  takeAtLast(owner: object, take: () => (() => void) | undefined): void {
    this.#takes.set(owner, take);
  }

  /** Nothing is to be taken after all: the descriptors are collected anew. */
  forgetTakes(): void {
    this.#takes.clear();
  }

  /** Whether something is to be taken. */
  get isToTake(): boolean {
    return this.#takes.size > 0;
  }

  /** Takes what is taken last. */
  takeAll(): void {
    for (const take of this.#takes.values()) {
      const giveBack = take();
      if (giveBack !== undefined) this.#returns.push(giveBack);
    }
    this.#takes.clear();
  }

  /** Gives back what was taken: the program, which still stands still, goes on. */
  giveBack(): void {
    for (const giveBack of this.#returns.splice(0)) giveBack();
  }

  /** Something is held until the tree is let go or killed. What was held under that name before is let go now. */
  holdUntilEnd(name: string, end: TreeEnd): void {
    this.#ends.get(name)?.release();
    this.#ends.set(name, end);
  }

  /** See TreeEnd. */
  beforeKill(): void {
    for (const end of this.#ends.values()) end.beforeKill();
  }

  /** See TreeEnd. */
  releaseHeld(): void {
    for (const end of this.#ends.values()) end.release();
  }

  /** Ends the dump: `dump.<what>`, one sentence that names the object ("fd 7 of 4711 (nginx): …"). */
  refuse(what: string, text: string, fields: CrimgErrorFields = {}): never {
    throw refusal(what, text, fields);
  }

  /**
   * Records the loss with `--ignore CLASS`; else notes what stands in the way, and the dump will end once all is looked
   * at. The caller goes on as though the resource were not there.
   */
  leaveOut(kind: IgnorableClass, text: string): void {
    if (this.ignored.classes.has(kind)) this.lose(`dump.${kind}`, text);
    else this.blockers.add(refusal(kind, text, { ignore: kind, hint: `--ignore ${kind} leaves it out and records the loss.` }));
  }

  /** Records a loss that stands in nobody's way. */
  lose(code: string, text: string): void {
    const { losses } = this.tables;
    const at = losses.findIndex((loss) => loss.code === code);
    const known = losses[at];
    if (known) losses[at] = { ...known, count: known.count + 1, text: `${known.text}; ${text}` };
    else losses.push({ code, count: 1, text });
  }
}
