/** Messages that wait in unix sockets: sent again by whoever sent them, or by a stand-in. */
import type { SocketMessageRow, SocketRow } from "../../gen/tables.js";
import type { Slot } from "../operands.js";
import { makeRoom, makeSocket, readSendSize, undoRoom } from "./socket-options.js";
import { atBase, type UnixName } from "./unix-names.js";
import { SOCK_DGRAM } from "./unix-plan.js";
import type { UnixState } from "./unix-sockets.js";

/** MSG_DONTWAIT | MSG_NOSIGNAL: what does not fit must be an error, not a hang. */
const sendFlags = 0x4040;
/** Below this the default send buffer has room. */
const comfortable = 64 << 10;

/** Puts the messages of socket `index` back into its queue. */
export function fillQueues(state: UnixState, index: number, row: SocketRow): void {
  const { socketMessages } = state.slots.context.checkpoint.tables;
  const messages = socketMessages.filter((message) => message.socket === index);
  if (messages.length === 0) return;
  const runs = row.type === SOCK_DGRAM ? bySender(messages) : [messages];
  for (const run of runs) sendRun(state, index, row, run);
}

/** Neighbours with the same sender go together; the order stays. */
function bySender(messages: readonly SocketMessageRow[]): SocketMessageRow[][] {
  const runs: SocketMessageRow[][] = [];
  for (const message of messages) {
    const last = runs.at(-1);
    if (last?.[0] && Buffer.from(last[0].senderAddress).equals(message.senderAddress)) last.push(message);
    else runs.push([message]);
  }
  return runs;
}

function sendRun(state: UnixState, index: number, row: SocketRow, run: readonly SocketMessageRow[]): void {
  const { context } = state.slots;
  const { builder } = context;
  const { sender, isPeer } = senderOf(state, index, row, run[0] as SocketMessageRow);
  const total = run.reduce((sum, message) => sum + message.data.length, 0);
  const before = total > comfortable ? readSendSize(context, sender) : undefined;
  // twice for the kernel's own overhead, which counts too
  if (before) makeRoom(context, sender, total * 2 + (64 << 10));
  const name = isPeer ? undefined : state.names.get(index);
  const send = (): void => {
    for (const { data } of run) {
      const bytes = builder.bytes(data, 1);
      const address = name ? builder.bytes(name.address) : 0;
      builder.syscall("sendto", [sender, bytes, data.length, sendFlags, address, name?.address.length ?? 0], {
        expect: data.length,
        message: `put a waiting message back ${state.purposeOf(index)}`,
      });
    }
  };
  if (name) atBase(context, name, send);
  else send();
  if (before) undoRoom(context, sender, before);
}

interface Sender {
  readonly sender: Slot;
  /** It is connected to the receiver: no address is needed. */
  readonly isPeer: boolean;
}

function senderOf(state: UnixState, index: number, row: SocketRow, message: SocketMessageRow): Sender {
  const ghost = state.ghosts.get(index);
  const peer = row.isPaired !== 0 && row.peer !== null ? state.made.get(row.peer) : undefined;
  if (row.type !== SOCK_DGRAM) return { sender: (peer ?? ghost) as Slot, isPeer: true };
  const { sockets } = state.slots.context.checkpoint.tables;
  const named = message.senderAddress.length <= 2 ? -1 : sockets.findIndex(
    (other) => other.family === 1 && other.type === SOCK_DGRAM && Buffer.from(other.localAddress).equals(message.senderAddress),
  );
  const isOtherEnd = !state.names.has(index);
  if (isOtherEnd && (peer ?? ghost)) return { sender: (peer ?? ghost) as Slot, isPeer: true };
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
  const name: UnixName = { address: message.senderAddress };
  builder.syscall("bind", [slot, builder.bytes(name.address), name.address.length], {
    message: `take the name of the sender of a waiting message ${purpose}`,
    hint: "the sender was outside the tree and still has its name",
  });
  if (message.senderAddress[2] !== 0) {
    const end = message.senderAddress.indexOf(0, 2);
    const path = message.senderAddress.subarray(2, end < 0 ? undefined : end);
    builder.syscall("unlinkat", [-100, builder.bytes(Uint8Array.from([...path, 0]), 1), 0], { expect: "any" });
  }
  return slot;
}
