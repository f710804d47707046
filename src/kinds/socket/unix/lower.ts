// SPDX-License-Identifier: Apache-2.0
/** Unix sockets in the first process: made, bound, listening, connected, filled, shut down; deleted names removed. */
import { CrimgError } from "../../../errors/crimg-error.js";
import type { SocketRow } from "../../../gen/tables.js";
import type { Slot } from "../../../lower/operands.js";
import { badReference, type FileSlots, openFlags, takeHigh } from "../../../lower/fds/shared.js";
import { makeSocket, setEarlyOptions, setLateOptions } from "../../../lower/fds/socket-options.js";
import { fillQueue } from "./lower-queues.js";
import { bindName, nameOfSocket, outsideName, plainAddress, printable, type UnixName } from "./lower-names.js";
import { type Origin, planOrigins, SOCK_DGRAM } from "./lower-plan.js";
import type { UnixState } from "./lower-state.js";

/** Makes all unix sockets: bound, listening, and streams connected. `fillUnixSockets` does the rest. */
export function openUnixSockets(slots: FileSlots, purposeOf: (socket: number) => string): UnixState {
  const { context } = slots;
  const { sockets } = context.checkpoint.tables;
  const rows = sockets.flatMap((row, index) => (row.family === 1 ? [{ row, index }] : []));
  const names = new Map<number, UnixName>();
  for (const { row, index } of rows) {
    const name = nameOfSocket(context, index, row);
    if (name) names.set(index, name);
  }
  const origins = planOrigins(sockets);
  const state: UnixState = { slots, made: new Map(), closedPeers: new Map(), names, origins, addresses: new Map(), purposeOf };
  for (const { row, index } of rows) makeAlone(state, index, row, origins[index] as Origin);
  for (const { row, index } of rows) bindOne(state, index, row, origins[index] as Origin);
  for (const { row, index } of rows) {
    if (row.state !== "listening") continue;
    const slot = state.made.get(index) as Slot;
    asPeer(state, row, () => {
      context.builder.syscall("listen", [slot, row.backlog], { message: `listen on ${nameText(state, index)} ${purposeOf(index)}` });
    });
  }
  for (const { row, index } of rows) connectStream(state, index, row, origins[index] as Origin);
  // Those that are not accepted stay in the queue, so they come last.
  for (const { index } of rows) connectPending(state, index, origins[index] as Origin);
  return state;
}

/**
 * Fills the queues, connects datagram sockets, shuts down. Every file that may travel in a
 * message exists by now. Datagrams are sent before their receiver connects: then it takes them from its peer only.
 */
export function fillUnixSockets(state: UnixState): void {
  const rows = state.slots.context.checkpoint.tables.sockets.flatMap((row, index) => (row.family === 1 ? [{ row, index }] : []));
  for (const { row, index } of rows) if (row.type === SOCK_DGRAM) fillQueue(state, index, row);
  for (const { row, index } of rows) connectDatagram(state, index, row, state.origins[index] as Origin);
  for (const { row, index } of rows) if (row.type !== SOCK_DGRAM) fillQueue(state, index, row);
  for (const { row, index } of rows) finishOne(state, index, row);
}

const nameText = ({ names }: UnixState, index: number): string => {
  const name = names.get(index);
  return name ? printable(name) : "an unnamed socket";
};

/** Sockets of their own, clients, and pairs (when their first end comes). */
function makeAlone(state: UnixState, index: number, row: SocketRow, origin: Origin): void {
  const { slots, made } = state;
  const { context } = slots;
  const purpose = state.purposeOf(index);
  if (made.has(index) || origin.how === "accepted") return;
  if (origin.how !== "pair") {
    made.set(index, makeSocket(context, row, `unix socket ${purpose}`, purpose));
    return;
  }
  const ends = context.builder.buffer(8);
  asPeer(state, row, () => {
    context.builder.syscall("socketpair", [1, row.type | openFlags.CLOEXEC, 0, ends], { message: `make a pair of sockets ${purpose}` });
  });
  made.set(index, takeHigh(context, ends, `unix socket ${purpose}`));
  const otherEnd = takeHigh(context, ends.at(4), `other end ${purpose}`);
  if (origin.other !== undefined && !made.has(origin.other)) made.set(origin.other, otherEnd);
  else state.closedPeers.set(index, otherEnd);
}

/** Accepted sockets have their listener's name from it; all others bind. */
function bindOne(state: UnixState, index: number, row: SocketRow, origin: Origin): void {
  const { context } = state.slots;
  const name = state.names.get(index);
  if (origin.how === "accepted") return;
  const slot = state.made.get(index) as Slot;
  const purpose = state.purposeOf(index);
  if (name) state.addresses.set(index, bindName(context, slot, name, row, purpose));
  // After bind: with SO_PASSCRED a socket without a name gets one by itself when it connects.
  setEarlyOptions(context, slot, index, purpose);
}

/** Connects a client to its listener and accepts the other end at once. */
function connectStream(state: UnixState, index: number, row: SocketRow, origin: Origin): void {
  if (origin.how === "outside") {
    connectOutside(state, index, row);
  } else if (origin.how === "accepted" && origin.client === undefined) {
    const client = makeSocket(state.slots.context, row, "client that is gone", state.purposeOf(index));
    state.closedPeers.set(index, client);
    connectAndAccept(state, client, origin.listener, index);
  } else if (origin.how === "client") {
    connectAndAccept(state, state.made.get(index) as Slot, origin.listener, origin.accepted, index);
  }
}

