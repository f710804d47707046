// SPDX-License-Identifier: Apache-2.0
/** A master whose slave has a wanted number. */
import type { LowerContext } from "../../lower/context.js";
import { AT_FDCWD, openFlags } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";

const TIOCGPTN = 0x80045430;
/** More attempts are not made: a devpts with so many free numbers below the wanted one is another machine's. */
const mostAttempts = 64;

/**
 * Ops that open /dev/ptmx until the slave is /dev/pts/`index`. The kernel gives the lowest number that is free; if the
 * wanted one is in use, the terminal gets another, and a line says so. Returns a high descriptor.
 */
export function openMaster(context: LowerContext, index: number, flags: number, purpose: string): Slot {
  const { builder: b } = context;
  const master = b.slot(`master of /dev/pts/${index}`);
  const number = b.buffer(4);
  const others = b.buffer(4 * (mostAttempts + 1));
  const count = b.slot("terminals with lower numbers");
  const at = b.slot("where a descriptor is remembered");
  const again = b.label("open a pseudoterminal");
  const another = b.label("the number is in use");
  const found = b.label("the terminal has its number");
  const close = b.label("close the others");
  const done = b.label("the others are closed");
  const kept = flags & (openFlags.NONBLOCK | openFlags.LARGEFILE);
  b.compute(count, "move", 0);
  b.place(again);
  b.syscall("openat", [AT_FDCWD, b.string("/dev/ptmx"), openFlags.RDWR | kept | openFlags.NOCTTY | openFlags.CLOEXEC, 0], {
    store: master,
    message: `open a pseudoterminal ${purpose}`,
  });
  context.keepHigh(master);
  b.syscall("ioctl", [master, TIOCGPTN, number], { message: `read the number of a pseudoterminal ${purpose}` });
  b.jumpIf(number.u4, "eq", index, found);
  b.jumpIf(index, "lt", number.u4, another);
  b.jumpIf(count, "eq", mostAttempts, another);
  b.compute(at, "shift_left", count, 2);
  b.compute(at, "add", at, others);
  b.store4(at, master);
  b.compute(count, "add", count, 1);
  b.jump(again);

  b.place(another);
  b.print(`the number of the terminal /dev/pts/${index} ${purpose} is in use: it comes back with another`);
  b.place(found);
  const other = b.slot("another terminal");
  b.place(close);
  b.jumpIf(count, "eq", 0, done);
  b.compute(count, "sub", count, 1);
  b.compute(at, "shift_left", count, 2);
  b.compute(at, "add", at, others);
  b.compute(other, "load4", at);
  b.syscall("close", [other]);
  b.jump(close);
  b.place(done);
  return master;
}
