// SPDX-License-Identifier: Apache-2.0
/**
 * ptrace(2), one function a request. All of it must run on one thread: the kernel knows the tracer by thread,
 * and JavaScript's main thread is it.
 */
import { openFlags } from "../linux/open-flags.js";
import { close, tryOpen } from "./files.js";
import { request } from "./ptrace-requests.js";
import { errno } from "../linux/errno.js";
import { xstateTold } from "./stand-in.js";
import { addressOf, check, failed, tryCall } from "./sys.js";

/** Options for seize and setOptions. */
export const ptraceOption = { TRACESYSGOOD: 1, EXITKILL: 0x100000, SUSPEND_SECCOMP: 0x200000 } as const;

/** Regset numbers (elf.h). */
export const regset = { PRSTATUS: 1, FPREGSET: 2, X86_XSTATE: 0x202, X86_SHSTK: 0x204 } as const;

/** Bytes of struct user_regs_struct. */
export const regsLength = 216;

/** Byte offsets in struct user_regs_struct (asm/user_64.h). */
export const regOffset = {
  r15: 0,
  r14: 8,
  r13: 16,
  r12: 24,
  bp: 32,
  bx: 40,
  r11: 48,
  r10: 56,
  r9: 64,
  r8: 72,
  ax: 80,
  cx: 88,
  dx: 96,
  si: 104,
  di: 112,
  origAx: 120,
  ip: 128,
  cs: 136,
  flags: 144,
  sp: 152,
  ss: 160,
  fsBase: 168,
  gsBase: 176,
  ds: 184,
  es: 192,
  fs: 200,
  gs: 208,
} as const;

/** Stop status of PTRACE_EVENT_STOP: `status >> 16`. */
export const ptraceEventStop = 128;

function ptrace(what: keyof typeof request, tid: number, address: bigint | number, data: bigint | number | Uint8Array): number {
  return check(tryCall("ptrace", request[what], tid, address, data), `ptrace(${what})`, `thread ${tid}`);
}

/** Asks a seized thread to stop. Returns −errno instead of throwing. */
export function tryInterrupt(tid: number): number {
  return tryCall("ptrace", request.INTERRUPT, tid, 0, 0);
}

/** Changes the options of a stopped tracee. Returns −errno instead of throwing. */
export function trySetOptions(tid: number, options: number): number {
  return tryCall("ptrace", request.SETOPTIONS, tid, 0, options);
}

/** Lets a stopped thread execute one instruction. Returns −errno instead of throwing. */
export function tryStep(tid: number): number {
  return tryCall("ptrace", request.SINGLESTEP, tid, 0, 0);
}

/** General registers of a stopped thread, 216 bytes (user_regs_struct). */
export function getRegs(tid: number): Buffer {
  const regs = Buffer.alloc(regsLength);
  ptrace("GETREGS", tid, 0, regs);
  return regs;
}

/** Sets the general registers. */
export function setRegs(tid: number, regs: Uint8Array): void {
  if (regs.length !== regsLength) throw new RangeError("setRegs: 216 bytes expected");
  ptrace("SETREGS", tid, 0, regs);
}

/** Room for the largest register set (XSAVE with AMX is 11,008 bytes). */
const regsetRoom = Buffer.allocUnsafeSlow(32768);

/** A register set, as long as the kernel has it. */
export function getRegset(tid: number, type: number): Buffer {
  const told = type === regset.X86_XSTATE ? xstateTold(tid) : undefined;
  if (told !== undefined) return told;
  const data = regsetRoom;
  const iov = iovec(data);
  ptrace("GETREGSET", tid, type, iov);
  return Buffer.from(data.subarray(0, Number(iov.readBigUInt64LE(8))));
}

/** Sets a register set. */
export function setRegset(tid: number, type: number, data: Uint8Array): void {
  ptrace("SETREGSET", tid, type, iovec(data));
}

/** Sets the blocked signals of a stopped thread. */
export function setSigmask(tid: number, mask: bigint): void {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(mask);
  ptrace("SETSIGMASK", tid, 8, bytes);
}

/** Bytes of siginfo_t. */
export const siginfoLength = 128;

