// SPDX-License-Identifier: Apache-2.0
/** What the addon finds out in one go, against what is found out piece by piece. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { isDeepStrictEqual } from "node:util";
import { readMappings } from "../../src/dump/smaps.js";
import { addressOf, BackgroundRead, extentKind, fcntlCommand, findExtents, tryFcntl } from "../../src/native/index.js";

const page = 4096;

/** What is known of descriptors before they are looked at: their order, and whether another thread begins with it. */
type Order = "none" | "right" | "wrong" | "begun" | "begun, mixed" | "begun, one more" | "begun, one less" | "begun, another";

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

test("all descriptors are looked at, and copies of one are the same", () => {
  const folder = mkdtempSync(join(tmpdir(), "crimg-test-"));
  const fds: number[] = [];
  // In a process of its own: what this one opens meanwhile would be seen.
  const look = (order: Order): string =>
    execFileSync(
      process.execPath,
      [
        "--input-type=module",
        "-e",
        `import { DescriptorOrder, lookAtDescriptors } from ${JSON.stringify(new URL("../../src/native/index.js", import.meta.url).href)};
         const order = ${order === "none"} ? undefined : new DescriptorOrder(${process.pid}, 750);
         while (order?.ranks.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
         if (${order === "wrong"}) order.ranks.reverse();
         const most = order === undefined ? 0 : Math.max(...order.ranks);
         if (${order === "begun, mixed"}) for (const [fd, rank] of order.ranks.entries()) if (rank > 0) order.ranks[fd] = most + 1 - rank;
         if (${order === "begun, one more"}) order.ranks[order.ranks.indexOf(0, 3)] = 1;
         if (${order === "begun, another"}) {
           order.ranks[order.ranks.indexOf(0, 3)] = 1;
           order.ranks[order.ranks.findLastIndex((rank) => rank > 0)] = 0;
         }
         if (${order === "begun, one less"}) order.ranks[order.ranks.findLastIndex((rank) => rank > 0)] = 0;
         if (${order.startsWith("begun")}) order.beginLook(true);
         const looks = lookAtDescriptors([${process.pid}], order);
         looks.awaitSame();
         const rows = Array.from({ length: looks.count }, (_, row) =>
           [looks.process(row), looks.fd(row), looks.fd(looks.alike(row)), looks.fd(looks.same(row)), looks.copied(row),
            looks.flags(row), looks.link(row), /^pos:\\t(\\d+)$/m.exec(looks.info(row))?.[1], looks.owner(row)?.[1]]);
         console.log(JSON.stringify(rows));`,
      ],
      { encoding: "utf8" },
    );
  try {
    const name = join(folder, "file");
    writeFileSync(name, "0123456789");
    for (let index = 0; index < 400; index++) fds.push(openSync(name, "r"));
    const copies = fds.slice(0, 300).map((fd) => tryFcntl(fd, fcntlCommand.DUPFD_CLOEXEC, 0));
    fds.push(...copies);
    const moved = openSync(name, "r");
    fds.push(moved);
    readSync(moved, Buffer.alloc(3));
    type Row = [number, number, number, number, number, number, string, string, number];
    // Pipes to the process that looks come and go.
    const lookAtFiles = (order: Order): readonly Row[] => (JSON.parse(look(order)) as Row[]).filter(([, fd]) => fds.includes(fd));
    const rows = lookAtFiles("none");
    assert.ok(isDeepStrictEqual(lookAtFiles("right"), rows), "an order from before changes nothing");
    assert.ok(isDeepStrictEqual(lookAtFiles("wrong"), rows), "nor does a wrong one");
    for (const order of ["begun", "begun, mixed", "begun, one more", "begun, one less", "begun, another"] as const) {
      assert.ok(isDeepStrictEqual(lookAtFiles(order), rows), `nor does another thread that has begun before: ${order}`);
    }
    const found = new Map(rows.map((row) => [row[1], row]));
    assert.deepEqual(
      [...found.keys()],
      [...found.keys()].sort((a, b) => a - b),
    );
    const least = Math.min(...fds.slice(0, 400));
    for (const [index, fd] of fds.entries()) {
      const [owner, , alike, same, copied, flags, link, pos, who] = found.get(fd) as Row;
      assert.deepEqual([owner, copied, link, who], [0, 0, name, 0]);
      assert.equal(flags & 3, 0);
      assert.equal(pos, fd === moved ? "3" : "0");
      assert.equal(alike, fd === moved ? moved : least, "those of one file tell the same");
      const original = index >= 400 && fd !== moved ? (fds[index - 400] as number) : fd;
      const all = [original, copies[fds.indexOf(original)] ?? original];
      assert.equal(same, Math.min(...all), "a copy is what it is a copy of");
    }
  } finally {
    for (const fd of fds) closeSync(fd);
    rmSync(folder, { recursive: true });
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
