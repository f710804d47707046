// SPDX-License-Identifier: Apache-2.0
/**
 * The extended state of all threads, as both ptrace and a signal frame take it: the XSAVE area in standard form, its
 * software-reserved bytes filled for rt_sigreturn (arch/x86/include/uapi/asm/sigcontext.h), and FP_XSTATE_MAGIC2 behind.
 *
 * Where its components are depends on the processor's maker (model/xstate-layout.ts), so an image moves them if it runs
 * on another's: CRIU's images, which have components by name, are given Intel's places.
 */
import { BytesMap } from "../bytes/interned.js";
import type { Checkpoint } from "../model/checkpoint.js";
import {
  amdAvxLayout,
  amdLayout,
  endOf,
  intelLayout,
  keysComponent,
  usesKeys,
  type XstateLayout,
  xstateLayout,
} from "../model/xstate-layout.js";
import { ERRNO } from "./constants.js";
import type { DataRef, Label, Slot } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

const fxsaveSize = 512;
const headerEnd = 576;
const magic1 = 0x46505853;
const magic2 = 0x46505845;
const extendedSizeOffset = 468;
const featuresOffset = 472;
const sizeOffset = 480;
/** xstate_bv of an area that only FXSAVE filled: x87 and SSE. */
const legacyFeatures = 3n;
/** x87, SSE and AVX are in the same place everywhere. */
const fixedFeatures = 7n;
const keys = 1n << BigInt(keysComponent);
/** CPUID leaf of the components: subleaf n has the offset of component n in EBX. */
const xstateLeaf = 0xd;
const ebx = 1;

export class Xstates {
  /** Bytes that each area may take. */
  readonly room: number;
  readonly #areas: DataRef;
  /** How many areas there are. */
  readonly #count: number;
  /** Row of threads → which area. */
  readonly #indices: ReadonlyMap<number, number>;
  /** Components in use by any thread. */
  readonly #used: bigint;
  readonly #layout: XstateLayout;
  /** Not 0 where the processor has no protection keys, and none are needed. */
  readonly #lacksKeys: Slot;
  /** Components that a processor may lack, as they have their default: protection keys that nobody uses. */
  readonly #dispensable: bigint;
  /** Those of them that are not in the same place everywhere. */
  readonly #moving: readonly number[];

