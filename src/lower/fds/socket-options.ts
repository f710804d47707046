// SPDX-License-Identifier: Apache-2.0
/** Setting socket options again, and making plain sockets. */
import type { SocketOptionRow, SocketRow } from "../../gen/tables.js";
import { socketOption, socketOptionName, socketOptions } from "../../state/socket-options.js";
import type { LowerContext } from "../context.js";
import type { Slot } from "../operands.js";
import { openFlags } from "./shared.js";

const SOL_SOCKET = 1;
const SO_REUSEADDR = socketOptions.SO_REUSEADDR.option;
const SO_REUSEPORT = socketOptions.SO_REUSEPORT.option;
const SO_SNDBUF = socketOptions.SO_SNDBUF.option;
const SO_RCVBUF = socketOptions.SO_RCVBUF.option;
const SO_ATTACH_FILTER = socketOptions.SO_ATTACH_FILTER.option;
const SO_SNDBUFFORCE = socketOptions.SO_SNDBUFFORCE.option;
const SO_RCVBUFFORCE = socketOptions.SO_RCVBUFFORCE.option;
const SO_BUF_LOCK = socketOptions.SO_BUF_LOCK.option;

/** Options that wait until the queues are filled: sizes that were set when the bytes were there already, and their locks. */
const isLate = (row: SocketOptionRow): boolean => socketOption(row)?.isLate === true;

/** Rows by whether they wait: besides the sizes those that set an option once more, after bind. */
function split(context: LowerContext, socket: number): { readonly early: SocketOptionRow[]; readonly late: SocketOptionRow[] } {
  const seen = new Set<string>();
  const early: SocketOptionRow[] = [];
  const late: SocketOptionRow[] = [];
  for (const row of optionsOf(context, socket)) {
    const key = `${row.level}:${row.option}`;
    (isLate(row) || (seen.has(key) && !isRepeatable(row)) ? late : early).push(row);
    seen.add(key);
  }
  return { early, late };
}

/** Groups of netlink, peers with keys. */
const isRepeatable = (row: SocketOptionRow): boolean => socketOption(row)?.how === "membership";

/** The option rows of a socket, in order. */
export function optionsOf(context: LowerContext, socket: number): SocketOptionRow[] {
  return context.checkpoint.tables.socketOptions.filter((row) => row.socket === socket);
}

/** socket(2) into a high slot. */
export function makeSocket(context: LowerContext, row: SocketRow, name: string, purpose: string): Slot {
  const slot = context.builder.slot(name);
  context.builder.syscall("socket", [row.family, row.type | openFlags.CLOEXEC, row.protocol], {
    store: slot,
    message: `make a socket ${purpose}`,
    hint: row.type === 3 ? "raw sockets need CAP_NET_RAW" : undefined,
  });
  context.keepHigh(slot);
  return slot;
}

/** Options that matter to bind, and all others that do not depend on what is in the queues. */
export function setEarlyOptions(context: LowerContext, slot: Slot, socket: number, purpose: string): void {
  for (const row of split(context, socket).early) setOption(context, slot, row, purpose);
}

/** Sizes of the queues, and options that are set once more. */
export function setLateOptions(context: LowerContext, slot: Slot, socket: number, purpose: string): void {
  for (const row of split(context, socket).late) setOption(context, slot, row, purpose);
}

/**
 * A listening TCP socket gets SO_REUSEADDR while it is bound, whatever it had: connections of the dumped process may
 * still be in TIME_WAIT. Where several listen at one port (`isTogether`), SO_REUSEPORT may have been taken back after bind, so it gets that
 * too. `undoReuse` takes them off again.
 */
export function forceReuse(context: LowerContext, slot: Slot, isTogether: boolean): void {
  for (const [option, name] of reuseOptions(isTogether)) {
    context.builder.syscall("setsockopt", [slot, SOL_SOCKET, option, context.builder.u4s(1), 4], { message: `set ${name}` });
  }
}

