// SPDX-License-Identifier: Apache-2.0
/** Random checkpoints that mean something: a tree, threads, mappings that do not overlap, pages, descriptors. */
import fc from "fast-check";
import {
  checkpointRow,
  credRow,
  descriptorRow,
  emptyTables,
  extentRow,
  gpregs,
  intervalTimerRow,
  mmRow,
  objectRow,
  rlimitRow,
  signalActionRow,
  taskRow,
  threadRow,
  vmaRow,
  type FileKind,
  type MutableTables,
} from "../../src/gen/tables.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { BufferPageSource } from "../../src/pages/buffer-source.js";
import { fileArbitraries } from "./file-kinds.js";

// The caller's streams first: their numbers are below all others.
const fileKinds: readonly FileKind[] = [
  "inherited",
  ...(Object.keys(fileArbitraries) as FileKind[]).filter((kind) => kind !== "inherited"),
];

const page = 4096n;
const address = fc.bigInt({ min: 0x1000n, max: 0x7fff_0000_0000n });

/** A file of the host that mappings and descriptors name. */
export interface HostFile {
  readonly path: string;
  readonly size: bigint;
  readonly mtimeNs: bigint;
}

interface MappingPlan {
  readonly kind: "anon" | "shared" | "file";
  readonly gapPages: number;
  readonly pages: number;
  readonly prot: number;
  /** One bit a page: stored or not. */
  readonly stored: number;
}

interface TaskPlan {
  readonly parent: number;
  readonly threads: number;
  readonly mappings: readonly MappingPlan[];
  readonly comm: string;
  readonly registers: readonly bigint[];
  readonly isInCall: boolean;
  readonly mask: bigint;
  readonly handlers: readonly { readonly signal: number; readonly handler: bigint }[];
  readonly strings: readonly string[];
  /** One plan a kind, or null. */
  readonly files: Readonly<Record<FileKind, unknown>>;
  readonly umask: number;
  readonly timerUs: number;
}

const mapping: fc.Arbitrary<MappingPlan> = fc.record({
  kind: fc.constantFrom("anon", "anon", "shared", "file"),
  gapPages: fc.integer({ min: 1, max: 40 }),
  pages: fc.integer({ min: 1, max: 6 }),
  prot: fc.constantFrom(0, 1, 3, 5, 7),
  stored: fc.integer({ min: 0, max: 63 }),
});

const task: fc.Arbitrary<TaskPlan> = fc.record({
  parent: fc.nat(2),
  threads: fc.integer({ min: 1, max: 3 }),
  mappings: fc.array(mapping, { maxLength: 5 }),
  comm: fc.stringMatching(/^[a-z][a-z0-9 ()_-]{0,14}$/),
  registers: fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { minLength: 16, maxLength: 16 }),
  isInCall: fc.boolean(),
  mask: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }).map((mask) => mask & ~((1n << 8n) | (1n << 18n))),
  handlers: fc.uniqueArray(
    fc.record({ signal: fc.integer({ min: 1, max: 31 }).filter((signal) => signal !== 9 && signal !== 19), handler: address }),
    { maxLength: 3, selector: ({ signal }) => signal },
  ),
  strings: fc.array(fc.stringMatching(/^[A-Za-z0-9=_/.-]{1,20}$/), { minLength: 2, maxLength: 6 }),
  files: fc.record<Readonly<Record<FileKind, unknown>>>(
    Object.fromEntries(fileKinds.map((kind) => [kind, fc.option(fileArbitraries[kind].plans)])) as Record<FileKind, fc.Arbitrary<unknown>>,
  ),
  umask: fc.constantFrom(0o022, 0o077, 0),
  timerUs: fc.nat(10_000_000),
});

/** Of a checkpoint what is random: small, so that a counterexample can be read. */
export type CheckpointPlan = readonly TaskPlan[];

export const checkpointPlans: fc.Arbitrary<CheckpointPlan> = fc.array(task, { minLength: 1, maxLength: 3 });

/** @param program a file that all tasks run; @param data another file of at least 16 pages */
export function buildCheckpoint(plans: CheckpointPlan, program: HostFile, data: HostFile): Checkpoint {
  return new Builder(plans, program, data).build();
}

class Builder {
  readonly #tables: MutableTables = emptyTables();
  readonly #pages: Uint8Array[] = [];

  constructor(
    private readonly plans: readonly TaskPlan[],
    program: HostFile,
    data: HostFile,
  ) {
    this.#file(program, 0o100755);
    this.#file(data, 0o100644);
    this.#tables.objects.push(objectRow({ kind: "directory", path: "/", mode: 0o40755, nlink: 2 }));
    this.#tables.creds.push(credRow({ capBounding: 0x1ff_ffff_ffffn }));
  }

