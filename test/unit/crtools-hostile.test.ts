// SPDX-License-Identifier: Apache-2.0
/** Damaged and invented sets: each is refused with the place, none crashes. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { format as crtools } from "../../formats/crtools/index.js";
import { format as ckptElfV1 } from "../../formats/ckpt-elf-v1/index.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { imagesOf, scratch, set2011 } from "../support/fixtures-2011.js";

/** Changes to files of a copy of the tree3 set: bytes → bytes, or undefined to remove the file. */
type Change = Readonly<Record<string, (bytes: Buffer) => Uint8Array | undefined>>;

function changedSet(t: TestContext, change: Change): string {
  const folder = scratch(t);
  for (const file of imagesOf("tree3")) {
    const bytes = readFileSync(join(set2011("tree3"), file));
    const changed = change[file] ? change[file](bytes) : bytes;
    if (changed) writeFileSync(join(folder, file), changed);
  }
  return folder;
}

/** Writes numbers into a copy: [offset, bytes, value]. */
function poke(...changes: readonly (readonly [number, 2 | 4 | 8, number | bigint])[]): (bytes: Buffer) => Buffer {
  return (bytes) => {
    const copy = Buffer.from(bytes);
    for (const [offset, width, value] of changes) {
      if (width === 8) copy.writeBigUInt64LE(BigInt(value), offset);
      else copy.writeUIntLE(Number(value), offset, width);
    }
    return copy;
  };
}

function cut(length: number): (bytes: Buffer) => Buffer {
  return (bytes) => bytes.subarray(0, length);
}

function words(...values: readonly number[]): () => Buffer {
  return () => Buffer.from(Uint32Array.from(values).buffer);
}

const pstreeMagic = 0x40044004;
/** Offsets in core-480.img: the areas behind magic and core, and the pages behind 12 areas and their end. */
const vmasAt = 4 + 16384;
const pagesAt = vmasAt + 13 * 64;

