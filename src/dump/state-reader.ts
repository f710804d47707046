// SPDX-License-Identifier: Apache-2.0
/** Reads the rows of src/state from a thread that stands still. */
import { cpuid, getRegset, regset, setRegset, tryCall, tryReadSmall } from "../native/index.js";
import { defaultKeys, keysComponent } from "../model/xstate-layout.js";
import type { AskedArgument, Asking } from "../state/asking.js";
import type { AnyState } from "../state/state.js";
import type { SyscallName } from "../linux/syscall-numbers.js";
import type { DumpedProcess } from "./context.js";
import type { ThreadCalls } from "./injector.js";
import { type ProcStat, procPath, readStat, readStatus, type StatusFields } from "./procfs.js";
import { refusal } from "./refusal.js";
import type { FactsOfThread } from "./thread-facts.js";

const pkruFeature = 1n << BigInt(keysComponent);
/** CPUID leaf of the components of extended state: EBX of a subleaf is where its component is. */
const xstateLeaf = 0xd;
/** CPUID 7: OSPKE in ECX. */
const hasProtectionKeys = (): boolean => (cpuid(7)[2] & (1 << 4)) !== 0;

/** What has been asked already. */
type Facts = Pick<FactsOfThread, "status" | "stat" | "file" | "outside">;

/** A thread that answers. Files of /proc are read once. */
export class ThreadAsking implements Asking {
  readonly #pid: number;
  readonly #path: string;
  readonly #status: StatusFields;
  readonly #facts: Facts | undefined;
  #stat: ProcStat | undefined;

  constructor(
    process: DumpedProcess,
    readonly tid: number,
    private readonly injector: ThreadCalls,
    facts?: Facts,
  ) {
    this.#pid = process.pid;
    this.name = `process ${process.pid} (${process.name})`;
    this.#path = procPath(process.pid, tid);
    this.#facts = facts;
    const status = facts?.status ?? readStatus(this.#path);
    if (status === undefined) throw refusal("ended", `process ${process.pid}: thread ${tid} ended while being dumped`);
    this.#status = status;
  }

  readonly name: string;

  call(name: SyscallName, ...args: readonly AskedArgument[]): number {
    return this.injector.call(name, ...args);
  }

  callBig(name: SyscallName, ...args: readonly AskedArgument[]): bigint {
    return this.injector.callBig(name, ...args);
  }

  get usesProtectionKeys(): boolean {
    if (!hasProtectionKeys()) return false;
    const xstate = getRegset(this.tid, regset.X86_XSTATE);
    const isUsed = xstate.length >= 520 && (xstate.readBigUInt64LE(512) & pkruFeature) !== 0n;
    const offset = cpuid(xstateLeaf, keysComponent)[1];
    // Not in use, it is 0: every right to every key.
    return !isUsed || xstate.length < offset + 4 || xstate.readUInt32LE(offset) !== defaultKeys;
  }

  preservingRegisters<Result>(work: () => Result): Result {
    const saved = getRegset(this.tid, regset.X86_XSTATE);
    try {
      return work();
    } finally {
      setRegset(this.tid, regset.X86_XSTATE, saved);
    }
  }

  outside(name: SyscallName, ...args: readonly (number | bigint | Uint8Array | null)[]): number {
    return this.#facts?.outside(this.tid, name, args) ?? tryCall(name, ...args);
  }

  file(name: string): Uint8Array | undefined {
    // Some files (coredump_filter) are there for the process alone.
    const bytes = this.#facts?.file(name) ?? tryReadSmall(`${this.tid === this.#pid ? procPath(this.#pid) : this.#path}/${name}`);
    return bytes?.at(-1) === 10 ? bytes.subarray(0, -1) : bytes;
  }

  status(field: string): string | undefined {
    // What changes by asking is looked at anew.
    return field === "VmLck" ? readStatus(this.#path)?.get(field) : this.#status.get(field);
  }

  stat(field: number): bigint {
    return (this.#stat ??= this.#facts?.stat ?? readStat(this.#path))?.field(field) ?? 0n;
  }

  /** The whole of `status`, for what is more than a row. */
  get statusFields(): StatusFields {
    return this.#status;
  }
}

type Writable<Row> = { -readonly [Field in keyof Row]: Row[Field] };

/** The fields of all rows. */
export function readStates<Row>(states: Readonly<Record<string, AnyState<Row>>>, ask: Asking): Writable<Partial<Row>> {
  const fields = {} as Writable<Partial<Row>>;
  for (const { read } of Object.values(states)) Object.assign(fields, read(ask));
  return fields;
}
