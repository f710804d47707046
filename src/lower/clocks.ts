// SPDX-License-Identifier: Apache-2.0
/**
 * CLOCK_MONOTONIC and CLOCK_BOOTTIME go on where they were: a program that finds them somewhere else takes the
 * difference for time that has passed, or waits for it (time_namespaces(7)).
 *
 * The first process makes a time namespace for its children and sets offsets in it; the root, its next child, is born
 * there, and with it the whole tree. Nothing else has to know: absolute times in the program's memory and registers
 * are right again, and relative ones (timers are kept as the time left) were never wrong.
 */
import { AT, CLONE, O } from "./constants.js";
import type { Lowering } from "./lowering.js";
import type { DataRef, Label, Slot } from "./operands.js";
import { clockModeValues, optionSlotValues } from "../gen/restore-program.js";

const second = 1_000_000_000n;
const offsetsFile = "/proc/self/timens_offsets";
/** Two lines of three columns. */
const offsetsRoom = 256;
const [minus, zero, nine] = [0x2d, 0x30, 0x39];

const clocks = [
  { id: 1, name: "monotonic" },
  { id: 7, name: "boottime" },
] as const;

/** Ops of the process that will fork the root. Where the kernel says no, a line says so, and the tree resumes all the same. */
export function continueClocks(l: Lowering): void {
  const b = l.builder;
  const row = l.checkpoint.tables.checkpoint[0];
  const option = b.slots[optionSlotValues.clock];
  // Formats that do not tell the time have nothing to go on from.
  if (row === undefined || option === undefined || row.monotonicNs <= 0n || row.boottimeNs <= 0n) return;
  const done = b.label("the clocks are set");
  const cannot = b.label("cannot set the clocks");
  if (row.clock === "host") b.jumpIf(option, "ne", clockModeValues.continue, done);
  else b.jumpIf(option, "eq", clockModeValues.host, done);
  const options = { orElse: cannot };
  const text = b.buffer(offsetsRoom);
  const fd = b.slot("fd of the clock offsets");
  const open = (flags: number): void =>
    b.syscall("openat", [AT.fdcwd, b.string(offsetsFile), flags | O.cloexec, 0], { ...options, store: fd });
  open(O.rdonly);
  b.syscall("read", [fd, text, offsetsRoom - 1], options);
  b.syscall("close", [fd]);
  const bases = readNumbers(l, text, clocks.length * 2);
  b.syscall("unshare", [CLONE.newtime], options);
  const line = b.buffer(offsetsRoom);
  const end = b.slot("end of the offsets");
  b.compute(end, "move", line);
  clocks.forEach(({ id, name }, index) => {
    const wanted = id === 1 ? row.monotonicNs : row.boottimeNs;
    addOffset(l, { id, name, wanted, base: bases.at(index * 16), end }, options);
  });
  const length = b.slot("length of the offsets");
  b.compute(length, "sub", end, line);
  // It takes all in one write at its beginning, and cannot be seeked in.
  open(O.wronly);
  b.syscall("write", [fd, line, length], options);
  const shut = b.label("offsets are written");
  b.jump(shut);
  b.place(cannot);
  b.print(
    "the monotonic and boot-time clocks do not continue from their values at the dump: a time namespace cannot be created here " +
      "(it needs CAP_SYS_ADMIN and CAP_SYS_TIME, or --pid namespace); timeouts of the program may come late or early",
  );
  b.place(shut);
  b.syscall("close", [fd], { expect: "any" });
  b.place(done);
}

/**
 * The decimal numbers in a text, as s8 one after the other: the offsets that the caller's own time namespace has. What
 * is written counts from the clock of the machine, not from the one that the caller sees.
 */
