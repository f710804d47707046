// SPDX-License-Identifier: Apache-2.0
/** Sockets: unix sockets come from pairs and listeners and depend on one another; the others are made one by one. */
import type { FileLowering } from "../../lower/fds/kind.js";
import { badReference, type FileSlots, setFlags } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";
import { openInetSockets } from "./inet/lower.js";
import { fillUnixSockets, openUnixSockets } from "./unix/lower.js";

export const lowering: FileLowering = { open: openSockets };

function openSockets(slots: FileSlots, members: readonly number[]): ReturnType<FileLowering["open"]> {
  const { sockets } = slots.context.checkpoint.tables;
  /** The first file of each socket. */
  const fileOf = new Map<number, number>();
  const opened = new Map<number, Slot>();
  const socketOf = (file: number): number => {
    const { detail } = slots.file(file);
    if (detail === null || sockets[detail] === undefined) throw badReference(`sockets[${detail ?? "none"}]`);
    return detail;
  };
  for (const file of members) if (!fileOf.has(socketOf(file))) fileOf.set(socketOf(file), file);
  const purposeOf = (socket: number): string => {
    const file = fileOf.get(socket);
    return file === undefined ? `for socket ${socket}` : slots.purposeOf(file);
  };
  const state = openUnixSockets(slots, purposeOf);
  const { made } = state;
  for (const [socket, slot] of openInetSockets(slots, purposeOf)) made.set(socket, slot);
  for (const file of members) {
    const slot = made.get(socketOf(file));
    if (slot !== undefined) opened.set(file, slot);
  }
  const complete = (): void => {
    fillUnixSockets(state);
    // at last: connecting and accepting were to wait
    for (const [file, slot] of opened) setFlags(slots.context, slot, slots.file(file).flags, slots.purposeOf(file));
  };
  return { slots: opened, complete };
}