/** Queued signals with their siginfo, in the order of the queue; `shared` for those of the process. */
export function peekSiginfo(tid: number, shared: boolean): Buffer[] {
  const found: Buffer[] = [];
  const batch = 32;
  for (;;) {
    const args = Buffer.alloc(16);
    args.writeBigUInt64LE(BigInt(found.length), 0);
    args.writeUInt32LE(shared ? 1 : 0, 8);
    args.writeInt32LE(batch, 12);
    const data = Buffer.alloc(batch * siginfoLength);
    const count = ptrace("PEEKSIGINFO", tid, addressOf(args), data);
    for (let i = 0; i < count; i++) found.push(data.subarray(i * siginfoLength, (i + 1) * siginfoLength));
    if (count < batch) return found;
  }
}

export interface RseqConfiguration {
  /** Address of the registered struct rseq; 0n for none. */
  readonly address: bigint;
  readonly size: number;
  readonly signature: number;
  readonly flags: number;
}

/** The rseq(2) registration (since Linux 5.13). */
export function getRseqConfiguration(tid: number): RseqConfiguration {
  const data = Buffer.alloc(24);
  ptrace("GET_RSEQ_CONFIGURATION", tid, 24, data);
  return {
    address: data.readBigUInt64LE(0),
    size: data.readUInt32LE(8),
    signature: data.readUInt32LE(12),
    flags: data.readUInt32LE(16),
  };
}

/**
 * prctl(PR_SET_SYSCALL_USER_DISPATCH) of a stopped thread: its mode (0 is off) and the address of its selector (0 for none).
 * Kernels before 6.4 cannot say: undefined.
 */
export function getSyscallUserDispatch(tid: number): { readonly mode: number; readonly selector: bigint } | undefined {
  const data = Buffer.alloc(32);
  const result = tryCall("ptrace", request.GET_SYSCALL_USER_DISPATCH_CONFIG, tid, 32, data);
  return result < 0 ? undefined : { mode: Number(data.readBigUInt64LE(0)), selector: data.readBigUInt64LE(8) };
}

/** BPF_MAXINSNS instructions of 8 bytes. */
const seccompRoom = 4096 * 8;

/**
 * The instructions (struct sock_filter) of a seccomp filter of a stopped thread, counted from the last one that was
 * installed; undefined where there are no more. Needs CAP_SYS_ADMIN.
 */
export function getSeccompFilter(tid: number, offset: number): Buffer | undefined {
  const data = Buffer.alloc(seccompRoom);
  const count = tryCall("ptrace", request.SECCOMP_GET_FILTER, tid, offset, data);
  if (count === -errno.ENOENT) return undefined;
  check(count, "ptrace(SECCOMP_GET_FILTER)", `thread ${tid}`);
  return Buffer.from(data.subarray(0, count * 8));
}

/** SECCOMP_FILTER_FLAG_* of the same filter; 0 where the kernel does not tell (before 4.16). */
export function getSeccompFlags(tid: number, offset: number): number {
  const data = Buffer.alloc(16);
  data.writeBigUInt64LE(BigInt(offset), 0);
  return failed(tryCall("ptrace", request.SECCOMP_GET_METADATA, tid, data.length, data)) ? 0 : Number(data.readBigUInt64LE(8));
}

/** Lets a stopped thread run, with a signal (0: none). */
export function cont(tid: number, signal = 0): void {
  ptrace("CONT", tid, 0, signal);
}

/** Lets a stopped thread run to the next entry or exit of a system call. */
export function contToSyscall(tid: number): void {
  ptrace("SYSCALL", tid, 0, 0);
}

/** Writes into memory of a stopped thread that it cannot write itself: whole words of 8 bytes. */
export function writeText(pid: number, tid: number, address: bigint, bytes: Uint8Array): void {
  // A tracer may write through this file to what is not writable, unless the system says otherwise (proc_mem.force_override).
  const fd = tryOpen(`/proc/${pid}/mem`, openFlags.RDWR);
  if (!failed(fd)) {
    const written = tryCall("pwrite64", fd, bytes, bytes.length, address);
    close(fd);
    if (written === bytes.length) return;
  }
  const words = Buffer.alloc((bytes.length + 7) & ~7);
  words.set(bytes);
  for (let at = 0; at < words.length; at += 8) ptrace("POKEDATA", tid, address + BigInt(at), words.readBigUInt64LE(at));
}

/** Ends tracing of a stopped thread. Returns −errno instead of throwing. */
export function tryDetach(tid: number, signal = 0): number {
  return tryCall("ptrace", request.DETACH, tid, 0, signal);
}

function iovec(data: Uint8Array): Buffer {
  const iov = Buffer.alloc(16);
  iov.writeBigUInt64LE(addressOf(data), 0);
  iov.writeBigUInt64LE(BigInt(data.length), 8);
  return iov;
}