/** As the process that has the socket: the other program may ask who it is that connects. */
function connectOutside(state: UnixState, index: number, row: SocketRow): void {
  const { context } = state.slots;
  const { builder } = context;
  const purpose = state.purposeOf(index);
  const to = plainAddress(context, row.peerAddress);
  builder.outside(() => {
    asHolder(state, index, () => {
      builder.syscall("connect", [state.made.get(index) as Slot, to.address, to.length], {
        message: `connect to ${outsideName(row.peerAddress)} ${purpose}`,
        hint: "that socket is of another program, which must be running and listening",
      });
    });
  });
}

function asHolder({ slots: { context } }: UnixState, socket: number, build: () => void): void {
  const { files, descriptors, tasks, threads, creds } = context.checkpoint.tables;
  const file = files.findIndex(({ kind, detail }) => kind === "socket" && detail === socket);
  const holder = descriptors.find((row) => row.file === file)?.task;
  const pid = holder === undefined ? undefined : tasks[holder]?.pid;
  const leader = threads.find(({ tid }) => tid === pid);
  const credentials = leader?.creds == null ? undefined : creds[leader.creds];
  if (pid === undefined || credentials === undefined) build();
  else context.runAs({ pid, uid: credentials.euid, gid: credentials.egid, groups: credentials.groups }, build);
}

function connectAndAccept(state: UnixState, client: Slot, listener: number, accepted: number | undefined, clientRow?: number): void {
  const { context } = state.slots;
  const { builder } = context;
  const purpose = state.purposeOf(accepted ?? clientRow ?? listener);
  const row = accepted === undefined ? undefined : context.checkpoint.tables.sockets[accepted];
  asPeer(state, row, () => connectTo(state, client, listener, purpose));
  const slot = builder.slot(`accepted ${purpose}`);
  builder.syscall("accept4", [state.made.get(listener) as Slot, 0, 0, openFlags.CLOEXEC], {
    store: slot,
    message: `accept from ${nameText(state, listener)} ${purpose}`,
  });
  context.keepHigh(slot);
  if (accepted !== undefined) {
    state.made.set(accepted, slot);
    setEarlyOptions(context, slot, accepted, purpose);
  } else if (clientRow !== undefined) {
    state.closedPeers.set(clientRow, slot);
  }
}

/**
 * Runs a call that makes `row` a peer (or listening) as whom SO_PEERCRED of it names: the kernel remembers its maker. Of
 * supplementary groups (SO_PEERGROUPS) those that the process has now are the best guess.
 */
function asPeer({ slots: { context } }: UnixState, row: SocketRow | undefined, build: () => void): void {
  if (row === undefined || row.peerPid === 0) {
    build();
    return;
  }
  const { threads, creds } = context.checkpoint.tables;
  const leader = threads.find(({ tid }) => tid === row.peerPid);
  const groups = leader?.creds == null ? undefined : creds[leader.creds]?.groups;
  context.runAs({ pid: row.peerPid, uid: row.peerUid, gid: row.peerGid, groups }, build);
}

/** A client whose connection waits to be accepted. */
function connectPending(state: UnixState, index: number, origin: Origin): void {
  if (origin.how !== "pending") return;
  connectTo(state, state.made.get(index) as Slot, origin.listener, state.purposeOf(index));
}

function connectTo(state: UnixState, slot: Slot, target: number, purpose: string): void {
  const to = state.addresses.get(target);
  if (to === undefined) throw badReference(`name of sockets[${target}]`);
  state.slots.context.builder.syscall("connect", [slot, to.address, to.length], {
    message: `connect to ${nameText(state, target)} ${purpose}`,
  });
}

/** Datagram sockets connect by name; one end of a pair that is not connected to the other is disconnected. */
function connectDatagram(state: UnixState, index: number, row: SocketRow, origin: Origin): void {
  const { context } = state.slots;
  const { builder } = context;
  if (row.type !== SOCK_DGRAM) return;
  const slot = state.made.get(index) as Slot;
  const purpose = state.purposeOf(index);
  const isOtherEnd = origin.how === "pair" && (row.peer === null || origin.other === row.peer);
  if (row.state === "connected" && !isOtherEnd) {
    if (row.peer !== null && state.addresses.has(row.peer)) {
      connectTo(state, slot, row.peer, purpose);
      return;
    }
    if (row.peer !== null || row.peerAddress.length <= 2) {
      throw new CrimgError("lower.unix_peer", `socket ${index} is connected to socket ${row.peer ?? "none"}, which has no name`, {
        path: `sockets[${index}]`,
      });
    }
    const to = plainAddress(context, row.peerAddress);
    builder.outside(() => {
      builder.syscall("connect", [slot, to.address, to.length], {
        message: `connect to ${outsideName(row.peerAddress)} ${purpose}`,
        hint: "that socket is of another program, which must be running",
      });
    });
  } else if (row.state !== "connected" && origin.how === "pair") {
    const unspecified = new Uint8Array(2);
    builder.syscall("connect", [slot, builder.bytes(unspecified), 2], { message: `disconnect a socket ${purpose}` });
  }
}

/** Buffer sizes and shutdown, once the queue holds what it held. */
function finishOne(state: UnixState, index: number, row: SocketRow): void {
  const { context } = state.slots;
  const slot = state.made.get(index) as Slot;
  const purpose = state.purposeOf(index);
  setLateOptions(context, slot, index, purpose);
  if (row.shutdown !== 0)
    context.builder.syscall("shutdown", [slot, row.shutdown - 1], { expect: [0, -107], message: `shut a socket down ${purpose}` });
}
