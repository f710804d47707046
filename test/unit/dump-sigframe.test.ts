// SPDX-License-Identifier: Apache-2.0
/** The layout of signal frames (arch/x86/include/uapi/asm/sigcontext.h, ucontext.h). */
import assert from "node:assert/strict";
import test from "node:test";
import { getReg, isRestarting, isSpuriousEintr, rewound, setReg } from "../../src/dump/registers.js";
import { restartedCall } from "../../src/dump/restart.js";
import { buildSignalFrame, signalFrameLength, xstateSize } from "../../src/dump/sigframe.js";
import { parseTimers } from "../../src/dump/timers.js";

function someRegs(fields: Partial<Record<Parameters<typeof getReg>[1], bigint>>): Buffer {
  const regs = Buffer.alloc(216);
  for (const [name, value] of Object.entries(fields)) setReg(regs, name as Parameters<typeof getReg>[1], value);
  return regs;
}

test("a frame holds registers, mask and floating point state where the kernel looks for them", () => {
  const regs = someRegs({ ip: 0x401000n, sp: 0x7ffe0000n, ax: 7n, r15: 15n, cs: 0x33n, ss: 0x2bn, flags: 0x246n });
  const xstate = Buffer.alloc(2696);
  xstate.writeBigUInt64LE(7n, 464);
  xstate.writeBigUInt64LE(7n, 512);
  const address = 0x7ffd1238n;
  const frame = buildSignalFrame(address, 0x55aan, { regs, sigmask: 0x800n, xstate });
  assert.equal(frame.readBigUInt64LE(0), 0x55aan, "return address");
  assert.equal(frame.readBigUInt64LE(8), 7n, "uc_flags");
  assert.equal(frame.readUInt32LE(8 + 24) & ~3, 0x10, "an alternate stack that the kernel skips");
  const machine = 8 + 40;
  assert.equal(frame.readBigUInt64LE(machine + 7 * 8), 15n, "r15");
  assert.equal(frame.readBigUInt64LE(machine + 13 * 8), 7n, "rax");
  assert.equal(frame.readBigUInt64LE(machine + 15 * 8), 0x7ffe0000n, "rsp");
  assert.equal(frame.readBigUInt64LE(machine + 16 * 8), 0x401000n, "rip");
  assert.equal(frame.readUInt16LE(machine + 144), 0x33, "cs");
  assert.equal(frame.readUInt16LE(machine + 150), 0x2b, "ss");
  assert.equal(frame.readBigUInt64LE(8 + 296), 0x800n, "uc_sigmask");
  const fpstate = frame.readBigUInt64LE(machine + 184);
  assert.equal(fpstate % 64n, 0n, "alignment of the floating point state");
  const at = Number(fpstate - address);
  assert.equal(frame.readUInt32LE(at + 464), 0x46505853, "magic 1");
  const size = frame.readUInt32LE(at + 464 + 16);
  assert.equal(size, xstateSize(7n));
  assert.equal(frame.readUInt32LE(at + size), 0x46505845, "magic 2");
  assert.ok(frame.length <= signalFrameLength(xstate));
});

test("AMX tiles never make the frame larger than what the thread may restore", () => {
  assert.equal(xstateSize(7n | (1n << 17n) | (1n << 18n)), xstateSize(7n));
});

test("interrupted calls are told from others", () => {
  assert.ok(isRestarting(someRegs({ ax: -514n, origAx: 34n })));
  assert.ok(!isRestarting(someRegs({ ax: -514n, origAx: -1n })), "not in a call");
  assert.ok(!isRestarting(someRegs({ ax: -4n, origAx: 232n })));
  assert.ok(isSpuriousEintr(someRegs({ ax: -4n, origAx: 232n }), 0n), "epoll_wait");
  assert.ok(!isSpuriousEintr(someRegs({ ax: -4n, origAx: 232n }), 1n), "a signal is there");
  assert.ok(!isSpuriousEintr(someRegs({ ax: -4n, origAx: 62n }), 0n), "kill does not wait");
  const again = rewound(someRegs({ ax: -4n, origAx: 232n, ip: 0x1002n }));
  assert.equal(getReg(again, "ax"), 232n);
  assert.equal(getReg(again, "ip"), 0x1000n);
});

test("the code before the call tells what restart_syscall restarts", () => {
  const code = Buffer.alloc(64, 0x90);
  assert.equal(restartedCall(code), undefined);
  code[40] = 0xb8;
  code.writeUInt32LE(230, 41);
  assert.equal(restartedCall(code), 230);
  code.writeUInt32LE(0, 41);
  assert.equal(restartedCall(code), undefined, "read(2) has no restart block");
});

test("/proc/PID/timers is parsed", () => {
  const text =
    "ID: 0\nsignal: 10/00007ffd12345678\nnotify: signal/pid.77\nClockID: 1\nID: 3\nsignal: 0/0\nnotify: thread/tid.78\nClockID: -6\n";
  assert.deepEqual(parseTimers(text), [
    { id: 0, signal: 10, sigval: 0x7ffd12345678n, notify: 0, notifyTid: 0, clock: 1 },
    { id: 3, signal: 0, sigval: 0n, notify: 6, notifyTid: 78, clock: -6 },
  ]);
  assert.deepEqual(parseTimers(""), []);
});
