// SPDX-License-Identifier: Apache-2.0
/**
 * System calls run by a frozen thread.
 *
 * An injected call heals itself. Before the first one a signal frame with the thread's whole state is put below its
 * stack pointer (beyond the red zone, or on its idle alternate stack), and the stack pointer set to it. The call is a
 * `syscall; ret` of the target's own code: if crimg dies at any moment, the thread runs on, the call returns, `ret`
 * goes to the C library's rt_sigreturn, and the kernel puts the old registers, floating point state and signal mask
 * back. Threads are driven with PTRACE_SYSCALL, never SINGLESTEP: a trap flag would survive the tracer.
 *
 * Memory, low to high:   [ scratch | state frame ] red zone, stack in use
 *
 * Where the target has no rt_sigreturn to return to, or no room for a frame, calls are injected in the plain form:
 * correct as long as crimg lives.
 */
import { logCall } from "../errors/log.js";
import {
  check,
  cont,
  contToSyscall,
  decodeWaitStatus,
  failed,
  getRegs,
  getRegset,
  nr,
  ptraceEventStop,
  writeText,
  readMemory,
  regset,
  setRegs,
  setSigmask,
  stubCode,
  SysError,
  type SyscallName,
  tryInterrupt,
  waitOption,
  waitTimeout,
  writeMemory,
  growStack,
} from "../native/index.js";
import type { AskedArgument, Asking } from "../state/asking.js";
import type { FrozenThread } from "./freeze.js";
import type { Gadgets, MappedRange } from "./gadgets.js";
import { pinTo } from "./pin.js";
import type { PreparedCalls } from "./prepared-calls.js";
import { refusal } from "./refusal.js";
import { getReg, isRestarting, rewound, setReg, setSyscall } from "./registers.js";
import { restartNumber } from "./restart.js";
import { buildPlainFrame, buildSignalFrame, signalFrameLength } from "./sigframe.js";

/** An argument of an injected call: an integer, bytes to pass in, or room for bytes that come back. */
export type InjectedArgument = AskedArgument;

/** Calls in one thread. */
export type ThreadCalls = Pick<Asking, "call" | "callBig">;

/** Bytes of target memory that arguments may use. */
export const scratchLength = 4096;
const redZone = 128n;
/** A call may write to a slow disk. */
const callTimeoutMs = 60_000;
const trapTimeoutMs = 3000;
const allSignals = 0xffff_ffff_ffff_ffffn;

/**
 * Where a thread was seen last: at the trap of an interrupt, at a system call or signal stop, or sent on. One that was
 * sent on may have come to its next stop unseen, so nothing but a wait may follow: to send it on blindly could take it
 * past the trap that would have held it, back into its program.
 */
type Whereabouts = "trap" | "call" | "on its way";

/** Where a thread's memory may be borrowed. */
export interface InjectionSite {
  readonly gadgets: Gadgets;
  /** Ascending. */
  readonly ranges: readonly MappedRange[];
  /** Start and end of what can be read and written, ascending. */
  readonly writable: BigInt64Array;
  /** The alternate signal stack if it is idle. */
  readonly altstack?: { readonly start: bigint; readonly end: bigint };
  /** Called before memory is borrowed for calls. */
  readonly beforeOpen?: () => void;
}

/** What calls in a thread need: its registers for them, and memory of it. */
interface Place {
  readonly xstate: Buffer;
  readonly area: { readonly start: bigint; readonly saved: Buffer } | undefined;
  readonly canHeal: boolean;
  readonly frameAddress: bigint;
  readonly regs: Buffer;
}

function findPlace(thread: FrozenThread, site: InjectionSite): Place {
  const xstate = getRegset(thread.tid, regset.X86_XSTATE);
  const frameLength = signalFrameLength(xstate);
  const total = borrowedLength(xstate);
  const top = findRoom(thread.pid, getReg(thread.regs, "sp") - redZone, total, site);
  const canHeal = top !== undefined && site.gadgets.returns && site.gadgets.restorer !== 0n;
  // (x mod 16 = 8) at the frame, as after a call.
  const frameAddress = top === undefined ? 0n : ((top - BigInt(frameLength)) & ~15n) - 8n;
  const regs = Buffer.from(thread.regs);
  setReg(regs, "origAx", -1n);
  setReg(regs, "flags", getReg(thread.regs, "flags") & ~0x10500n); // no RF, TF, DF
  if (canHeal) setReg(regs, "sp", frameAddress);
  const area = top === undefined ? undefined : { start: top - BigInt(total), saved: Buffer.alloc(total) };
  return { xstate, area, canHeal, frameAddress, regs };
}

