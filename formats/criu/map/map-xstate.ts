// SPDX-License-Identifier: Apache-2.0
/**
 * fpregs and xsave of a core image ↔ the xstate blob of the model (NT_X86_XSTATE, standard form).
 *
 * An image has the components by name; an area made of one has them where Intel has them (Intel SDM volume 1, 13.4), an
 * area written to one may have AMD's layout too. XCR0 is not in an image; the arrays that are present tell which components the
 * dumping CPU had.
 */
import { create } from "@bufbuild/protobuf";
import { endOf, type XstateLayout, xstateLayout } from "../../../src/model/xstate-layout.js";
import { type X86FpRegs, X86FpRegsSchema, type X86Xsave, X86XsaveSchema } from "../gen/core_pb.js";

const fxsaveSize = 512;
const headerEnd = 576;
/** Where Linux's ptrace puts XCR0 in the FXSAVE area (sw_reserved bytes). */
const xcr0Offset = 464;

interface Component32 {
  readonly bits: bigint;
  readonly offset: number;
  readonly words: number;
  readonly name: "ymmhSpace" | "pkru";
}
interface Component64 {
  readonly bits: bigint;
  readonly offset: number;
  readonly words: number;
  readonly name: "bndregState" | "bndcsrState" | "opmaskReg" | "zmmUpper" | "hi16Zmm";
}

const components32: readonly Component32[] = [
  { name: "ymmhSpace", bits: 1n << 2n, offset: 576, words: 64 },
  { name: "pkru", bits: 1n << 9n, offset: 2688, words: 2 },
];
const components64: readonly Component64[] = [
  { name: "bndregState", bits: 1n << 3n, offset: 960, words: 8 },
  { name: "bndcsrState", bits: 1n << 4n, offset: 1024, words: 8 },
  { name: "opmaskReg", bits: 1n << 5n, offset: 1088, words: 8 },
  { name: "zmmUpper", bits: 1n << 6n, offset: 1152, words: 64 },
  { name: "hi16Zmm", bits: 1n << 7n, offset: 1664, words: 128 },
];

/** x87, SSE, AVX, MPX, AVX-512 and PKRU: what core images have room for. */
export const storableXfeatures = 0x2ffn;

function offsetIn(layout: XstateLayout, bits: bigint): number | undefined {
  return layout.get(bits.toString(2).length - 1)?.offset;
}

/** Components that the arrays of an xsave entry show (with x87 and SSE), as XCR0 bits. */
export function xfeaturesOf(fpregs: X86FpRegs): bigint {
  let bits = 3n;
  const { xsave } = fpregs;
  if (!xsave) return bits;
  for (const component of components32) if (xsave[component.name].length > 0) bits |= component.bits;
  for (const component of components64) if (xsave[component.name].length > 0) bits |= component.bits;
  return bits;
}

/** The blob; 512 bytes if there is no xsave entry. Arrays longer than their component are cut. */
export function xstateFromWire(fpregs: X86FpRegs): Uint8Array {
  const { xsave } = fpregs;
  let size = xsave ? headerEnd : fxsaveSize;
  if (xsave) {
    for (const component of components32) {
      if (xsave[component.name].length > 0) size = Math.max(size, component.offset + component.words * 4);
    }
    for (const component of components64) {
      if (xsave[component.name].length > 0) size = Math.max(size, component.offset + component.words * 8);
    }
  }
  const blob = new Uint8Array(size);
  const view = new DataView(blob.buffer);
  view.setUint16(0, fpregs.cwd, true);
  view.setUint16(2, fpregs.swd, true);
  view.setUint16(4, fpregs.twd, true);
  view.setUint16(6, fpregs.fop, true);
  view.setBigUint64(8, fpregs.rip, true);
  view.setBigUint64(16, fpregs.rdp, true);
  view.setUint32(24, fpregs.mxcsr, true);
  view.setUint32(28, fpregs.mxcsrMask, true);
  put32(view, 32, 32, fpregs.stSpace);
  put32(view, 160, 64, fpregs.xmmSpace);
  if (!xsave) return blob;
  view.setBigUint64(xcr0Offset, xfeaturesOf(fpregs), true);
  view.setBigUint64(fxsaveSize, xsave.xstateBv, true);
  for (const component of components32) put32(view, component.offset, component.words, xsave[component.name]);
  for (const component of components64) {
    xsave[component.name].slice(0, component.words).forEach((value, index) => {
      view.setBigUint64(component.offset + index * 8, value, true);
    });
  }
  return blob;
}

function put32(view: DataView, offset: number, words: number, values: readonly number[]): void {
  values.slice(0, words).forEach((value, index) => view.setUint32(offset + index * 4, value, true));
}

/** The inverse. A blob may be shortened, also within a component: what is missing is zero. */
export function xstateToWire(xstate: Uint8Array): X86FpRegs {
  const layout = xstateLayout(xstate);
  const stored = endOf(layout, storableXfeatures);
  const padded = new Uint8Array(xstate.length < headerEnd ? Math.max(fxsaveSize, xstate.length) : Math.max(stored, xstate.length));
  padded.set(xstate);
  const view = new DataView(padded.buffer);
  const words = (offset: number, count: number): number[] =>
    Array.from({ length: count }, (_, index) => view.getUint32(offset + index * 4, true));
  const fpregs = create(X86FpRegsSchema, {
    cwd: view.getUint16(0, true),
    swd: view.getUint16(2, true),
    twd: view.getUint16(4, true),
    fop: view.getUint16(6, true),
    rip: view.getBigUint64(8, true),
    rdp: view.getBigUint64(16, true),
    mxcsr: view.getUint32(24, true),
    mxcsrMask: view.getUint32(28, true),
    stSpace: words(32, 32),
    xmmSpace: words(160, 64),
  });
  fpregs.xsave = xsaveToWire(view, layout, words);
  return fpregs;
}

function xsaveToWire(view: DataView, layout: XstateLayout, words: (offset: number, count: number) => number[]): X86Xsave {
  const hasHeader = view.byteLength >= headerEnd;
  const inUse = hasHeader ? view.getBigUint64(fxsaveSize, true) : 3n;
  const xcr0 = view.getBigUint64(xcr0Offset, true);
  const xsave = create(X86XsaveSchema, { xstateBv: inUse & storableXfeatures });
  // An array for every component that the CPU had.
  const isThere = (bits: bigint): boolean => hasHeader && ((xcr0 | inUse) & bits) !== 0n;
  for (const { name, bits, words: count } of components32) {
    const offset = offsetIn(layout, bits);
    if (isThere(bits) && offset !== undefined) xsave[name] = words(offset, count);
  }
  for (const { name, bits, words: count } of components64) {
    const offset = offsetIn(layout, bits);
    if (!isThere(bits) || offset === undefined) continue;
    xsave[name] = Array.from({ length: count }, (_, index) => view.getBigUint64(offset + index * 8, true));
  }
  return xsave;
}
