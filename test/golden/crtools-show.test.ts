// SPDX-License-Identifier: Apache-2.0
/** Everything that the original `crtools -s` printed of a set is in what `crimg show` prints. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { format as crtools } from "../../formats/crtools/index.js";
import { collect, renderText } from "../../src/ops/show.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { readFor, set2011, sets2011 } from "../support/fixtures-2011.js";

/** The part of show.txt about one file. */
function sections(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const part of text.split(/^CR_FD_/m).slice(1)) {
    const name = /^\w+: (\S+)/.exec(part)?.[1];
    if (name !== undefined) found.set(name, part);
  }
  return found;
}

function show(checkpoint: Checkpoint, section: "overview" | "regs" | "maps" | "pages" | "pipes" | "files" | "fds", pid?: number): string {
  return renderText(collect(checkpoint, { source: "set", format: "crtools", section, ...(pid === undefined ? {} : { pid }) }), {
    color: false,
  });
}

for (const set of sets2011) {
  test(`${set}: what crtools -s printed`, async (t) => {
    const checkpoint = await readFor(t, crtools, set2011(set));
    const text = sections(readFileSync(join(set2011(set), "show.txt"), "utf8"));
    for (const [file, part] of text) {
      const [kind, pid] = [/^[a-z-]+(?=-)/.exec(file)?.[0], Number(/\d+/.exec(file)?.[0])];
      if (kind === "core") checkCore(checkpoint, pid, part);
      if (kind === "pipes") checkPipes(checkpoint, pid, part);
      if (kind === "fdinfo") checkFdinfo(checkpoint, pid, part);
      if (kind === "pstree") checkTree(checkpoint, part);
    }
  });
}

function checkTree(checkpoint: Checkpoint, part: string): void {
  const printed = show(checkpoint, "overview");
  for (const [, pid, children] of part.matchAll(/^Process (\d+) number of children: (\d+)/gm)) {
    const task = checkpoint.taskIndexOf(Number(pid));
    assert.ok(task !== undefined);
    assert.equal(checkpoint.childrenOf(task).length, Number(children));
    assert.match(printed, new RegExp(`^ .*\\b${pid} `, "m"));
  }
}

function checkCore(checkpoint: Checkpoint, pid: number, part: string): void {
  const regs = show(checkpoint, "regs", pid);
  const registers = part.slice(0, part.indexOf("TLS area"));
  for (const [, name, value] of registers.matchAll(/\b(\w+):\s+([0-9a-f]+)/g)) {
    if (name === undefined || value === undefined || name === "PSTREE" || name === "CORE") continue;
    assert.match(regs, new RegExp(`\\b${name}\\s+${value}\\b`), `register ${name} of ${pid}`);
  }
  for (const [, a, b] of part.matchAll(/^tls\[ \d\] = ([0-9a-f]+) ([0-9a-f]+)$/gm)) assert.match(regs, new RegExp(`tls: .*${a} ${b}`));

  const overview = show(checkpoint, "overview", pid);
  const isSpoilt = part.includes("Start code:   7fffffffffffffff");
  const field = (name: string): string => new RegExp(`${name}:\\s+(.+)`).exec(part)?.[1] ?? "";
  assert.ok(overview.includes(`${pid} (${field("Command")})`), "name");
  // The tool printed the decimal digits of the hexadecimal text as if they were a number.
  assert.ok(overview.includes(`personality ${Number.parseInt(field("Personality"), 16)}`), "personality");
  if (!isSpoilt) {
    const line =
      `code ${field("Start code")}-${field("End code")}  data ${field("Start data")}-${field("End data")}  brk ` +
      `${field("Start brk")}-${field("Brk")}  stack ${field("Start stack")}`;
    assert.ok(overview.includes(line), line);
  }
  checkMaps(show(checkpoint, "maps", pid), part);
  checkPages(checkpoint, pid, part);
}

function checkMaps(maps: string, part: string): void {
  const lines = [
    ...part.matchAll(
      /^s:\s+(\w+) e:\s+(\w+) l:\s*(\w+) p:\s+(\w+) f:\s+(\w+) pg:\s+(\w+) fd:\s+-1 pid:\s+\d+ dev:\S+ vf: (\w) st: (\w+) spc: (\w+)/gm,
    ),
  ];
  assert.ok(lines.length > 0);
  for (const [, start, end, , prot, flags, offset, regular, status, special] of lines) {
    const printed = maps.split("\n").find((line) => line.includes(`${start}-${end}`));
    assert.ok(printed, `${start}-${end}`);
    const bits = Number(prot);
    const letters = `${bits & 1 ? "r" : "-"}${bits & 2 ? "w" : "-"}${bits & 4 ? "x" : "-"}${flags === "1" ? "s" : "p"}`;
    assert.match(printed, new RegExp(`${start}-${end}\\s+${letters}\\s+${offset}\\s`));
    // crtools printed "vf: y" for every area, the unmapped ones too.
    assert.equal(regular, "y");
    assert.ok(printed.includes(special === "n" ? `${status}` : `${status} ${special}`), `${printed}: ${status} ${special}`);
  }
}

function checkPages(checkpoint: Checkpoint, pid: number, part: string): void {
  const printed = show(checkpoint, "pages", pid);
  const ranges = [...printed.matchAll(/^\s*([0-9a-f]+)-([0-9a-f]+)\s/gm)].map(
    ([, start, end]) => [BigInt(`0x${start}`), BigInt(`0x${end}`)] as const,
  );
  for (const [, va] of part.matchAll(/^page va:\s+(\w+)/gm)) {
    const address = BigInt(`0x${va}`);
    assert.ok(
      ranges.some(([start, end]) => start <= address && address < end),
      `page ${va} of ${pid}`,
    );
  }
}

function checkPipes(checkpoint: Checkpoint, pid: number, part: string): void {
  const printed = show(checkpoint, "pipes");
  for (const [, fd, id, flags, bytes] of part.matchAll(/^fd:\s+(\w+) pipeid:\s+(\w+) flags:\s+(\w+) bytes:\s+(\w+)/gm)) {
    const line = printed.split("\n").find((one) => one.includes(`pipe:[${Number.parseInt(id ?? "", 16)}]`));
    assert.ok(line, `pipe ${id}`);
    const isReader = (Number.parseInt(flags ?? "", 16) & 3) === 0;
    const columns = line.trim().split(/\s{2,}/);
    assert.match((isReader ? columns[4] : columns[5]) ?? "", new RegExp(`\\b${pid}: .*\\b${Number.parseInt(fd ?? "", 16)}\\b`));
    if (isReader) assert.equal(columns[2], String(Number.parseInt(bytes ?? "", 16)));
  }
}

function checkFdinfo(checkpoint: Checkpoint, pid: number, part: string): void {
  const files = show(checkpoint, "files", pid);
  const maps = show(checkpoint, "maps", pid);
  for (const [, type, , pos, addr, path] of part.matchAll(/^type: (\w+) len: \w+ flags:\s+(\w+) pos:\s+(\w+) addr:\s+(\w+) --> (.+)$/gm)) {
    if (type === "01") {
      const line = files
        .split("\n")
        .find((one) => one.includes(path ?? "?") && new RegExp(`\\b${pid}: (.*\\b)?${Number.parseInt(addr ?? "", 16)}\\b`).test(one));
      assert.ok(line, `descriptor ${addr} of ${pid}`);
      assert.match(line, new RegExp(`\\s${Number.parseInt(pos ?? "", 16)}\\s+${pid}:`));
    } else {
      assert.match(maps, new RegExp(`^\\s*${addr}-.*${path}`, "m"));
    }
  }
}