  build(): Checkpoint {
    const tables = this.#tables;
    tables.checkpoint.push(
      checkpointRow({
        createdNs: 1_700_000_000_000_000_000n,
        pageSize: 4096,
        rootTask: 0,
        machine: "x86_64",
        sourceFormat: "live",
        creator: "test",
        xfeatures: 7n,
      }),
    );
    this.plans.forEach((plan, index) => this.#task(plan, index));
    // Extents of one owner are together, address spaces first.
    const rank = ({ ownerKind, owner }: (typeof tables.extents)[number]) => (ownerKind === "mm" ? owner : 1000 + owner);
    tables.extents.sort((a, b) => rank(a) - rank(b) || (a.address < b.address ? -1 : 1));
    return new Checkpoint({ tables, sources: [new BufferPageSource("test pages", Buffer.concat(this.#pages))] });
  }

  #file({ path, size, mtimeNs }: HostFile, mode: number): void {
    this.#tables.objects.push(
      objectRow({
        kind: "file",
        path,
        size,
        mtimeNs,
        mode,
        nlink: 1,
        ino: BigInt(100 + this.#tables.objects.length),
        devMajor: 8,
        devMinor: 1,
      }),
    );
  }

  /** A page that is not zero, and unlike all others. */
  #page(): bigint {
    const bytes = new Uint8Array(4096).fill(1 + (this.#pages.length % 250));
    new DataView(bytes.buffer).setUint32(0, this.#pages.length + 1, true);
    return BigInt(this.#pages.push(bytes) - 1) * page;
  }

  #task(plan: TaskPlan, index: number): void {
    const tables = this.#tables;
    const pid = 1000 + index * 100;
    const parent = index === 0 ? null : Math.min(plan.parent, index - 1);
    const { stackTop, heapStart } = this.#memory(plan, index);
    tables.tasks.push(
      taskRow({
        pid,
        parent,
        ppid: parent === null ? 1 : 1000 + parent * 100,
        pgid: 1000,
        sid: 1000,
        state: "running",
        exitSignal: 17,
        mm: index,
        cwd: 2,
        umask: plan.umask,
        foregroundPgid: -1,
        taskFlags: 0x400000,
      }),
    );
    const strings = plan.strings.map((text) => `${text}\0`);
    const argument = strings[0] ?? "\0";
    const start = stackTop - 1024n;
    tables.mms.push(
      mmRow({
        exe: 0,
        dumpable: 1,
        startCode: 0x400000n,
        endCode: 0x401000n,
        startData: 0x401000n,
        endData: 0x402000n,
        startBrk: heapStart,
        brk: heapStart + page,
        startStack: stackTop - 2048n,
        argStart: start,
        argEnd: start + BigInt(argument.length),
        envStart: start + BigInt(argument.length),
        envEnd: start + BigInt(strings.join("").length),
        auxv: auxv(),
      }),
    );
    this.#patch(stackTop - page, 4096 - 1024, Buffer.from(strings.join("")), index);
    for (let thread = 0; thread < plan.threads; thread++) this.#thread(plan, index, pid + thread);
    for (const { signal, handler } of plan.handlers) {
      tables.signalActions.push(signalActionRow({ task: index, signal, handler, flags: 0x0400_0000n, restorer: 0x400100n }));
    }
    for (let resource = 0; resource < 16; resource++) {
      const name = (
        [
          "cpu",
          "fsize",
          "data",
          "stack",
          "core",
          "rss",
          "nproc",
          "nofile",
          "memlock",
          "as",
          "locks",
          "sigpending",
          "msgqueue",
          "nice",
          "rtprio",
          "rttime",
        ] as const
      )[resource];
      tables.rlimits.push(
        rlimitRow({ task: index, resource: name ?? "cpu", soft: BigInt(1000 + resource), hard: BigInt(2000 + resource) }),
      );
    }
    if (plan.timerUs > 0)
      tables.intervalTimers.push(intervalTimerRow({ task: index, which: "real", valueUs: BigInt(plan.timerUs), intervalUs: 500_000n }));
    this.#descriptors(plan, index, pid);
  }

  #thread(plan: TaskPlan, task: number, tid: number): void {
    const [r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, flags] = plan.registers as readonly [
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
      bigint,
    ];
    this.#tables.threads.push(
      threadRow({
        task,
        tid,
        comm: plan.comm,
        creds: 0,
        sigMask: plan.mask,
        altstackFlags: 2,
        schedPolicy: "other",
        inSyscall: Number(plan.isInCall),
        regs: gpregs({
          r15,
          r14,
          r13,
          r12,
          bp,
          bx,
          r11,
          r10,
          r9,
          r8,
          cx,
          dx,
          si,
          di,
          flags: (flags & 0xcd5n) | 0x202n,
          ax: plan.isInCall ? (1n << 64n) - 514n : ax,
          origAx: plan.isInCall ? 34n : (1n << 64n) - 1n,
          ip: 0x400200n,
          sp: 0x7ffc_0000_0000n - 0x800n,
          cs: 0x33n,
          ss: 0x2bn,
          fsBase: 0x7f00_0000_1000n,
        }),
        xstate: xstate(tid),
      }),
    );
  }

  /** Program, what the plan asks for, heap, stack. */
  #memory(plan: TaskPlan, mm: number): { stackTop: bigint; heapStart: bigint } {
    const { vmas, extents } = this.#tables;
    vmas.push(vmaRow({ mm, kind: "file_private", start: 0x400000n, end: 0x401000n, prot: 5, object: 0 }));
    const heapStart = 0x1a40_1000n + BigInt(mm) * 0x10_0000n;
    this.#anonymous(mm, heapStart, 1n, 3, 1, { isHeap: 1 });
    let at = 0x7f00_0000_0000n;
    for (const { kind, gapPages, pages, prot, stored } of plan.mappings) {
      at += BigInt(gapPages) * page;
      const end = at + BigInt(pages) * page;
      if (kind === "anon") this.#anonymous(mm, at, BigInt(pages), prot, stored, {});
      else if (kind === "file") {
        vmas.push(vmaRow({ mm, kind: "file_private", start: at, end, offset: page, prot, object: 1 }));
        for (const index of storedPages(pages, prot === 3 ? stored : 0)) {
          extents.push(extentRow({ ownerKind: "mm", owner: mm, address: at + index * page, length: page, fileOffset: this.#page() }));
        }
      } else {
        const object =
          this.#tables.objects.push(
            objectRow({
              kind: "shared_memory",
              mode: 0o100777,
              size: BigInt(pages) * page,
              ino: BigInt(5000 + this.#tables.objects.length),
              devMinor: 1,
            }),
          ) - 1;
        vmas.push(vmaRow({ mm, kind: "anon_shared", start: at, end, prot: 3, object }));
        for (const index of storedPages(pages, stored)) {
          extents.push(extentRow({ ownerKind: "object", owner: object, address: index * page, length: page, fileOffset: this.#page() }));
        }
      }
      at = end;
    }
    const stackTop = 0x7ffc_0000_0000n;
    this.#anonymous(mm, stackTop - 4n * page, 4n, 3, 8, { isStack: 1 });
    return { stackTop, heapStart };
  }

  #anonymous(mm: number, start: bigint, pages: bigint, prot: number, stored: number, marks: { isHeap?: number; isStack?: number }): void {
    this.#tables.vmas.push(vmaRow({ mm, kind: "anon_private", start, end: start + pages * page, prot, ...marks }));
    for (const index of storedPages(Number(pages), stored)) {
      this.#tables.extents.push(
        extentRow({ ownerKind: "mm", owner: mm, address: start + index * page, length: page, fileOffset: this.#page() }),
      );
    }
  }

  /** Writes into a page that is stored. */
  #patch(pageAddress: bigint, offset: number, bytes: Uint8Array, mm: number): void {
    const extent = this.#tables.extents.find((row) => row.ownerKind === "mm" && row.owner === mm && row.address === pageAddress);
    if (extent) this.#pages[Number(extent.fileOffset / page)]?.set(bytes, offset);
  }

  #descriptors(plan: TaskPlan, task: number, pid: number): void {
    const { descriptors } = this.#tables;
    // A gap above the standard streams, such as those that programs leave.
    let next = 5;
    const hold = (file: number, { fd = next++, isCloexec = false } = {}): number => {
      descriptors.push(descriptorRow({ task, fd, file, flags: Number(isCloexec) }));
      return fd;
    };
    const scene = { tables: this.#tables, task, pid, dataObject: 1, hold };
    for (const kind of fileKinds) if (plan.files[kind] !== null) fileArbitraries[kind].add(scene, plan.files[kind]);
  }
}

function storedPages(pages: number, bits: number): readonly bigint[] {
  return Array.from({ length: pages }, (_none, index) => index)
    .filter((index) => ((bits >> index) & 1) === 1)
    .map(BigInt);
}

function auxv(): Uint8Array {
  const bytes = Buffer.alloc(64);
  bytes.writeBigUInt64LE(6n, 0); // AT_PAGESZ
  bytes.writeBigUInt64LE(4096n, 8);
  bytes.writeBigUInt64LE(17n, 16); // AT_CLKTCK
  bytes.writeBigUInt64LE(100n, 24);
  bytes.writeBigUInt64LE(9n, 32); // AT_ENTRY
  bytes.writeBigUInt64LE(0x400200n, 40);
  return bytes;
}

/** The XSAVE area of a thread that used x87, SSE and AVX. */
function xstate(seed: number): Uint8Array {
  const bytes = Buffer.alloc(832);
  bytes.writeUInt16LE(0x37f, 0);
  bytes.writeUInt32LE(0x1f80, 24);
  bytes.writeUInt32LE(0xffff, 28);
  for (let at = 160; at < 416; at += 4) bytes.writeUInt32LE((seed * 2654435761 + at) >>> 0, at);
  bytes.writeBigUInt64LE(7n, 464);
  bytes.writeBigUInt64LE(7n, 512);
  for (let at = 576; at < 832; at += 4) bytes.writeUInt32LE((seed * 40503 + at) >>> 0, at);
  return bytes;
}