/** Runs system calls in one thread, from `open` to `close`. Calls return −errno like the kernel. */
export class Injector {
  readonly tid: number;
  readonly #pid: number;
  readonly #thread: FrozenThread;
  readonly #site: InjectionSite;
  #placed: Place | undefined;
  #isOpen = false;
  #whereabouts: Whereabouts = "trap";
  /** The page of native/addon/inject.h, while it is mapped or may be. */
  #stub: bigint | undefined;
  /** Calls that this thread has made already. */
  prepared?: PreparedCalls;

  constructor(thread: FrozenThread, site: InjectionSite) {
    this.#thread = thread;
    this.#pid = thread.pid;
    this.tid = thread.tid;
    this.#site = site;
  }

  /** Found at the first call: a thread that has been asked everything already makes none. */
  get #place(): Place {
    return (this.#placed ??= findPlace(this.#thread, this.#site));
  }

  /** First address of the scratch area; it belongs to the caller between calls that pass buffers. */
  get scratch(): bigint {
    const { area } = this.#place;
    if (area === undefined) throw refusal("no-room", `process ${this.#pid}: no writable memory can be borrowed for injected calls`);
    return area.start;
  }

  /** The memory in use for calls just now, and what it holds when they are over. */
  get borrowed(): { readonly start: bigint; readonly end: bigint; readonly bytes: Buffer } | undefined {
    const area = this.#isOpen ? this.#place.area : undefined;
    if (area === undefined) return undefined;
    const { start, saved } = area;
    return { start, end: start + BigInt(saved.length), bytes: saved };
  }

  /** Where memory may be borrowed for calls: its end and length. */
  get room(): { readonly top: bigint; readonly length: number } | undefined {
    const { area } = this.#place;
    return area === undefined ? undefined : { top: area.start + BigInt(area.saved.length), length: area.saved.length };
  }

  /** The code that calls are made by. */
  get gadgets(): Gadgets {
    return this.#site.gadgets;
  }

  /** Whether the thread returns to its old state by itself if crimg dies. */
  get canHeal(): boolean {
    return this.#place.canHeal;
  }

