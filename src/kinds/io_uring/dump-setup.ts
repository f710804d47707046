// SPDX-License-Identifier: Apache-2.0
/**
 * How a ring was set up. No call tells its flags; they are found out by calls that do nothing but fail in the one way or in the
 * other, made by crimg on its copy of the descriptor (error paths in io_uring/register.c and io_uring.c of the kernel), by how much
 * memory it has, and by what is in that.
 */
import type { DumpedProcess } from "../../dump/context.js";
import { type Description, refuseDescription } from "../../dump/fds/context.js";
import { register, type RingSizes, ringLayout, ringOffset, setUp, sqesLength } from "../../linux/io-uring.js";
import { check, errno, failed, readMemory, tryCall, tryReadMemory } from "../../native/index.js";
import type { RingState } from "./dump-state.js";

const page = 4096;
const EBADFD = 77;
export const ENTER_GETEVENTS = 1;
const ENTER_REGISTERED_RING = 16;
/** A thread has at most so many rings registered (IO_RINGFD_REG_MAX). */
const mostRegisteredRings = 16;
const PROT_READ = 1;
const MAP_SHARED = 1;
/** Where nothing is: a call that comes to read from there has passed all its other checks. */
const nowhere = 8;

/** IORING_SETUP_* of a ring. */
export function flagsOf(ring: Description, state: RingState): number {
  const { fd } = ring;
  const says = (call: "io_uring_register" | "io_uring_enter", ...args: readonly number[]): number => tryCall(call, fd, ...args);
  let flags = setUp.cqsize;
  if (says("io_uring_enter", 0, 0, 0, 0, 0) === -EBADFD) return flags | setUp.disabled;
  if (state.sqThread > 0) flags |= setUp.sqpoll;
  if (says("io_uring_register", register.probe, 0, 0) === -errno.EEXIST) flags |= setUp.singleIssuer;
  else if (says("io_uring_register", register.napi, nowhere, 1) === -errno.EINVAL) flags |= setUp.iopoll;
  if (says("io_uring_enter", 0, 0, ENTER_GETEVENTS, 0, 0) === -errno.EEXIST) flags |= setUp.deferTaskrun | setUp.taskrunFlag;
  const sizes = (more: number): RingSizes => ({ ...state, flags: flags | more });
  const pages = (length: number): number => Math.ceil(length / page);
  if (pagesOf(fd, ringOffset.sqes, pages(sqesLength(sizes(setUp.sqe128)))) > pages(sqesLength(sizes(0)))) flags |= setUp.sqe128;
  const known = pagesOf(fd, ringOffset.rings, pages(ringLayout(sizes(setUp.cqe32)).length));
  const fits = [0, setUp.noSqArray, setUp.cqe32, setUp.cqe32 | setUp.noSqArray].filter(
    (more) => pages(ringLayout(sizes(more)).length) === known,
  );
  const [first] = fits;
  if (first === undefined) refuseDescription(ring, "io_uring", "an io_uring with memory of its own (IORING_SETUP_NO_MMAP)");
  if (!fits.includes(first | setUp.noSqArray) || (first & setUp.noSqArray) !== 0) return flags | first;
  return flags | first | (isWithoutArray(fd, { ...state, flags: flags | first }) ? setUp.noSqArray : 0);
}

/** Pages of a ring's memory, at most `most`; more can be mapped, but not read. 0 if the memory is not the ring's own. */
function pagesOf(fd: number, offset: bigint, most: number): number {
  const at = tryCall("mmap", 0, most * page, PROT_READ, MAP_SHARED, fd, offset);
  if (failed(at)) return 0;
  const byte = Buffer.alloc(1);
  let count = 0;
  while (count < most && tryReadMemory(process.pid, BigInt(at + count * page), byte) === 1) count++;
  tryCall("munmap", at, most * page);
  return count;
}

/**
 * Whether the kernel looks at no array of indices, where the size of the memory does not tell: then there are only zeros, although
 * other requests than the first one have been used. Programs without an array use one after the other, so that in doubt none is right
 * for those with one, too.
 */
function isWithoutArray(fd: number, sizes: RingSizes & Pick<RingState, "taken">): boolean {
  if (sizes.sqEntries === 1) return false;
  const { array, length } = ringLayout(sizes);
  const isZero = (bytes: Buffer): boolean => bytes.every((byte) => byte === 0);
  if (!isZero(peek(fd, ringOffset.rings, length).subarray(array))) return false;
  if (sizes.taken <= 1) return true;
  const first = sqesLength({ ...sizes, sqEntries: 1 });
  return !isZero(peek(fd, ringOffset.sqes, sqesLength(sizes)).subarray(first));
}

/** The first bytes of a ring's memory. */
function peek(fd: number, offset: bigint, length: number): Buffer {
  const at = check(tryCall("mmap", 0, length, PROT_READ, MAP_SHARED, fd, offset), "mmap", "an io_uring");
  const bytes = Buffer.alloc(length);
  readMemory(process.pid, BigInt(at), bytes);
  tryCall("munmap", at, length);
  return bytes;
}

/** Refuses what cannot be made again. */
export function assertOrdinary(ring: Description, state: RingState, flags: number): void {
  const refuse = (what: string, hint?: string): never => refuseDescription(ring, "io_uring", `an io_uring ${what}`, hint);
  if ((flags & setUp.disabled) !== 0) refuse("that is not enabled yet (IORING_SETUP_R_DISABLED)");
  if ((flags & setUp.sqpoll) !== 0) refuse("that a thread of the kernel looks after (IORING_SETUP_SQPOLL)");
  if ((flags & setUp.iopoll) !== 0) refuse("for polled I/O (IORING_SETUP_IOPOLL)");
  if (state.files > 0) refuse("with registered files");
  if (state.hasPersonalities) refuse("with registered credentials");
  const [holder] = ring.holders;
  if (holder === undefined) return;
  const ask = (call: number, address: number, count: number): number => {
    const { fd, process } = holder;
    return process.injector().call("io_uring_register", fd, call, address, count);
  };
  const probed = ask(register.probe, 0, 0);
  if (probed === -errno.EEXIST) refuse("that belongs to another thread than the first one of its process (IORING_SETUP_SINGLE_ISSUER)");
  if (probed === -errno.EACCES) refuse("with restrictions (IORING_REGISTER_RESTRICTIONS)");
  if (ask(register.eventfd, nowhere, 1) === -errno.EBUSY) refuse("with a registered eventfd");
  inEachThread(ring, (injector) => {
    for (let number = 0; number < mostRegisteredRings; number++) {
      const result = injector.call("io_uring_enter", number, 0, 0, ENTER_REGISTERED_RING, 0, 0);
      if (result === -errno.EINVAL) break;
      if (result !== -errno.EBADF) refuse("that is registered itself (IORING_REGISTER_RING_FDS)");
    }
  });
}

type ThreadInjector = ReturnType<DumpedProcess["injector"]>;

/** Runs something in each thread of those who have a ring; `fd` is its number there. */
export function inEachThread({ holders }: Description, run: (injector: ThreadInjector, fd: number) => void): void {
  for (const { process, fd } of holders) {
    const [, ...others] = process.frozen.threads;
    run(process.injector(), fd);
    for (const thread of others) {
      const injector = process.injectorFor(thread);
      try {
        run(injector, fd);
      } finally {
        injector.close();
      }
    }
  }
}