function readNumbers(l: Lowering, text: DataRef, count: number): DataRef {
  const b = l.builder;
  const numbers = b.buffer(count * 8);
  const [at, to, left, value, sign, character] = [
    b.slot("place in the offsets"),
    b.slot("place of a number"),
    b.slot("numbers left"),
    b.slot("a number"),
    b.slot("is negative"),
    b.slot("a character"),
  ];
  const [next, skip, digits, whole, positive] = [
    b.label("next number"),
    b.label("skip to a digit"),
    b.label("digits"),
    b.label("a whole number"),
    b.label("a positive number"),
  ];
  const look = (): void => {
    b.compute(character, "load4", at);
    b.compute(character, "and", character, 0xff);
  };
  b.compute(at, "move", text);
  b.compute(to, "move", numbers);
  b.compute(left, "move", count);
  b.place(next);
  b.compute(value, "move", 0);
  b.compute(sign, "move", 0);
  b.place(skip);
  look();
  const isDigit = b.label("a digit");
  const notDigit = b.label("no digit");
  b.jumpIf(character, "lt", zero, notDigit);
  b.jumpIf(character, "ge", nine + 1, notDigit);
  b.jump(isDigit);
  b.place(notDigit);
  const noSign = b.label("no sign");
  b.jumpIf(character, "ne", minus, noSign);
  b.compute(sign, "move", 1);
  b.place(noSign);
  // The text ends in zeros where it is not what it should be: then what is left is 0.
  b.jumpIf(character, "eq", 0, whole);
  b.compute(at, "add", at, 1);
  b.jump(skip);
  b.place(isDigit);
  b.place(digits);
  timesTen(l, value);
  b.compute(value, "add", value, character);
  b.compute(value, "sub", value, zero);
  b.compute(at, "add", at, 1);
  look();
  b.jumpIf(character, "lt", zero, whole);
  b.jumpIf(character, "lt", nine + 1, digits);
  b.place(whole);
  b.jumpIf(sign, "eq", 0, positive);
  b.compute(value, "sub", 0, value);
  b.place(positive);
  b.store8(to, value);
  b.compute(to, "add", to, 8);
  b.compute(left, "sub", left, 1);
  b.jumpIf(left, "ne", 0, next);
  return numbers;
}

function timesTen(l: Lowering, value: Slot): void {
  const b = l.builder;
  const eight = b.slot("eight times a number");
  b.compute(eight, "shift_left", value, 3);
  b.compute(value, "shift_left", value, 1);
  b.compute(value, "add", value, eight);
}

interface ClockOffset {
  readonly id: number;
  readonly name: string;
  /** What the clock should show, nanoseconds. */
  readonly wanted: bigint;
  /** Seconds and nanoseconds by which the caller's own clock is ahead of the machine's. */
  readonly base: DataRef;
  /** Where the text goes on; moves. */
  readonly end: Slot;
}

/** Adds a line: `monotonic -12 340000000`. */
function addOffset(l: Lowering, { id, name, wanted, base, end }: ClockOffset, options: { readonly orElse: Label }): void {
  const b = l.builder;
  const now = b.buffer(16);
  const [seconds, nanoseconds, length] = [b.slot(`${name} seconds`), b.slot(`${name} nanoseconds`), b.slot("length of a text")];
  b.syscall("clock_gettime", [id, now], options);
  b.compute(seconds, "sub", wanted / second, now.u8);
  b.compute(seconds, "add", seconds, base.u8);
  b.compute(nanoseconds, "sub", wanted % second, now.at(8).u8);
  b.compute(nanoseconds, "add", nanoseconds, base.at(8).u8);
  const [notNegative, inRange] = [b.label("not negative"), b.label("less than a second")];
  b.jumpIf(nanoseconds, "ge", 0, notNegative);
  b.compute(nanoseconds, "add", nanoseconds, second);
  b.compute(seconds, "sub", seconds, 1);
  b.place(notNegative);
  b.jumpIf(nanoseconds, "lt", second, inRange);
  b.compute(nanoseconds, "sub", nanoseconds, second);
  b.compute(seconds, "add", seconds, 1);
  b.place(inRange);
  const [ahead, written] = [b.label("ahead"), b.label("seconds are written")];
  b.jumpIf(seconds, "ge", 0, ahead);
  b.compute(seconds, "sub", 0, seconds);
  b.format(end, `${name} -`, seconds, " ", { store: length });
  b.jump(written);
  b.place(ahead);
  b.format(end, `${name} `, seconds, " ", { store: length });
  b.place(written);
  b.compute(end, "add", end, length);
  b.format(end, "", nanoseconds, "\n", { store: length });
  b.compute(end, "add", end, length);
}