export function undoReuse(context: LowerContext, slot: Slot, socket: number, isTogether: boolean): void {
  for (const [option, name] of reuseOptions(isTogether)) {
    const had = optionsOf(context, socket).some((row) => row.level === SOL_SOCKET && row.option === option);
    if (had) continue;
    context.builder.syscall("setsockopt", [slot, SOL_SOCKET, option, context.builder.u4s(0), 4], { message: `clear ${name}` });
  }
}

function reuseOptions(isTogether: boolean): (readonly [number, string])[] {
  return [[SO_REUSEADDR, "SO_REUSEADDR"], ...(isTogether ? [[SO_REUSEPORT, "SO_REUSEPORT"] as const] : [])];
}

function setOption(context: LowerContext, slot: Slot, row: SocketOptionRow, purpose: string): void {
  const { builder } = context;
  const value = builder.bytes(row.value.length > 0 ? row.value : new Uint8Array(4));
  const message = `set ${socketOptionName(row)} ${purpose}`;
  const how = socketOption(row)?.how;
  if (how === "filter") {
    // struct sock_fprog: u16 number of instructions, pointer to them
    const program = builder.u8s(row.value.length / 8, value);
    builder.syscall("setsockopt", [slot, SOL_SOCKET, SO_ATTACH_FILTER, program, 16], { message });
    return;
  }
  if (how === "size") {
    // The forced form goes beyond the system's limit, and is for CAP_NET_ADMIN; the plain one is for all.
    const plain = builder.label("plain size");
    const done = builder.label("size is set");
    const isSend = row.option === SO_SNDBUF || row.option === SO_SNDBUFFORCE;
    const forced = isSend ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
    builder.syscall("setsockopt", [slot, SOL_SOCKET, forced, value, row.value.length], { orElse: plain });
    builder.jump(done);
    builder.place(plain);
    builder.syscall("setsockopt", [slot, SOL_SOCKET, row.option, value, row.value.length], { message });
    builder.place(done);
    return;
  }
  builder.syscallOutside("setsockopt", [slot, row.level, row.option, value, row.value.length], { message });
}

/** A queue of a socket, by the option for its size and the forced form. */
const rooms = { send: [SO_SNDBUF, SO_SNDBUFFORCE], receive: [SO_RCVBUF, SO_RCVBUFFORCE] } as const;
type Room = keyof typeof rooms;

/** Room in a queue for `bytes` of messages that are put back; what it had is set afterwards. */
export function makeRoom(context: LowerContext, slot: Slot, bytes: number, room: Room = "send"): void {
  const { builder } = context;
  builder.syscall("setsockopt", [slot, SOL_SOCKET, rooms[room][1], builder.u4s(bytes), 4], { expect: "any" });
}

/** Takes `makeRoom` back: the default size, not locked. `setLateOptions` comes after. */
export function undoRoom(context: LowerContext, slot: Slot, defaultSize: Slot, room: Room = "send"): void {
  const { builder } = context;
  const half = builder.slot("half of a queue's size");
  const value = builder.buffer(8);
  builder.compute(half, "shift_right", defaultSize, 1);
  builder.store4(value, half);
  builder.syscall("setsockopt", [slot, SOL_SOCKET, rooms[room][0], value, 4], { expect: "any" });
  builder.syscall("setsockopt", [slot, SOL_SOCKET, SO_BUF_LOCK, builder.u4s(0), 4], { expect: "any" });
}

/** Reads the size of a queue into a slot. */
export function readRoom(context: LowerContext, slot: Slot, room: Room = "send"): Slot {
  const { builder } = context;
  const size = builder.slot("size of a queue");
  const value = builder.buffer(8);
  const length = builder.buffer(8);
  builder.store4(length, 4);
  builder.syscall("getsockopt", [slot, SOL_SOCKET, rooms[room][0], value, length], { message: "read the size of a queue" });
  builder.compute(size, "move", value.u4);
  return size;
}
