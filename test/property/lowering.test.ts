// SPDX-License-Identifier: Apache-2.0
/** Laws of lowering, for generated trees and address spaces; no kernel is asked. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import {
  credRow,
  emptyTables,
  extentRow,
  mmRow,
  objectRow,
  taskRow,
  threadRow,
  vmaRow,
  checkpointRow,
  type MutableTables,
  type VmaRow,
} from "../../src/gen/tables.js";
import { type Op, argModeValues, opFlagsBits, opKindNames } from "../../src/gen/restore-program.js";
import type { DescriptorLowering } from "../../src/lower/context.js";
import { lowerCheckpoint } from "../../src/lower/lower.js";
import { firstLocalSlot, numLocalSlots } from "../../src/lower/operands.js";
import { nr, type SyscallName } from "../../src/linux/syscall-numbers.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { RestoreProgram } from "../../src/ops/explain/program.js";
import { Mappings } from "../support/restore-model/memory.js";

const page = 4096n;
const noDescriptors: DescriptorLowering = {
  openFiles: () => undefined,
  placeDescriptors: () => undefined,
  finishDescriptors: () => undefined,
  controllingTerminal: () => undefined,
  mapped: () => undefined,
  finishThread: () => undefined,
  hasSettling: false,
  settle: () => undefined,
};

/** A mapping as (pages of gap before it, pages long, kind, protection, which of its pages are stored). */
const mappingArbitrary = fc.record({
  gap: fc.integer({ min: 0, max: 40 }),
  pages: fc.integer({ min: 1, max: 12 }),
  kind: fc.constantFrom("anon_private", "anon_shared", "file_private", "file_shared" as const),
  prot: fc.integer({ min: 0, max: 7 }),
  stored: fc.array(fc.boolean(), { maxLength: 12 }),
});
const spaceArbitrary = fc.record({
  start: fc.integer({ min: 16, max: 5000 }),
  mappings: fc.array(mappingArbitrary, { minLength: 1, maxLength: 12 }),
});
/** Trees as the parent of each task but the first, and how its session and group are made. */
const treeArbitrary = fc.record({
  spaces: fc.array(spaceArbitrary, { minLength: 1, maxLength: 5 }),
  parents: fc.array(fc.nat(), { minLength: 5, maxLength: 5 }),
  leads: fc.array(fc.constantFrom("session", "group", "neither" as const), { minLength: 5, maxLength: 5 }),
  threads: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 5, maxLength: 5 }),
});
type Tree = typeof treeArbitrary extends fc.Arbitrary<infer Value> ? Value : never;

function checkpointOf(tree: Tree): Checkpoint {
  const tables = emptyTables();
  tables.checkpoint.push(checkpointRow({ rootTask: 0 }));
  tables.creds.push(credRow({ uid: 5, euid: 5, suid: 5 }));
  tables.objects.push(
    objectRow({ kind: "file", path: "/bin/x", size: 99n, mtimeNs: 5n }),
    objectRow({ kind: "shared_memory", size: 16n * page }),
  );
  let fileOffset = page * 3n;
  tree.spaces.forEach((space, task) => {
    const pid = 100 + task * 10;
    const parent = task === 0 ? null : (tree.parents[task] ?? 0) % task;
    const above = parent === null ? undefined : tables.tasks[parent];
    const lead = task === 0 ? "session" : tree.leads[task];
    tables.tasks.push(
      taskRow({
        pid,
        parent,
        mm: task,
        state: "running",
        exitSignal: 17,
        sid: lead === "session" ? pid : (above?.sid ?? pid),
        pgid: lead === "neither" ? (above?.pgid ?? pid) : pid,
      }),
    );
    for (let thread = 0; thread < (tree.threads[task] ?? 1); thread++) {
      tables.threads.push(threadRow({ task, tid: pid + thread, comm: `t${task}`, creds: 0, schedPolicy: "other", altstackFlags: 2 }));
    }
    tables.mms.push(mmRow({ dumpable: 1, startStack: 0x7ffd_0000_0000n }));
    fileOffset = addSpace(tables, task, space, fileOffset);
  });
  return new Checkpoint({ tables, sources: [] });
}

function addSpace(tables: MutableTables, mm: number, space: Tree["spaces"][number], firstOffset: bigint): bigint {
  let at = BigInt(space.start) * page;
  let fileOffset = firstOffset;
  for (const { gap, pages, kind, prot, stored } of space.mappings) {
    const start = at + BigInt(gap) * page;
    at = start + BigInt(pages) * page;
    const object = kind === "anon_private" ? null : kind === "anon_shared" ? 1 : 0;
    tables.vmas.push(vmaRow({ mm, kind, start, end: at, prot, object, offset: 0n }));
    if (kind !== "anon_private" && kind !== "file_private") continue;
    stored.slice(0, pages).forEach((isStored, index) => {
      if (!isStored) return;
      tables.extents.push(
        extentRow({ ownerKind: "mm", owner: mm, address: start + BigInt(index) * page, length: page, fileOffset, source: 0 }),
      );
      fileOffset += page;
    });
  }
  return fileOffset;
}