  constructor(b: ProgramBuilder, { tables }: Checkpoint) {
    const xfeatures = tables.checkpoint[0]?.xfeatures ?? legacyFeatures;
    const rows = [...tables.threads.keys()].filter((row) => (tables.threads[row]?.xstate.length ?? 0) >= fxsaveSize);
    // Threads that wait in the same place often have the same state: each is there once.
    const saved: Uint8Array[] = [];
    const known = new BytesMap<number>();
    const indices = new Map<number, number>();
    for (const row of rows) {
      const bytes = tables.threads[row]?.xstate ?? new Uint8Array(0);
      const index = known.getOrMake(bytes, () => ({ bytes, value: saved.push(bytes) - 1 }));
      indices.set(row, index);
    }
    this.#indices = indices;
    this.#count = saved.length;
    this.#used = saved.reduce((all, xstate) => all | usedBy(xstate), 0n);
    this.#dispensable = usesKeys(tables) ? 0n : this.#used & keys;
    // Whoever uses most tells most.
    const [teller] = [...saved].sort((one, other) => movable(other) - movable(one));
    this.#layout = teller === undefined ? intelLayout : xstateLayout(teller, xfeatures);
    this.#moving = [...this.#layout.keys()].filter((component) => ((this.#used & ~fixedFeatures) >> BigInt(component)) & 1n);
    // What a shortened area lacks of components in use is zero.
    const sizes = saved.map((xstate) => Math.max(xstate.length, endOf(this.#layout, usedBy(xstate))));
    const longest = Math.max(headerEnd, ...sizes, ...this.#others().map((layout) => endOf(layout, this.#used)));
    this.room = (longest + 4 + 63) & ~63;
    const bytes = new Uint8Array(this.room * saved.length);
    for (const [index, xstate] of saved.entries()) {
      putArea(bytes.subarray(index * this.room, (index + 1) * this.room), xstate, sizes[index] ?? headerEnd, xfeatures);
    }
    this.#areas = b.bytes(bytes, 64);
    this.#lacksKeys = b.slot("processor lacks protection keys");
  }

  /** A thread's area; undefined if the format had none. */
  of(row: number): DataRef | undefined {
    const index = this.#indices.get(row);
    return index === undefined ? undefined : this.#areas.at(index * this.room);
  }

  /** Ops of the first process: fails where this processor lacks a component in use. */
  checkProcessor(b: ProgramBuilder): void {
    // Every processor of 64 bits has these; one that has no more may not know xgetbv.
    if ((this.#used & ~legacyFeatures) === 0n) return;
    const available = b.slot("xstate features of this processor");
    const missing = b.slot("missing xstate features");
    const fits = b.label("processor has all features");
    b.op("xgetbv", [], { store: available });
    if (this.#dispensable !== 0n) this.#dispense(b, available);
    const needed = this.#used & ~this.#dispensable;
    b.compute(missing, "and", available, needed);
    b.jumpIf(missing, "eq", needed, fits);
    b.fail(
      `this processor lacks register state that the program uses (xstate components ${this.#used.toString(2)} in binary)`,
      "resume on a processor with the same vector extensions as at the dump",
      -ERRNO.nosys,
    );
    b.place(fits);
  }

  /** On a processor without keys their component is taken out of every area. */
  #dispense(b: ProgramBuilder, available: Slot): void {
    const has = b.label("processor has protection keys");
    b.jumpIf(available, "bits", keys, has);
    this.#eachArea(b, (area) => {
      const features = b.slot("components of an area");
      for (const offset of [fxsaveSize, featuresOffset]) {
        b.compute(features, "load8", area, offset);
        b.compute(features, "and", features, ~keys & 0xffff_ffff_ffff_ffffn);
        b.store8(area.plus(offset), features);
      }
    });
    b.compute(this.#lacksKeys, "move", 1);
    b.place(has);
  }

  /** Ops in a loop over the areas of all threads. */
  #eachArea(b: ProgramBuilder, build: (area: Slot) => void): void {
    const area = b.slot("an area of extended state");
    const again = b.label("next area");
    b.compute(area, "move", this.#areas);
    b.place(again);
    build(area);
    b.compute(area, "add", area, this.room);
    b.jumpIf(area, "lt", this.#areas.at(this.room * this.#count), again);
  }

  /** Ops of the first process, before it makes any other: puts components where this processor has them. */
  fitProcessor(b: ProgramBuilder): void {
    if (this.#moving.length === 0) return;
    const fits = b.label("components of the extended state are where this processor has them");
    for (const layout of [this.#layout, ...this.#others()]) {
      const isOther = b.label("the layout is another one");
      this.#jumpUnless(b, layout, isOther);
      if (layout !== this.#layout) this.#move(b, layout);
      b.jump(fits);
      b.place(isOther);
    }
    b.fail(
      "this processor keeps extended registers elsewhere than the one of the dump",
      "resume on a processor of the same maker",
      -ERRNO.nosys,
    );
    b.place(fits);
  }

  /** Layouts of other processors that have what is used. */
  #others(): XstateLayout[] {
    return [intelLayout, amdLayout, amdAvxLayout].filter(
      (layout) => layout !== this.#layout && this.#moving.every((component) => layout.has(component)),
    );
  }

  #jumpUnless(b: ProgramBuilder, layout: XstateLayout, target: Label): void {
    const offset = b.slot("offset of a component");
    for (const component of this.#moving) {
      const absent = b.label("this processor does not have it, and need not");
      if (component === keysComponent) b.jumpIf(this.#lacksKeys, "ne", 0, absent);
      b.op("cpuid", [xstateLeaf, component, ebx], { store: offset });
      b.jumpIf(offset, "ne", layout.get(component)?.offset ?? 0, target);
      b.place(absent);
    }
  }

  /** The components lie in the same order and distance in every layout, so they move as one, in every area. */
  #move(b: ProgramBuilder, layout: XstateLayout): void {
    const offsetIn = (one: XstateLayout): number => Math.min(...this.#moving.map((component) => one.get(component)?.offset ?? Infinity));
    const size = endOf(layout, this.#used | fixedFeatures);
    const length = size - offsetIn(layout);
    const aside = b.buffer(length);
    this.#eachArea(b, (area) => {
      b.copy(aside, area.plus(offsetIn(this.#layout)), length);
      b.copy(area.plus(offsetIn(layout)), aside, length);
      b.store4(area.plus(extendedSizeOffset), size + 4);
      b.store4(area.plus(sizeOffset), size);
      b.store4(area.plus(size), magic2);
    });
  }
}

function usedBy(xstate: Uint8Array): bigint {
  return xstate.length < headerEnd ? legacyFeatures : new DataView(xstate.buffer, xstate.byteOffset).getBigUint64(fxsaveSize, true);
}

/** How many components are not in the same place everywhere. */
function movable(xstate: Uint8Array): number {
  return (usedBy(xstate) & ~fixedFeatures).toString(2).replaceAll("0", "").length;
}

function putArea(area: Uint8Array, xstate: Uint8Array, size: number, xfeatures: bigint): void {
  const saved = usedBy(xstate);
  const view = new DataView(area.buffer, area.byteOffset, area.length);
  area.set(xstate);
  view.setBigUint64(fxsaveSize, saved, true);
  view.setUint32(464, magic1, true);
  view.setUint32(extendedSizeOffset, size + 4, true);
  view.setBigUint64(featuresOffset, saved | (xfeatures & saved), true);
  view.setUint32(sizeOffset, size, true);
  view.setUint32(size, magic2, true);
}