/** What is changed, the code of the error, and what its place must name. */
const cases: readonly (readonly [string, Change, string, RegExp])[] = [
  ["a wrong magic", { "core-481.img": poke([0, 4, 0x12345678]) }, "crtools.magic", /core-481.*magic/],
  ["an empty core", { "core-481.img": cut(0) }, "crtools.magic", /core-481/],
  ["a wrong version", { "core-480.img": poke([4, 2, 2]) }, "core.version", /core-480.*core\.header\.version/],
  ["a wrong architecture", { "core-480.img": poke([6, 2, 3]) }, "core.arch", /core\.header\.arch/],
  ["a core cut off in the core entry", { "core-480.img": cut(4000) }, "core.short", /core-480.* core/],
  ["areas without an end", { "core-480.img": cut(vmasAt + 3 * 64 + 5) }, "vma.end", /vmas\[3\]/],
  ["an area that ends before it starts", { "core-480.img": poke([vmasAt + 8, 8, 0x300000]) }, "vma.range", /vmas\[0\]\.end/],
  ["areas that overlap", { "core-480.img": poke([vmasAt + 64, 8, 0x3ff000n]) }, "vma.range", /vmas\[1\]\.start/],
  ["an area above user space", { "core-480.img": poke([vmasAt + 8, 8, 0xffff_8000_0000_0000n]) }, "vma.range", /vmas\[0\]\.end/],
  ["an area at an odd address", { "core-480.img": poke([vmasAt, 8, 0x400001]) }, "vma.range", /vmas\[0\]/],
  ["an odd file offset", { "core-480.img": poke([vmasAt + 16, 8, 7]) }, "vma.range", /vmas\[0\]\.pgoff/],
  ["pages without an end", { "core-480.img": (bytes) => bytes.subarray(0, bytes.length - 4104) }, "pages.end", /pages\[18\]/],
  ["a page outside all areas", { "core-480.img": poke([pagesAt, 8, 0x1000]) }, "pages.outside", /pages\[0\]\.va/],
  ["a page in the kernel", { "core-480.img": poke([pagesAt, 8, 1n << 63n]) }, "pages.address", /pages\[0\]\.va/],
  ["a page at an odd address", { "core-480.img": poke([pagesAt, 8, 0x400010]) }, "pages.address", /pages\[0\]\.va/],
  ["a page twice", { "core-480.img": poke([pagesAt + 4104, 8, 0x400000]) }, "pages.twice", /pages\[1\]\.va/],
  ["a shared page outside all areas", { "pages-shmem-482.img": poke([4, 8, 0x5000]) }, "pages.outside", /pages-shmem-482/],
  ["an empty tree", { "pstree-480.img": words(pstreeMagic) }, "crtools.pstree", /pstree/],
  ["a tree with a cycle", { "pstree-480.img": words(pstreeMagic, 480, 1, 481, 481, 1, 480) }, "crtools.pstree", /children/],
  ["a process that is its own child", { "pstree-480.img": words(pstreeMagic, 480, 1, 480) }, "crtools.pstree", /children/],
  ["a child of two parents", { "pstree-480.img": words(pstreeMagic, 480, 2, 481, 482, 481, 1, 482, 482, 0) }, "crtools.pstree", /children/],
  ["a process twice", { "pstree-480.img": words(pstreeMagic, 480, 0, 480, 0) }, "crtools.pstree", /pstree\[1\]\.pid/],
  ["a child without an entry", { "pstree-480.img": words(pstreeMagic, 480, 1, 481) }, "crtools.pstree", /children/],
  ["a process outside the tree", { "pstree-480.img": words(pstreeMagic, 480, 0, 481, 0) }, "crtools.pstree", /pstree\[1\]/],
  ["pid 0", { "pstree-480.img": words(pstreeMagic, 480, 1, 0, 0, 0) }, "crtools.pid", /pstree\[0\]/],
  ["a pid above all pids", { "pstree-480.img": words(pstreeMagic, 480, 1, 0x80000000, 0x80000000, 0) }, "crtools.pid", /pstree\[0\]/],
  ["an absurd number of children", { "pstree-480.img": words(pstreeMagic, 480, 0xffffffff) }, "bytes.count", /pstree\[0\]/],
  ["another root than the name says", { "pstree-480.img": words(pstreeMagic, 481, 0) }, "crtools.pstree", /pstree\[0\]\.pid/],
  ["a process without files", { "core-482.img": () => undefined }, "crtools.missing", /core-482/],
  ["a process without descriptors", { "fdinfo-481.img": () => undefined }, "crtools.missing", /fdinfo-481/],
  [
    "a path that is not absolute",
    { "fdinfo-480.img": (bytes) => replaced(bytes, "/opt/demo/run", "../opt/de/run") },
    "crtools.path",
    /fdinfo\[0\]\.path/,
  ],
  [
    "a path that climbs",
    { "fdinfo-480.img": (bytes) => replaced(bytes, "/opt/demo/run", "/opt/../de/run".slice(0, 13)) },
    "crtools.path",
    /fdinfo\[0\]\.path/,
  ],
  [
    "a path with NUL",
    { "fdinfo-480.img": (bytes) => replaced(bytes, "/opt/demo/run", "/opt/\0emo/run") },
    "crtools.path",
    /fdinfo\[0\]\.path/,
  ],
  ["a path longer than the file", { "fdinfo-480.img": (bytes) => bytes.subarray(0, bytes.length - 3) }, "bytes.count", /fdinfo\[4\]/],
  [
    "a third kind of fdinfo",
    { "fdinfo-480.img": (bytes) => Buffer.concat([bytes.subarray(0, 4), Buffer.of(3), bytes.subarray(5)]) },
    "crtools.fdinfo",
    /fdinfo\[0\]\.type/,
  ],
  ["an absurd descriptor", { "fdinfo-480.img": poke([12, 8, 0xffff_ffff_ffff_ffffn]) }, "crtools.fdinfo", /fdinfo\[0\]\.addr/],
  ["an absurd number of bytes in a pipe", { "pipes-480.img": poke([16, 4, 0xffff_fff0]) }, "bytes.count", /pipes\[0\]/],
  ["a descriptor of a pipe twice", { "pipes-482.img": poke([20, 4, 5]) }, "crtools.pipes", /pipes\[1\]\.fd/],
  ["shared memory that ends before it starts", { "shmem-480.img": poke([12, 8, 1]) }, "crtools.shmem", /shmem\[0\]\.end/],
];

function replaced(bytes: Buffer, from: string, to: string): Buffer {
  const copy = Buffer.from(bytes);
  const at = copy.indexOf(from);
  assert.ok(at > 0 && from.length === to.length);
  copy.write(to, at, "latin1");
  return copy;
}