function lower(checkpoint: Checkpoint): RestoreProgram {
  const linked = lowerCheckpoint(checkpoint, {
    codeSize: 3n * page,
    codeSyscallOffset: page,
    codeChecksum: 0,
    lowerDescriptors: () => noDescriptors,
  });
  return new RestoreProgram(linked.bytes, "generated");
}

const nameOf: ReadonlyMap<number, string> = new Map(Object.entries(nr).map(([name, number]) => [number, name]));
function isCall(op: Op, ...names: SyscallName[]): boolean {
  return opKindNames.get(op.kind) === "syscall" && names.includes(nameOf.get(op.nr) as SyscallName);
}
function isLoad(op: Op): boolean {
  return opKindNames.get(op.kind) === "load";
}
function argument(op: Op, index: number): bigint {
  return op.args[index] ?? 0n;
}
function opsOf(program: RestoreProgram, subject: string): Op[] {
  return program.ops.filter((op) => program.text(op.subject) === subject);
}
function law(check: (checkpoint: Checkpoint, program: RestoreProgram) => void): void {
  fc.assert(
    fc.property(treeArbitrary, (tree) => {
      const checkpoint = checkpointOf(tree);
      check(checkpoint, lower(checkpoint));
    }),
    { numRuns: 150 },
  );
}

interface Made {
  readonly start: bigint;
  readonly length: bigint;
  readonly prot: number;
}

/** What the ops of a task map: address, length, and the protection that stands in the end. Nothing is mapped twice. */
function mappedBy(program: RestoreProgram, ops: readonly Op[]): Made[] {
  const mapped = new Mappings();
  const add = (start: bigint, length: bigint, prot: number): void => {
    assert.ok(!mapped.overlaps(start, start + length), `${start.toString(16)} is free`);
    mapped.add({ start, end: start + length, prot, isShared: false, file: "" });
  };
  const protect = (start: bigint, end: bigint, prot: bigint): void => {
    assert.ok(mapped.covers(start, end), `what is protected at ${start.toString(16)} is mapped`);
    mapped.protect(start, end, Number(prot));
  };
  for (const op of ops) {
    if (isCall(op, "mmap")) add(argument(op, 0), argument(op, 1), Number(argument(op, 2)));
    if (isCall(op, "mremap")) add(argument(op, 4), argument(op, 2), 3);
    if (isCall(op, "mprotect")) protect(argument(op, 0), argument(op, 0) + argument(op, 1), argument(op, 2));
    if (opKindNames.get(op.kind) !== "protect") continue;
    for (let index = 0n; index < argument(op, 1); index++) {
      const view = recordAt(program, argument(op, 0) + index * 16n);
      protect(view.getBigUint64(0, true), view.getBigUint64(8, true), argument(op, 2));
    }
  }
  return mapped.list.map(({ start, end, prot }) => ({ start, length: end - start, prot }));
}

/** A record of 16 bytes at an offset of the data. */
function recordAt(program: RestoreProgram, offset: bigint): DataView {
  const bytes = program.bytes(offset, 16);
  assert.ok(bytes !== undefined);
  return new DataView(bytes.buffer, bytes.byteOffset, 16);
}

test("every mapping is made exactly once, in its place, and ends with its protection", () => {
  law((checkpoint, program) => {
    checkpoint.tables.tasks.forEach((row, task) => {
      const wanted = checkpoint.vmasOf(task).map((index) => checkpoint.tables.vmas[index] as VmaRow);
      const made = mappedBy(program, opsOf(program, `task ${row.pid} (t${task})`));
      assert.deepEqual(
        made,
        wanted.map(({ start, end, prot }) => ({ start, length: end - start, prot })),
      );
    });
  });
});

test("the hole and the staging area are in nobody's way", () => {
  law((checkpoint, program) => {
    const { holeBase, holeSize, addrProgram, addrControl, lenMemory, lenControl } = program.header;
    const staging = program.ops
      .filter((op) => isCall(op, "mmap") && program.text(op.subject) === "")
      .map((op) => [argument(op, 0), argument(op, 0) + argument(op, 1)] as const);
    const taken = [[holeBase, holeBase + holeSize] as const, ...staging];
    for (const { start, end } of checkpoint.tables.vmas) {
      for (const [from, to] of taken) assert.ok(end <= from || start >= to, `${start.toString(16)} overlaps ${from.toString(16)}`);
    }
    assert.ok(addrProgram > holeBase && addrProgram + lenMemory <= addrControl);
    assert.equal(addrControl + lenControl, holeBase + holeSize);
  });
});

