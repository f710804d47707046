// SPDX-License-Identifier: Apache-2.0
/**
 * Packets of TCP connections with peers outside, while their sockets are made: they are dropped by a table of nftables that
 * goes with the first process, however it ends; and by the one that the dump left, if it is still there. That one goes when
 * the tree is about to run, not before: whoever resumes again after a failure finds the connections as they were.
 */
import { answerErrorOffset, type Ends, lockBatches, NETLINK_NETFILTER, unlockBatch } from "../../../linux/nftables.js";
import type { LowerContext } from "../../../lower/context.js";
import { openFlags } from "../../../lower/fds/shared.js";
import type { Slot } from "../../../lower/operands.js";
import type { ProgramBuilder } from "../../../lower/program-builder.js";
import { levelOf, socketOptions } from "../../../state/socket-options.js";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const answerLength = 4096;
const ENOENT = 2;

/** Ops of the first process, before any of the sockets is there. Registers the end of it. */
export function dropPackets(context: LowerContext, connections: readonly Ends[]): void {
  const { builder, checkpoint } = context;
  if (checkpoint.tables.networkLocks.some(({ lockMethod }) => lockMethod === "iptables")) {
    builder.outside(() => {
      builder.print(
        "CRIU has dumped this with a lock of iptables: its rules (iptables -S, ip6tables -S: mark ! 0xc114 … DROP) hold the connections " +
          "back until they are deleted; criu dump --network-lock nftables leaves what is taken off here",
      );
    });
  }
  const lasting = checkpoint.tables.networkLocks.filter(({ lockMethod }) => lockMethod === "nftables");
  if (connections.length === 0 && lasting.length === 0) return;
  const netlink = builder.slot("netlink socket of nftables");
  builder.compute(netlink, "move", -1);
  const cannot = builder.label("packets cannot be dropped");
  const done = builder.label("packets are dropped, as far as they can be");
  builder.jumpIf(builder.rehearsal, "ne", 0, done);
  builder.syscall("socket", [AF_NETLINK, SOCK_RAW | openFlags.CLOEXEC, NETLINK_NETFILTER], { store: netlink, orElse: cannot });
  context.keepHigh(netlink);
  if (connections.length > 0) {
    const batches = lockBatches(tableName(checkpoint.tables.checkpoint[0]?.createdNs ?? 0n), "owned", connections);
    for (const batch of batches) exchange(builder, netlink, batch, (error) => builder.jumpIf(error, "ne", 0, cannot));
  }
  builder.jump(done);
  builder.place(cannot);
  builder.print("packets cannot be held back while TCP connections are made (nftables): what a peer sends now may end its connection");
  builder.place(done);
  context.untilEnd([netlink], ([fd = -1]) => {
    builder.outside(() => {
      for (const { name } of lasting) {
        exchange(builder, fd, unlockBatch(name), (error) => {
          const gone = builder.label("the lock is off");
          builder.jumpIf(error, "eq", 0, gone);
          builder.jumpIf(error, "eq", -ENOENT, gone);
          builder.print(`the nftables table "inet ${name}" of the dump cannot be deleted: its connections stay held back until it is`);
          builder.place(gone);
        });
      }
      builder.syscall("close", [fd], { expect: "any" });
    });
  });
}

/** The kernel lets no two tables of one network have one name; two resumes of one image cannot both hold its connections. */
function tableName(createdNs: bigint): string {
  return `crimg-resuming-${createdNs.toString(36)}`;
}

/** Sends a batch; `judge` gets the slot with its negative errno, or 0. */
function exchange(builder: ProgramBuilder, netlink: Slot | number, batch: Uint8Array, judge: (error: Slot) => void): void {
  const answer = builder.buffer(answerLength);
  const error = builder.slot("answer of nftables");
  const failed = builder.label("no answer");
  const { SO_SNDBUFFORCE } = socketOptions;
  builder.syscall("setsockopt", [netlink, levelOf("SO_SNDBUFFORCE"), SO_SNDBUFFORCE.option, builder.u4s(4 * batch.length), 4], {
    expect: "any",
  });
  builder.syscall("sendto", [netlink, builder.bytes(batch), batch.length, 0, 0, 0], { store: error, orElse: failed });
  builder.syscall("recvfrom", [netlink, answer, answerLength, 0, 0, 0], { store: error, orElse: failed });
  builder.compute(error, "move", answer.at(answerErrorOffset).s4);
  builder.place(failed);
  judge(error);
}
