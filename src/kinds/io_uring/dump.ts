// SPDX-License-Identifier: Apache-2.0
/**
 * Rings of io_uring without a request under way. Where a ring stands is in fdinfo (io_uring/fdinfo.c in the kernel); how it was
 * set up is found out by questions (dump-setup.ts). Requests under way are in the kernel alone: a ring that still has some after
 * a while is refused. That it has none is told by its counts: each request gives one completion. Those that give none or several
 * (IOSQE_CQE_SKIP_SUCCESS, multishot requests) make them differ, and such a ring is refused, too.
 */
import type { Collecting, Description } from "../../dump/fds/context.js";
import { refuseDescription } from "../../dump/fds/context.js";
import { anonymousName } from "../../dump/fds/facts.js";
import { eachAlone, type FileDump, type FileFields } from "../../dump/fds/kind.js";
import { ioUringBufferRow, ioUringRow } from "../../gen/tables.js";
import { assertOrdinary, ENTER_GETEVENTS, flagsOf, inEachThread } from "./dump-setup.js";
import { readRing, type RingState } from "./dump-state.js";

/** Requests to a disk end by themselves. */
const longestWaitMs = 2000;

export const dump: FileDump = {
  recognises: (facts) => anonymousName(facts) === "[io_uring]",
  collector: eachAlone(collectRing),
};

function collectRing({ context }: Collecting, ring: Description): FileFields {
  const state = idle(ring);
  const flags = flagsOf(ring, state);
  assertOrdinary(ring, state, flags);
  const { tables } = context;
  for (const { index, address, length } of state.buffers) {
    tables.ioUringBuffers.push(ioUringBufferRow({ file: tables.files.length, index, address, length }));
  }
  const { sqEntries, cqEntries, taken: position } = state;
  const row = ioUringRow({ ino: ring.info.ino, sqEntries, cqEntries, flags, position });
  return { kind: "io_uring", detail: tables.ioUrings.push(row) - 1 };
}

/** The ring when nothing is under way. Completions are given by the threads that made the requests: they get a chance to. */
function idle(ring: Description): RingState {
  const end = performance.now() + longestWaitMs;
  for (;;) {
    const state = readRing(ring.fd);
    if (state === undefined) refuseDescription(ring, "io_uring", "an io_uring of which the kernel does not tell where it stands");
    if (isIdle(state)) return state;
    if (performance.now() > end) refuseBusy(ring, state);
    letComplete(ring);
  }
}

function isIdle({ taken, given, polls, overflown, sqThread }: RingState): boolean {
  return (taken === given && polls === 0 && overflown === 0) || sqThread > 0;
}

function refuseBusy(ring: Description, { taken, given, polls }: RingState): never {
  const count = (taken - given) >>> 0;
  const what =
    polls > 0
      ? `${polls} ${polls === 1 ? "request that waits" : "requests that wait"} for a file`
      : count < 0x8000_0000
        ? `${count} ${count === 1 ? "request" : "requests"} under way, or with completions left out (IOSQE_CQE_SKIP_SUCCESS)`
        : "more completions than requests (multishot ones), so that it cannot be told whether some are under way";
  refuseDescription(ring, "io_uring_busy", `an io_uring with ${what}`, "Dump it when it has nothing to do.");
}

/** Has every thread that may have completions waiting for it run for a moment. */
function letComplete(ring: Description): void {
  inEachThread(ring, (injector, fd) => void injector.call("io_uring_enter", fd, 0, 0, ENTER_GETEVENTS, 0, 0));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
}