test("every stored page is read exactly once, to where it was, while it can be written", () => {
  law((checkpoint, program) => {
    checkpoint.tables.tasks.forEach((row, task) => {
      const ops = opsOf(program, `task ${row.pid} (t${task})`);
      const read: string[] = [];
      for (const op of ops.filter(isLoad)) {
        let offset = argument(op, 3);
        for (let index = 0n; index < argument(op, 2); index++) {
          const view = recordAt(program, argument(op, 1) + index * 16n);
          const [address, length] = [view.getBigUint64(0, true), BigInt(view.getUint32(8, true))];
          for (let at = 0n; at < length; at += page) read.push(`${address + at} from ${offset + at}`);
          offset += length;
        }
      }
      assert.deepEqual(
        read,
        checkpoint.extentsOf({ mm: task }).map(({ address, fileOffset }) => `${address} from ${fileOffset}`),
      );
      const firstRead = ops.findIndex(isLoad);
      const before = mappedBy(program, ops.slice(0, Math.max(firstRead, 0)));
      for (const { address } of checkpoint.extentsOf({ mm: task })) {
        assert.ok(before.some(({ start, length, prot }) => address >= start && address < start + length && (prot & 2) !== 0));
      }
    });
  });
});

test("the command line is where it belongs before a stack is mapped, which a look at the old one would grow", () => {
  const isSetMm = (op: Op): boolean => isCall(op, "prctl") && argument(op, 0) === 35n && argument(op, 1) === 14n;
  law((checkpoint, program) => {
    checkpoint.tables.tasks.forEach((row, task) => {
      const ops = opsOf(program, `task ${row.pid} (t${task})`);
      const firstMapping = ops.findIndex((op) => isCall(op, "mmap", "mremap"));
      assert.ok(ops.findIndex(isSetMm) >= 0 && ops.findIndex(isSetMm) < firstMapping);
    });
  });
});

test("each process and thread is made once, with its own id", () => {
  law((checkpoint, program) => {
    const wanted: number[] = [];
    for (const { op, id } of program.steps()) {
      const kind = opKindNames.get(op.kind);
      const isFork = isCall(op, "clone3") && program.text(op.message).startsWith("make process");
      if (!isFork && kind !== "thread") continue;
      wanted.push(Number(/\d+/.exec(program.text(op.message, id))?.[0]));
    }
    assert.deepEqual(
      wanted.sort((a, b) => a - b),
      checkpoint.tables.threads.map(({ tid }) => tid).sort((a, b) => a - b),
    );
  });
});

test("credentials come last: nothing that needs them follows", () => {
  const harmless = new Set<string>(["setresuid", "setfsuid", "setfsgid", "prctl", "capset"]);
  law((_, program) => {
    const seen = new Set<string>();
    for (const { op, id } of program.steps()) {
      const subject = program.text(op.subject, id);
      if (isCall(op, "setresuid")) seen.add(subject);
      if (subject === "" || !seen.has(subject) || opKindNames.get(op.kind) !== "syscall") continue;
      const name = nameOf.get(op.nr) ?? "";
      // The way for ordinary users sets the ids a second time.
      assert.ok(harmless.has(name) || name === "setresgid", `${name} after credentials of ${subject}`);
    }
    assert.ok(seen.size > 0);
  });
});

test("jumps and data stay inside the program", () => {
  law((_, program) => {
    const { numOps, lenMemory, ofsData, numSlots } = program.header;
    const isSlot = (slot: number): boolean => slot < numSlots || (slot >= firstLocalSlot && slot < firstLocalSlot + numLocalSlots);
    for (const { op } of program.steps()) {
      const kind = opKindNames.get(op.kind);
      assert.ok(kind !== undefined);
      if (kind === "jump" || kind === "thread" || (op.flags & opFlagsBits.else_jump) !== 0) assert.ok(op.target < numOps);
      if (op.store !== 0xffff_ffff) assert.ok(isSlot(op.store));
      op.modes.forEach((mode, index) => {
        const value = argument(op, index);
        if (mode === argModeValues.data || mode === argModeValues.mem4 || mode === argModeValues.mem8)
          assert.ok(ofsData + value < lenMemory);
        if (mode === argModeValues.slot) assert.ok(isSlot(Number(value & 0xffff_ffffn)));
      });
    }
  });
});
