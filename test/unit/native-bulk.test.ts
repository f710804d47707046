// SPDX-License-Identifier: Apache-2.0
/** What the addon finds out in one go, against what is found out piece by piece. */
import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import fc from "fast-check";
import { readMappings } from "../../src/dump/smaps.js";
import { ExtentCursor, firstEndingAfter } from "../../src/lower/page-loading.js";
import { addressOf, BackgroundRead, close, extentKind, fcntlCommand, findExtents, tryFcntl, tryFindFile } from "../../src/native/index.js";

const page = 4096;

test("pages of private memory are found, within their mappings, ascending", () => {
  const touched = Buffer.allocUnsafeSlow(64 * page);
  const first = (addressOf(touched) + BigInt(page - 1)) & -BigInt(page);
  const at = Number(first - addressOf(touched));
  for (const index of [3, 4, 9]) touched[at + index * page] = 1;
  const mappings = readMappings(process.pid);
  const { table } = mappings[0] ?? assert.fail("no mappings");
  const pagemap = openSync("/proc/self/pagemap", "r");
  try {
    const kinds = Uint8Array.from(mappings, ({ text }) => (text === "[vsyscall]" ? extentKind.noPlace : extentKind.stored));
    const found = findExtents(pagemap, table.rows, kinds);
    assert.ok(typeof found !== "number");
    let end = 0n;
    const pages = new Set<bigint>();
    for (let index = 0; index < found.runs.length; index += 2) {
      const [from = 0n, to = 0n] = found.runs.subarray(index, index + 2);
      assert.ok(from >= end && to > from);
      end = to;
      assert.ok(mappings.some((mapping) => mapping.start <= from && to <= mapping.end));
      if (to > first && from < first + 64n * BigInt(page)) for (let one = from; one < to; one += BigInt(page)) pages.add(one);
    }
    const word = Buffer.alloc(8);
    for (let index = 0n; index < 60n; index++) {
      const address = first + index * BigInt(page);
      readSync(pagemap, word, 0, 8, (address / BigInt(page)) * 8n);
      assert.equal(pages.has(address), word.readBigUInt64LE() >> 62n !== 0n, `page ${index}`);
    }
    const nothing = findExtents(
      pagemap,
      table.rows,
      kinds.map((kind) => (kind === extentKind.noPlace ? kind : extentKind.none)),
    );
    assert.ok(typeof nothing !== "number" && nothing.runs.length === 0);
  } finally {
    closeSync(pagemap);
  }
});

test("mappings are what smaps says", () => {
  const lines = readFileSync("/proc/self/maps", "latin1").trim().split("\n");
  const mappings = readMappings(process.pid);
  const stack = mappings.find(({ text }) => text === "[stack]");
  assert.ok(stack?.isReadable && stack.isWritable && !stack.isShared);
  assert.ok(lines.some((line) => line.startsWith(`${stack.start.toString(16)}-`) && line.endsWith("[stack]")));
  const { code, writable, flags } = stack.table.summary;
  assert.deepEqual(
    [...code],
    mappings.flatMap((mapping) => (mapping.isReadable && mapping.isExecutable ? [mapping.index] : [])),
  );
  for (const { start, end, vmFlags, isReadable, isWritable } of mappings) {
    assert.equal(vmFlags & ~flags, 0n);
    const isIn = Array.from({ length: writable.length / 2 }, (_, index) => index * 2).some(
      (index) => (writable[index] ?? 0n) <= start && end <= (writable[index + 1] ?? 0n),
    );
    assert.equal(isIn, isReadable && isWritable);
  }
});

test("a descriptor is found among others by the order of kcmp", () => {
  const files = Array.from({ length: 20 }, () => openSync("/proc/self/status", "r"));
  const copies = files.map((fd) => tryFcntl(fd, fcntlCommand.DUPFD_CLOEXEC, 0));
  try {
    const sorted = new Int32Array(files.length);
    files.forEach((fd, count) => {
      const found = tryFindFile(sorted, count, fd);
      assert.ok(typeof found !== "number" && !found.isSame);
      sorted.copyWithin(found.at + 1, found.at, count);
      sorted[found.at] = fd;
    });
    copies.forEach((copy, index) => {
      const found = tryFindFile(sorted, files.length, copy);
      assert.ok(typeof found !== "number" && found.isSame);
      assert.equal(sorted[found.at], files[index]);
    });
    assert.equal(tryFindFile(sorted, files.length, 0x7fff_0000), -9);
  } finally {
    for (const fd of files) closeSync(fd);
    for (const fd of copies) close(fd);
  }
});

test("a file that another thread reads is read whole, and a missing one is missing", () => {
  const folder = mkdtempSync(join(tmpdir(), "crimg-test-"));
  try {
    const path = join(folder, "file");
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, index) => index & 0xff));
    writeFileSync(path, bytes);
    assert.deepEqual(new BackgroundRead(path, 100_000).result(), bytes);
    assert.deepEqual(new BackgroundRead(path, 1000).result(), bytes, "where there is no room it is read again");
    assert.equal(new BackgroundRead(join(folder, "none"), 1000).result(), undefined);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a cursor finds what a search finds", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.bigInt(0n, 5n), fc.bigInt(1n, 5n)), { maxLength: 20 }),
      fc.array(fc.bigInt(0n, 120n), { maxLength: 30 }),
      (gaps, addresses) => {
        let end = 0n;
        const extents = gaps.map(([gap, length]) => {
          const address = end + gap;
          end = address + length;
          return { address, length };
        });
        const cursor = new ExtentCursor(extents);
        for (const address of addresses) assert.equal(cursor.endingAfter(address), extents[firstEndingAfter(extents, address)]);
      },
    ),
  );
});
