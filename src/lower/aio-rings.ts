// SPDX-License-Identifier: Apache-2.0
/**
 * Contexts of asynchronous I/O (io_setup(2)). A context is named by the address of its ring of events, and keeps its own
 * count of where the next event goes, which nobody can set: as many requests as it takes are made anew on /dev/null. Then
 * the old content goes into the ring, and the ring to its old place (mremap renames the context with it).
 */
import type { VmaRow } from "../gen/tables.js";
import { AT, MREMAP, O } from "./constants.js";
import type { DataRef, Label, Slot } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

/** struct aio_ring of the kernel's fs/aio.c, u4 each: id, nr, head, tail. Events begin at 32. */
const ringOffset = { nr: 4, head: 8 } as const;
/** struct iocb (linux/aio_abi.h): 64 bytes. */
const [iocbSize, iocbFd] = [64, 20];
const eventSize = 32;

/** Ops of the task. The content of the ring is at its address, in memory of no special kind. */
export function makeAioRing(b: ProgramBuilder, { start, end }: VmaRow): void {
  const at = start.toString(16);
  const message = `make the asynchronous I/O context ${at}`;
  const length = end - start;
  const count = length / BigInt(eventSize) - 1n;
  const [self, ring, next, fd] = [b.slot("own pid"), b.slot(`ring ${at}`), b.slot(`next of ring ${at}`), b.slot("fd of /dev/null")];
  const [context, request] = [b.buffer(8), b.buffer(iocbSize)];
  b.syscall("getpid", [], { store: self });
  // The kernel doubles the number asked for, adds two, and rounds up to pages.
  b.syscall("io_setup", [(count - 2n) >> 1n, context], { message, hint: "the limit on all contexts together is a sysctl (fs.aio-max-nr)" });
  b.compute(ring, "move", context.u8);

  /** Copies from the memory of the task, where ops do not look, into `to`. */
  const read = (to: DataRef, from: bigint | Slot, offset: number, bytes: bigint): void => {
    const remote = b.u8s(0, bytes);
    const place = b.slot("place in a ring");
    b.compute(place, "add", from, offset);
    b.store8(remote, place);
    b.syscall("process_vm_readv", [self, to, 1, remote, 1, 0], { expect: bytes, message: `${message}: copy its ring` });
  };
  const [old, made] = [b.buffer(8), b.buffer(8)];
  read(b.u8s(old, 8), start, ringOffset.head, 8n);
  read(b.u8s(made, 4), ring, ringOffset.nr, 4n);
  const [head, tail] = [old.u4, old.at(4).u4];
  // Whatever the ring says where it begins and ends, the loops below come to an end.
  const wrong = b.label("head or tail lie outside");
  const right = b.label("the ring is right");
  const larger = b.label("the ring is larger");
  b.jumpIf(count, "lt", made.u4, larger);
  b.jumpIf(head, "ge", count, wrong);
  b.jumpIf(tail, "lt", count, right);
  b.place(wrong);
  b.fail(`${message}: head or tail of its ring lie outside`, "the image is damaged, or the program wrote there");
  b.place(larger);
  b.fail(
    `${message}: the kernel makes a larger ring`,
    "its size depends on the number of processors: resume on a machine like that of the dump",
  );
  b.place(right);

  b.syscall("openat", [AT.fdcwd, b.string("/dev/null"), O.rdwr | O.cloexec, 0], { store: fd, message: "open /dev/null" });
  b.store4(request.at(iocbFd), fd);
  const requests = b.u8s(request);
  const submit = (): void => b.syscall("io_submit", [ring, 1, requests], { expect: 1, message });
  const [more, reaped, pending, isWhole, wrapped] = [
    "more requests",
    "head is reached",
    "more events",
    "ring is whole",
    "ring goes on",
  ].map((name) => b.label(name)) as [Label, Label, Label, Label, Label];
  b.compute(next, "move", 0);
  b.place(more);
  b.jumpIf(next, "eq", head, reaped);
  submit();
  b.syscall("io_getevents", [ring, 1, 1, b.buffer(eventSize), 0], { expect: 1, message });
  b.compute(next, "add", next, 1);
  b.jump(more);
  b.place(reaped);
  b.place(pending);
  b.jumpIf(next, "eq", tail, isWhole);
  submit();
  b.compute(next, "add", next, 1);
  b.jumpIf(next, "lt", count, wrapped);
  b.compute(next, "move", 0);
  b.place(wrapped);
  b.jump(pending);
  b.place(isWhole);
  b.syscall("close", [fd]);

  // All but its number, by which the kernel finds the context.
  const local = b.u8s(0, length - BigInt(ringOffset.nr));
  const place = b.slot("place in the new ring");
  b.compute(place, "add", ring, ringOffset.nr);
  b.store8(local, place);
  read(local, start, ringOffset.nr, length - BigInt(ringOffset.nr));
  b.syscall("mremap", [ring, length, length, MREMAP.maymove | MREMAP.fixed, start], {
    expect: start,
    message: `${message} at its place`,
    hint: "the kernel makes a smaller ring here, if the number of processors is another: resume on a machine like that of the dump",
  });
}