  /** Borrows the memory and puts the thread on the frame. Order matters: at every point the thread can go on. */
  open(): void {
    if (this.#isOpen) return;
    this.#site.beforeOpen?.();
    pinTo(this.#pid, this.tid);
    const { area } = this.#place;
    if (area !== undefined) readMemory(this.#pid, area.start, area.saved);
    this.#isOpen = true;
    if (this.#place.canHeal) this.#writeFrame();
    // From here the thread, if it ran, would make this harmless call and return through the frame.
    this.#arm(nr.getpid, []);
    setSigmask(this.tid, allSignals);
  }

  /**
   * Gives everything back: the thread stands as it was frozen. Tried again if a call fails; if that does not help,
   * the thread is left on its frame, which takes it back by itself when it is let go.
   */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (let attempt = 0; ; attempt++) {
      try {
        this.#toTrap();
        if (this.#stub !== undefined) this.unmapStub();
        this.#toTrap();
        setSigmask(this.tid, this.#thread.sigmask);
        setRegs(this.tid, this.#thread.regs);
        const { area } = this.#place;
        if (area !== undefined) writeMemory(this.#pid, area.start, area.saved);
        return;
      } catch (error) {
        if (attempt === 3) throw error;
      }
    }
  }

  /** At a system call stop the kernel would not restart an interrupted call: on to a trap, without user code. */
  #toTrap(): void {
    if (this.#whereabouts === "trap") return;
    check(tryInterrupt(this.tid), "ptrace(INTERRUPT)", `thread ${this.tid}`);
    if (this.#whereabouts === "call") this.#sendOn(cont);
    this.#awaitStop(true);
  }

  #sendOn(how: (tid: number) => void): void {
    how(this.tid);
    this.#whereabouts = "on its way";
  }

  /** Runs a call. Buffers go through the scratch area and must fit into it together. Returns −errno on failure. */
  call(name: SyscallName, ...args: readonly InjectedArgument[]): number {
    return Number(this.callBig(name, ...args));
  }

  /** As `call`, for results above 2^53. */
  callBig(name: SyscallName, ...args: readonly InjectedArgument[]): bigint {
    const made = this.prepared?.take(name, args);
    if (made !== undefined) return made;
    this.open();
    let used = 0;
    const outs: { address: bigint; bytes: Uint8Array }[] = [];
    const values = args.map((argument) => {
      if (typeof argument === "number" || typeof argument === "bigint") return BigInt(argument);
      const bytes = "in" in argument ? argument.in : argument.out;
      if (used + bytes.length > scratchLength) throw new RangeError("injected call: buffers exceed the scratch area");
      const address = this.scratch + BigInt(used);
      used += (bytes.length + 15) & ~15;
      if ("in" in argument) writeMemory(this.#pid, address, bytes);
      else outs.push({ address, bytes });
      return address;
    });
    const result = this.#run(nr[name], values);
    logCall("tree", name, result);
    if (result >= 0n || result < -4095n) for (const out of outs) readMemory(this.#pid, out.address, out.bytes);
    return result;
  }

  /**
   * Maps the page that lists of calls are run from at a free address, and leaves the thread where it unmaps it again should
   * crimg die (native/addon/inject.h). Undefined where that is not to be had. Until `unmapStub` the scratch area is not the
   * caller's, and this thread runs lists only.
   */
  mapStub(address: bigint): { readonly counter: bigint; readonly top: bigint; readonly home: Buffer } | undefined {
    this.open();
    const { area, canHeal } = this.#place;
    if (area === undefined || !canHeal) return undefined;
    const { start } = area;
    // If crimg dies while the page is being mapped, the thread returns into a call of munmap, and from there to its frame.
    const way = start + 1024n;
    const unmapping = Buffer.from(this.#place.regs);
    setSyscall(unmapping, this.#site.gadgets.syscall, nr.munmap, [address, pageLength]);
    writeMemory(this.#pid, start, Buffer.alloc(8));
    writeMemory(this.#pid, way, buildPlainFrame(this.#site.gadgets.restorer, unmapping, allSignals));
    this.#stub = address;
    setReg(this.#place.regs, "sp", way);
    let result: bigint;
    try {
      result = this.#run(nr.mmap, [address, pageLength, readAndExecute, privateAnonymousThere, -1n, 0n]);
    } finally {
      setReg(this.#place.regs, "sp", this.#place.frameAddress);
    }
    if (result !== address) {
      this.#stub = undefined;
      return undefined;
    }
    const code = stubCode();
    writeText(this.#pid, this.tid, address, code);
    const home = Buffer.from(this.#place.regs);
    setReg(home, "ip", address + BigInt(code.indexOf(wayOut)));
    setReg(home, "sp", start - 256n);
    setReg(home, "bp", address);
    setReg(home, "r13", this.#site.gadgets.syscall);
    setReg(home, "r14", this.#place.frameAddress);
    setReg(home, "r15", start);
    setRegs(this.tid, home);
    return { counter: start, top: start, home };
  }

  /** Unmaps the page again. */
  unmapStub(): void {
    if (this.#stub === undefined) return;
    const result = this.#run(nr.munmap, [this.#stub, pageLength]);
    if (result !== 0n) throw new SysError("munmap", Number(-result), `process ${this.#pid}: the page of injected calls`);
    this.#stub = undefined;
  }

  /** Notes what a list of calls in this thread made of it. */
  noteList(owed: readonly number[], isOnItsWay: boolean): void {
    this.#thread.owedSignals.push(...owed);
    this.#whereabouts = isOnItsWay ? "on its way" : "call";
  }

  #arm(number: number, values: readonly bigint[]): void {
    setSyscall(this.#place.regs, this.#site.gadgets.syscall, number, values);
    setRegs(this.tid, this.#place.regs);
  }

  #run(number: number, values: readonly bigint[]): bigint {
    this.#arm(number, values);
    this.#sendOn(contToSyscall);
    this.#awaitStop(false);
    this.#sendOn(contToSyscall);
    this.#awaitStop(false);
    return getRegs(this.tid).readBigInt64LE(80);
  }

  /** Waits for a system call stop, or for the trap of an interrupt. Stop signals that come first are kept. */
  #awaitStop(forTrap: boolean): void {
    for (;;) {
      const { pid, status } = waitTimeout(this.tid, waitOption.WALL, forTrap ? trapTimeoutMs : callTimeoutMs);
      if (failed(pid)) throw new SysError("wait4", -pid, `thread ${this.tid}`);
      const stop = decodeWaitStatus(status);
      if (stop.kind !== "stopped") {
        throw refusal("ended", `process ${this.#pid}: thread ${this.tid} ended while being dumped`);
      }
      this.#whereabouts = stop.event === ptraceEventStop ? "trap" : "call";
      if (stop.event === ptraceEventStop) {
        if (forTrap) return;
      } else if (stop.signal === 0x85) {
        if (!forTrap) return;
      } else if (stop.event === 0) {
        // All signals are blocked: this is SIGSTOP (or one that came before the mask), for later.
        this.#thread.owedSignals.push(stop.signal);
      }
      this.#sendOn(forTrap ? cont : contToSyscall);
    }
  }

  #writeFrame(): void {
    const { regs, sigmask } = this.#thread;
    // rt_sigreturn ends restarts: the frame makes an interrupted call again instead.
    const frame = buildSignalFrame(this.#place.frameAddress, this.#site.gadgets.restorer, {
      regs: isRestarting(regs) ? rewound(regs, restartNumber(this.#pid, regs)) : regs,
      sigmask,
      xstate: this.#place.xstate,
    });
    writeMemory(this.#pid, this.#place.frameAddress, frame);
  }

  /** Whether a new injector that knows of this idle alternate stack would borrow it instead of the stack. */
  prefersAltstack(altstack: { readonly start: bigint; readonly end: bigint }): boolean {
    return altstack.end - altstack.start >= BigInt(borrowedLength(this.#place.xstate));
  }
}

const pageLength = 4096n;
/** PROT_READ | PROT_EXEC. */
const readAndExecute = 5n;
/** MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE. */
const privateAnonymousThere = 0x10_0022n;
/** `test %rbp, %rbp`: where in the code of the page a thread is on its way out. */
const wayOut = Buffer.from([0x48, 0x85, 0xed]);

function borrowedLength(xstate: Buffer): number {
  return scratchLength + signalFrameLength(xstate) + 64;
}

/** The range whose last byte is that before `top`, or that goes on. */
function rangeEndingAt(ranges: readonly MappedRange[], top: bigint): MappedRange | undefined {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ranges[middle] as MappedRange).end < top) low = middle + 1;
    else high = middle;
  }
  const range = ranges[low];
  return range !== undefined && top > range.start ? range : undefined;
}

/**
 * The end (exclusive) of `length` bytes that may be borrowed: the idle alternate stack, which is meant to be
 * overwritten at any time, else the stack below the red zone, which grows if it can. undefined if there is neither.
 */
function findRoom(pid: number, below: bigint, length: number, site: InjectionSite): bigint | undefined {
  const { altstack, ranges } = site;
  if (altstack !== undefined && altstack.end - altstack.start >= BigInt(length)) return altstack.end & ~63n;
  const top = below & ~63n;
  const start = top - BigInt(length);
  const holder = rangeEndingAt(ranges, top);
  if (!holder?.isWritable || !holder.isReadable) return undefined;
  if (start >= holder.start) return top;
  const isFree = rangeEndingAt(ranges, start + 1n) === undefined;
  return isFree && growStack(pid, start) ? top : undefined;
}
