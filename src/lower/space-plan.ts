// SPDX-License-Identifier: Apache-2.0
/**
 * What it takes to make the mappings of an address space, found in one go through all of them. A program may have tens of
 * thousands, nearly all like a few others but for their place: what is to be said of such is said once for each kind, and rows
 * are looked at only of those that are alone, or that a run begins with.
 */
import { type VmaRow, vmaVmFlagsBits as vm } from "../gen/tables.js";
import { firstWhere } from "../model/ascending.js";
import { alone, type SpaceColumns } from "../model/space-columns.js";
import { hugePageSize, PROT } from "./constants.js";
import { addRange, canShareCall, isMadeAlike, type MappingRun, RangesToProtect } from "./mapping-runs.js";
import type { StoredRanges } from "./page-loading.js";
import { isAlikeButForAccount, isForgotten, isSeparateFrom, planVma, type VmaPlan } from "./vma-plan.js";

export interface SpacePlan {
  /** All mappings, ascending. */
  readonly runs: readonly MappingRun[];
  /** Those whose pages may be made before they are read, and that are large enough for huge ones. */
  readonly large: readonly VmaPlan[];
  /** Those that the kernel would join with the mapping before them. */
  readonly separate: readonly { readonly before: VmaRow; readonly plan: VmaPlan }[];
  /** Those that are locked or have a key. */
  readonly held: readonly VmaPlan[];
  /** Those that must have had a page. */
  readonly touched: readonly VmaRow[];
  readonly sealed: readonly VmaRow[];
  /** By mapping: its protection while pages are loaded. */
  readonly loadProts: Uint8Array;
  /** What is protected when they are. */
  readonly later: RangesToProtect;
  readonly soon: ProtectedSoon;
}

/**
 * Mappings that cannot be accessed and have no pages, but are made as one with others that have some, and are writable until
 * these are loaded: as soon as the first page is there they can be protected and stay accounted.
 */
export interface ProtectedSoon {
  /** Starts and ends, ascending. */
  readonly words: number[];
  /** Of each such one a page that is stored, ascending. */
  readonly pages: number[];
}

/** What is planned for all mappings of a kind, with or without pages, and separate or not. */
interface Shape {
  /** Of one of them. */
  readonly plan: VmaPlan;
  readonly canShare: boolean;
  readonly isLocked: boolean;
  readonly isSealed: boolean;
  /** It may be one that must have had a page. */
  readonly isForgotten: boolean;
  readonly mayPopulate: boolean;
  /** Where it goes to be protected later. */
  readonly words: number[] | undefined;
  /** It may be protected soon. */
  readonly isSoon: boolean;
}

export interface SpaceOptions {
  /** The address space is under PR_SET_MEMORY_MERGE. */
  readonly isMerged?: boolean;
  /** Mappings that are not made with others, for reasons of the caller's; undefined: none. */
  readonly isAlone?: ((vma: VmaRow) => boolean) | undefined;
}

/** @param stored ends with a range behind all addresses */
export function planSpace(space: SpaceColumns, stored: StoredRanges, { isMerged = false, isAlone }: SpaceOptions = {}): SpacePlan {
  const { starts, ends, kinds, samples, count } = space;
  const neighbours = new Neighbours(space);
  const [runs, large, held]: [MappingRun[], VmaPlan[], VmaPlan[]] = [[], [], []];
  const separate: { before: VmaRow; plan: VmaPlan }[] = [];
  const [touched, sealed]: [VmaRow[], VmaRow[]] = [[], []];
  const later = new RangesToProtect();
  const soon: ProtectedSoon = { words: [], pages: [] };
  /** Of the mappings so far that are one while pages are loaded: a page that is stored, or -1, and how many words there were before. */
  let [firstPage, wordsBefore] = [-1, 0];
  const loadProts = new Uint8Array(count);
  const shapes: (Shape | undefined)[] = new Array<Shape | undefined>(samples.length * 4).fill(undefined);
  let run: MappingRun | undefined;
  /** The shape of the mapping before, if others can be made with it. */
  let last: Shape | undefined;
  let page = 0;
  let endBefore = -1;
  let kindBefore = alone;
  for (let index = 0; index < count; index++) {
    const kind = kinds[index] as number;
    const start = starts[index] as number;
    const end = ends[index] as number;
    const touches = start === endBefore;
    // They ascend; what somebody else has written need not.
    if (start < endBefore) page = firstWhere(stored.ends.length - 1, (place) => (stored.ends[place] as number) > start);
    while ((stored.ends[page] as number) <= start) page++;
    const hasPages = (stored.starts[page] as number) < end;
    const isApart = touches && neighbours.areSeparate(index, kindBefore, kind);
    const place = kind === alone ? -1 : kind * 4 + (hasPages ? 2 : 0) + (isApart ? 1 : 0);
    let shape = place < 0 ? undefined : shapes[place];
    if (shape === undefined) {
      shape = shapeOf(planVma(space.row(index), hasPages, isApart, isMerged), hasPages, later);
      if (place >= 0) shapes[place] = shape;
    }
    const { plan } = shape;
    loadProts[index] = plan.loadProt;
    const mayJoin = shape.canShare && (isAlone === undefined || !isAlone(space.row(index)));
    if (mayJoin && run !== undefined && last !== undefined && touches && (last === shape || isMadeAlike(last.plan, plan))) {
      if (run.lastProt !== plan.loadProt) {
        endOfOne(firstPage, wordsBefore, soon, later);
        [firstPage, wordsBefore] = [-1, soon.words.length];
      }
      run.count++;
      run.end = end;
      run.lastProt = plan.loadProt;
      if (run.birth !== plan.loadProt) run.birth = 0;
    } else {
      endOfOne(firstPage, wordsBefore, soon, later);
      [firstPage, wordsBefore] = [-1, soon.words.length];
      run = { from: index, count: 1, first: planAt(space, index, plan), end, lastProt: plan.loadProt, birth: plan.loadProt };
      runs.push(run);
    }
    if (hasPages && firstPage < 0) firstPage = Math.max(start, stored.starts[page] as number);
    last = mayJoin ? shape : undefined;
    const isTouched = shape.isForgotten && neighbours.differInAccount(index, kindBefore, kind);
    if (shape.isSoon && !isTouched) {
      if (soon.words.length === wordsBefore) soon.words.push(start, end);
      else addRange(soon.words, start, end);
    } else if (shape.words !== undefined) addRange(shape.words, start, end);
    if (shape.mayPopulate && end - start >= largeSize) large.push(planAt(space, index, plan));
    if (isApart) separate.push({ before: space.row(index - 1), plan: planAt(space, index, plan) });
    if (shape.isLocked) held.push(planAt(space, index, plan));
    if (isTouched) touched.push(space.row(index));
    if (shape.isSealed) sealed.push(space.row(index));
    endBefore = end;
    kindBefore = kind;
  }
  endOfOne(firstPage, wordsBefore, soon, later);
  return { runs, large, separate, held, touched, sealed, loadProts, later, soon };
}

