// SPDX-License-Identifier: Apache-2.0
/**
 * Restartable sequences (rseq(2)). The kernel sends a thread that was interrupted inside one to its abort handler before
 * it runs user code again, and forgets the sequence as soon as it looks at it from outside. Injected calls make it look,
 * and so does a restore: what the kernel would do is done to the registers before either.
 */
import { getRseqConfiguration, tryReadMemory } from "../native/index.js";
import { getReg, setReg } from "./registers.js";

/** struct rseq: rseq_cs. */
const rseqCsOffset = 8n;

/** The registers with the instruction pointer at the abort handler if the thread stopped inside a sequence. */
export function abortedSequence(pid: number, tid: number, regs: Buffer): Buffer {
  const { address } = getRseqConfiguration(tid);
  if (address === 0n) return regs;
  const pointer = Buffer.alloc(8);
  if (tryReadMemory(pid, address + rseqCsOffset, pointer) !== pointer.length) return regs;
  const descriptor = pointer.readBigUInt64LE();
  if (descriptor === 0n) return regs;
  // struct rseq_cs: version, flags, start_ip, post_commit_offset, abort_ip
  const sequence = Buffer.alloc(32);
  if (tryReadMemory(pid, descriptor, sequence) !== sequence.length) return regs;
  const [start, length, abort] = [8, 16, 24].map((offset) => sequence.readBigUInt64LE(offset)) as [bigint, bigint, bigint];
  const ip = getReg(regs, "ip");
  if (ip < start || ip - start >= length) return regs;
  const aborted = Buffer.from(regs);
  setReg(aborted, "ip", abort);
  return aborted;
}
