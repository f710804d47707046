// SPDX-License-Identifier: Apache-2.0
/**
 * The caller's terminal while the program has it: with the modes that the program had set on its own, and with those
 * that it found when the program stops or ends. The window has the size that it has; SIGWINCH has the program look and
 * draw anew.
 */
import type { Lowering } from "./lowering.js";
import type { Arg } from "./operands.js";

const TCGETS2 = 0x802c542a;
const TCSETS2 = 0x402c542b;
/** struct termios2. */
const termiosLength = 44;
const SIGWINCH = 28;

/** What the caller lends the program while that runs. */
export interface Lent {
  give(): void;
  giveBack(): void;
}

/** Sets the program's modes. Undefined if it had no terminal of the caller's, or the modes are not known. */
export function setTerminalModes(l: Lowering, child: Arg): Lent | undefined {
  const row = l.checkpoint.tables.terminals.find(({ kind, termios }) => kind === "outside" && termios.length === termiosLength);
  if (row === undefined) return undefined;
  const b = l.builder;
  const found = b.buffer(termiosLength);
  const isTerminal = b.slot("has a terminal");
  const wanted = b.bytes(row.termios);
  const skip = (build: () => void): void => {
    const none = b.label("there is no terminal");
    b.jumpIf(isTerminal, "eq", 0, none);
    build();
    b.place(none);
  };
  const give = (): void => {
    const none = b.label("the stream is no terminal");
    b.compute(isTerminal, "move", 0);
    b.syscall("ioctl", [row.index, TCGETS2, found], { orElse: none });
    b.compute(isTerminal, "move", 1);
    b.syscall("ioctl", [row.index, TCSETS2, wanted], { expect: "any" });
    b.syscall("kill", [child, SIGWINCH], { expect: "any" });
    b.place(none);
    lookAnew(l);
  };
  give();
  return { give, giveBack: () => skip(() => b.syscall("ioctl", [row.index, TCSETS2, found], { expect: "any" })) };
}

/** SIGWINCH for the foreground group of the tree, which may not be that of the root. */
function lookAnew(l: Lowering): void {
  const { tasks } = l.checkpoint.tables;
  const root = tasks[0];
  const member = tasks.findIndex((row, index) => index > 0 && row.pgid === root?.foregroundPgid && row.state === "running");
  if (member > 0) l.builder.syscall("kill", [l.taskPid(member), SIGWINCH], { expect: "any" });
}