/** What is to be protected of mappings that are one while pages are loaded, and have none, cannot be soon. */
function endOfOne(page: number, wordsBefore: number, soon: ProtectedSoon, later: RangesToProtect): void {
  if (soon.words.length === wordsBefore) return;
  if (page >= 0) soon.pages.push(page);
  else later.add(0, soon.words.splice(wordsBefore));
}

/** What of a run is protected otherwise than it is made. */
export function protectionsWithin(space: SpaceColumns, { loadProts }: SpacePlan, { from, count, birth }: MappingRun): RangesToProtect {
  const ranges = new RangesToProtect();
  for (let index = from; index < from + count; index++) {
    const prot = loadProts[index] as number;
    if (prot !== birth) addRange(ranges.of(prot), space.starts[index] as number, space.ends[index] as number);
  }
  return ranges;
}

const largeSize = Number(hugePageSize);

const planAt = (space: SpaceColumns, index: number, plan: VmaPlan): VmaPlan => ({ ...plan, vma: space.row(index) });

function shapeOf(plan: VmaPlan, hasPages: boolean, later: RangesToProtect): Shape {
  const { vma, source, loadProt, prot, lock, isSeparate } = plan;
  const isOurs = source !== "kernel";
  const isProtectedLater = isOurs && vma.pkey === 0 && loadProt !== prot;
  return {
    plan,
    canShare: canShareCall(plan),
    isLocked: isOurs && (lock !== undefined || vma.pkey !== 0),
    isSealed: isOurs && (vma.vmFlags & vm.sl) !== 0n,
    isForgotten: !hasPages && isForgotten(vma),
    mayPopulate: source === "mmap" && vma.kind === "anon_private" && !isSeparate && (loadProt & PROT.write) !== 0,
    words: isProtectedLater ? later.of(prot) : undefined,
    isSoon: isProtectedLater && prot === 0 && !hasPages && lock === undefined && canShareCall(plan),
  };
}

/** What mappings that touch are to each other: between kinds it is known after the first time. */
class Neighbours {
  /** 0: not known; 1: no; 2: yes. */
  readonly #separate: Uint8Array;
  readonly #account: Uint8Array;

  constructor(private readonly space: SpaceColumns) {
    const pairs = space.samples.length ** 2;
    [this.#separate, this.#account] = [new Uint8Array(pairs), new Uint8Array(pairs)];
  }

  /** Whether the kernel would make one mapping of this one and the one before it, which it touches. */
  areSeparate(index: number, before: number, kind: number): boolean {
    const { space } = this;
    if (before === alone || kind === alone) return isSeparateFrom(space.row(index - 1), space.row(index));
    const place = before * space.samples.length + kind;
    if (this.#separate[place] === 0) this.#separate[place] = isSeparateFrom(space.row(index - 1), space.row(index)) ? 2 : 1;
    return this.#separate[place] === 2;
  }

  /** Whether it differs from the mapping before or behind it, which it touches, in being accounted only. */
  differInAccount(index: number, before: number, kind: number): boolean {
    const { starts, ends, kinds, count } = this.space;
    if (index > 0 && ends[index - 1] === starts[index] && this.#isAccountOnly(index, before, kind)) return true;
    return index + 1 < count && ends[index] === starts[index + 1] && this.#isAccountOnly(index + 1, kind, kinds[index + 1] as number);
  }

  #isAccountOnly(index: number, before: number, kind: number): boolean {
    const { space } = this;
    if (before === alone || kind === alone) return isAlikeButForAccount(space.row(index - 1), space.row(index));
    const place = before * space.samples.length + kind;
    if (this.#account[place] === 0) this.#account[place] = isAlikeButForAccount(space.row(index - 1), space.row(index)) ? 2 : 1;
    return this.#account[place] === 2;
  }
}
