// SPDX-License-Identifier: Apache-2.0
/** Programs with AMX tiles: permission, room for the tiles, and only then the registers. No processor with AMX is needed. */
import assert from "node:assert/strict";
import test from "node:test";
import { checkpointRow, emptyTables, mmRow, taskRow, threadRow, vmaRow } from "../../src/gen/tables.js";
import { lowerCheckpoint } from "../../src/lower/lower.js";

import { Checkpoint } from "../../src/model/checkpoint.js";
import { RestoreProgram } from "../../src/ops/explain/program.js";

const xtile = 3n << 17n;
const none = (): undefined => undefined;

/** A thread's area; `used` is its xstate_bv. */
function area(used: bigint): Uint8Array {
  const bytes = Buffer.alloc(2816 + 8192);
  bytes.writeBigUInt64LE(0xe7n | xtile, 464);
  bytes.writeBigUInt64LE(used, 512);
  return bytes;
}

/** What a program says of its ops, in order, of two threads with these components in use. */
function messages(...used: readonly bigint[]): string {
  const tables = emptyTables();
  const xcompPerm = used.some((bits) => (bits & xtile) !== 0n) ? 0xe7n | xtile : 0xe7n;
  tables.checkpoint.push(checkpointRow({ xfeatures: 0xe7n | xtile }));
  tables.tasks.push(taskRow({ pid: 7, sid: 7, pgid: 7, mm: 0, state: "running", xcompPerm }));
  tables.mms.push(mmRow({ dumpable: 1, startStack: 0x7ffd_0000_0000n }));
  tables.vmas.push(vmaRow({ mm: 0, kind: "anon_private", start: 0x500000n, end: 0x501000n, prot: 3 }));
  used.forEach((bits, index) =>
    tables.threads.push(threadRow({ task: 0, tid: 7 + index, comm: "tiles", altstackFlags: 2, xstate: area(bits) })),
  );
  const linked = lowerCheckpoint(new Checkpoint({ tables, sources: [] }), {
    codeSize: 0x3000n,
    codeSyscallOffset: 0x1000n,
    codeChecksum: 0,
    lowerDescriptors: () => ({
      openFiles: none,
      placeDescriptors: none,
      finishDescriptors: none,
      controllingTerminal: none,
      finishThread: none,
      mapped: none,
      hasSettling: false,
      settle: none,
    }),
  });
  const program = new RestoreProgram(linked.bytes, "generated");
  return [...program.steps()].map(({ op, id }) => program.text(op.message, id)).join("\n");
}

test("a thread with tiles uses one before it is given them, when its process may, and nobody else does", () => {
  const text = messages(0xe7n, 0xe7n | xtile);
  const order = [
    /^make the code that uses a tile executable$/m,
    /^ask for permission to use AMX$/m,
    /^make thread 8 .* call getpid, after it has used a tile$/m,
    /^make thread 7 .* call munmap of the hole$/m,
    /^give thread 8 .* its extended registers$/m,
  ].map((message) => text.search(message));
  assert.ok(
    order.every((at) => at >= 0),
    text,
  );
  assert.deepEqual(
    order,
    [...order].sort((a, b) => a - b),
  );
  assert.doesNotMatch(text, /thread 7 .* used a tile/);
});

test("without tiles nothing is asked for", () => {
  assert.doesNotMatch(messages(0xe7n, 3n), /AMX|uses? a tile|used a tile/);
});
