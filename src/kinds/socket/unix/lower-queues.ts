// SPDX-License-Identifier: Apache-2.0
/** Messages that wait in unix sockets: sent again by whoever sent them, or by a stand-in. */
import type { SocketMessageRow, SocketRow } from "../../../gen/tables.js";
import type { Slot } from "../../../lower/operands.js";
import { makeRoom, makeSocket, readRoom, undoRoom } from "../../../lower/fds/socket-options.js";
import type { ReachableAddress } from "./lower-names.js";
import { SOCK_DGRAM } from "./lower-plan.js";
import type { UnixState } from "./lower-state.js";
import { badReference } from "../../../lower/fds/shared.js";

/** MSG_DONTWAIT | MSG_NOSIGNAL: what does not fit must be an error, not a hang. */
const sendFlags = 0x4040;
/** Below this the default send buffer has room. */
const comfortable = 64 << 10;

/** Puts the messages of socket `index` back into its queue. */
export function fillQueue(state: UnixState, index: number, row: SocketRow): void {
  const { socketMessages } = state.slots.context.checkpoint.tables;
  const messages = socketMessages.flatMap((message, row) => (message.socket === index ? [{ ...message, row }] : []));
  if (messages.length === 0) return;
  const runs = row.type === SOCK_DGRAM ? bySender(messages) : [messages];
  for (const run of runs) sendRun(state, index, row, run);
}

/** A message and its row. */
type Message = SocketMessageRow & { readonly row: number };

/** Neighbours with the same sender go together; the order stays. */
function bySender(messages: readonly Message[]): Message[][] {
  const runs: Message[][] = [];
  for (const message of messages) {
    const last = runs.at(-1);
    if (last?.[0] && Buffer.from(last[0].senderAddress).equals(message.senderAddress)) last.push(message);
    else runs.push([message]);
  }
  return runs;
}

function sendRun(state: UnixState, index: number, row: SocketRow, run: readonly Message[]): void {
  const { context } = state.slots;
  const { sender, isPeer } = senderOf(state, index, row, run[0] as Message);
  const total = run.reduce((sum, message) => sum + message.data.length, 0);
  const before = total > comfortable ? readRoom(context, sender) : undefined;
  // twice for the kernel's own overhead, which counts too
  if (before) makeRoom(context, sender, total * 2 + (64 << 10));
  const to = isPeer ? undefined : state.addresses.get(index);
  for (const { data, senderPid, senderUid, senderGid, row: message } of run) {
    const send = (): void => sendOne(state, sender, to, data, message, state.purposeOf(index));
    if (senderPid === 0) send();
    else context.runAs({ pid: senderPid, uid: senderUid, gid: senderGid, groups: undefined }, send);
  }
  if (before) undoRoom(context, sender, before);
}

/** Sends one message, with the descriptors that travel with it. */
function sendOne(
  state: UnixState,
  sender: Slot,
  to: ReachableAddress | undefined,
  data: Uint8Array,
  message: number,
  purpose: string,
): void {
  const { context } = state.slots;
  const { builder } = context;
  const bytes = builder.bytes(data, 1);
  const address = to?.address ?? 0;
  const addressLength = to?.length ?? 0;
  const files = context.checkpoint.tables.messageFiles.filter((row) => row.message === message).map(({ file }) => state.slots.get(file));
  const options = { expect: data.length, message: `put a waiting message back ${purpose}` };
  if (files.length === 0) {
    builder.syscall("sendto", [sender, bytes, data.length, sendFlags, address, addressLength], options);
    return;
  }
  // struct cmsghdr (u8 length, s4 level SOL_SOCKET, s4 type SCM_RIGHTS) and the descriptors, which are known only then
  const header = 16;
  const control = builder.bytes(new Uint8Array((header + files.length * 4 + 7) & ~7));
  builder.store8(control, header + files.length * 4);
  builder.store8(control.at(8), (1n << 32n) | 1n);
  files.forEach((slot, index) => {
    if (slot === undefined) throw badReference(`files of socket_messages[${message}]`);
    builder.store4(control.at(header + index * 4), slot);
  });
  const iov = builder.u8s(bytes, data.length);
  const msghdr = builder.u8s(address, addressLength, iov, 1, control, header + files.length * 4, 0);
  builder.syscall("sendmsg", [sender, msghdr, sendFlags], options);
}

interface Sender {
  readonly sender: Slot;
  /** It is connected to the receiver: no address is needed. */
  readonly isPeer: boolean;
}

function senderOf(state: UnixState, index: number, row: SocketRow, message: SocketMessageRow): Sender {
  const closedPeer = state.closedPeers.get(index);
  const peer = row.isPaired !== 0 && row.peer !== null ? state.made.get(row.peer) : undefined;
  if (row.type !== SOCK_DGRAM) return { sender: (peer ?? closedPeer) as Slot, isPeer: true };
  const { sockets } = state.slots.context.checkpoint.tables;
  const named =
    message.senderAddress.length <= 2
      ? -1
      : sockets.findIndex(
          (other) => other.family === 1 && other.type === SOCK_DGRAM && Buffer.from(other.localAddress).equals(message.senderAddress),
        );
  const isOtherEnd = !state.addresses.has(index);
  if (isOtherEnd && (peer ?? closedPeer)) return { sender: (peer ?? closedPeer) as Slot, isPeer: true };
  const known = named < 0 ? undefined : state.made.get(named);
  return { sender: known ?? standIn(state, index, row, message), isPeer: false };
}

/** A socket for a sender that is not of the tree; with its name, if it had one. */
function standIn(state: UnixState, index: number, row: SocketRow, message: SocketMessageRow): Slot {
  const { context } = state.slots;
  const { builder } = context;
  const purpose = state.purposeOf(index);
  const slot = makeSocket(context, row, `sender of a waiting message ${purpose}`, purpose);
  if (message.senderAddress.length <= 2) return slot;
  builder.outside(() => {
    builder.syscall("bind", [slot, builder.bytes(message.senderAddress), message.senderAddress.length], {
      message: `take the name of the sender of a waiting message ${purpose}`,
      hint: "the sender was outside the tree and still has its name",
    });
    if (message.senderAddress[2] !== 0) {
      const end = message.senderAddress.indexOf(0, 2);
      const path = message.senderAddress.subarray(2, end < 0 ? undefined : end);
      builder.syscall("unlinkat", [-100, builder.bytes(Uint8Array.from([...path, 0]), 1), 0], { expect: "any" });
    }
  });
  return slot;
}