for (const [what, change, code, place] of cases) {
  test(`crtools: ${what} is refused, with its place`, async (t) => {
    const folder = changedSet(t, change);
    await assert.rejects(crtools.read?.(folder, {}) ?? Promise.resolve(), (error) => {
      assert.ok(error instanceof CrimgError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(`${error.source} ${error.offset} ${error.path}`, place);
      assert.equal(error.format, "crtools");
      return true;
    });
  });
}

test("a set of several trees, or without one, asks for a process", async (t) => {
  const folder = changedSet(t, { "pstree-480.img": () => undefined });
  await assert.rejects(crtools.read?.(folder, {}) ?? Promise.resolve(), /tree is not known/);
  const one = await crtools.read?.(folder, { pid: 482 });
  t.after(() => one?.close());
  assert.deepEqual(
    one?.tables.tasks.map(({ pid }) => pid),
    [482],
  );
  await assert.rejects(crtools.read?.(folder, { pid: 7 }) ?? Promise.resolve(), /no process 7/);
});

test("a set without its working file is whole, and is written without it", async (t) => {
  const folder = changedSet(t, { "pages-481.img": () => undefined });
  const checkpoint = await crtools.read?.(folder, {});
  t.after(() => checkpoint?.close());
  assert.equal(checkpoint?.tables.tasks.length, 3);
});

/** Changes of a v1 image: tree3's 480.elf has 12 areas, so 14 headers. */
const coreHeaderAt = 64 + 12 * 56;
const elfCases: readonly (readonly [string, (bytes: Buffer) => Uint8Array, string, RegExp])[] = [
  ["another type", poke([16, 2, 2]), "v1.type", /16.*e_type/],
  ["another machine", poke([18, 2, 3]), "v1.machine", /e_machine/],
  ["too many headers", poke([56, 2, 1171]), "v1.segments", /e_phnum/],
  ["headers of another size", poke([54, 2, 32]), "elf.entry_size", /program_headers/],
  ["no core", poke([coreHeaderAt, 4, 1]), "v1.segments", /program_headers/],
  ["two cores", poke([coreHeaderAt + 56, 4, 0x61010103]), "v1.segments", /program_headers/],
  ["no pages", poke([coreHeaderAt + 56, 4, 1]), "v1.segments", /program_headers/],
  ["an area behind another header", poke([64, 4, 1]), "v1.order", /program_headers\[1\]/],
  ["a core of another size", poke([coreHeaderAt + 32, 8, 16000]), "v1.size", /p_filesz/],
  ["an area of another size", poke([64 + 32, 8, 65]), "v1.size", /program_headers\[0\]\.p_filesz/],
  ["a core behind the end", poke([coreHeaderAt + 8, 8, 1n << 60n]), "bytes.short", /program_headers\[12\]/],
  ["pages cut off", (bytes) => bytes.subarray(0, bytes.length - 4104), "bytes.short", /program_headers\[13\]/],
  ["a header table behind the end", poke([32, 8, 1n << 62n]), "bytes.short", /program_headers/],
  [
    "no pid anywhere",
    (bytes) => poke(...Array.from({ length: 12 }, (_none, vma) => [64 + 14 * 56 + vma * 64 + 36, 4, 0] as const))(bytes),
    "v1.pid",
    /vmas/,
  ],
];

for (const [what, change, code, place] of elfCases) {
  test(`ckpt-elf-v1: ${what} is refused, with its place`, async (t) => {
    const path = join(scratch(t), "image");
    writeFileSync(path, change(readFileSync(join(set2011("tree3"), "elf/480.elf"))));
    await assert.rejects(ckptElfV1.read?.(path, {}) ?? Promise.resolve(), (error) => {
      assert.ok(error instanceof CrimgError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(`${error.source} ${error.offset} ${error.path}`, place);
      return true;
    });
  });
}

test("whatever single byte is changed, a set gives a checkpoint or a located error", async (t) => {
  const folder = scratch(t);
  const files = imagesOf("tiny-sleep");
  const originals = new Map(files.map((file) => [file, readFileSync(join(set2011("tiny-sleep"), file))]));
  for (const [file, bytes] of originals) writeFileSync(join(folder, file), bytes);
  let state = 20111014;
  const random = (below: number): number => (state = (state * 1103515245 + 12345) % 2147483648) % below;
  for (let round = 0; round < 400; round++) {
    const file = files[random(files.length)] ?? "";
    const bytes = Buffer.from(originals.get(file) ?? []);
    if (bytes.length === 0) continue;
    // Headers, areas and the first pages: where structure is.
    bytes[random(Math.min(bytes.length, 18000))] = random(256);
    writeFileSync(join(folder, file), bytes);
    try {
      (await crtools.read?.(folder, {}))?.close();
    } catch (error) {
      assert.ok(error instanceof CrimgError, `round ${round}, ${file}: ${String(error)}`);
    }
    writeFileSync(join(folder, file), originals.get(file) ?? "");
  }
});
