// SPDX-License-Identifier: Apache-2.0
/**
 * Packet sockets (packet(7)). Memberships, rings and the protocol are told by packet_diag only (linux/packet_diag.h); they
 * become options, in the order in which they can be set again. What the socket has received and nobody has read is lost,
 * as packets are; where the kernel writes next in a ring cannot be set.
 */
import { type SocketRow, socketRow } from "../../../gen/tables.js";
import { SysError, tryGetsockopt, trySocketAddress } from "../../../native/index.js";
import { type Collecting, type Description, nameOf, refuseDescription } from "../../../dump/fds/context.js";
import type { OptionValue } from "../../../dump/fds/socket-options.js";
import { levelOf, socketOptions } from "../../../state/socket-options.js";
import { type PacketDiag, packetSockets } from "../dump-sock-diag.js";

const SOCK_PACKET = 10;

export class PacketSocketCollector {
  #diags: ReadonlyMap<number, PacketDiag> | undefined;

  constructor(private readonly collecting: Collecting) {}

  collect(description: Description, type: number): SocketRow {
    const { stat, fd } = description;
    const { protocol, receiveQueue } = this.#diag(description);
    const local = trySocketAddress(fd, "getsockname");
    if (typeof local === "number") refuseDescription(description, "socket_family", "a packet socket that does not tell its device");
    if (receiveQueue > 0) {
      this.collecting.context.lose(
        "dump.packets",
        `${nameOf(description)}: packets that the packet socket has received and nobody has read`,
      );
    }
    // sockaddr_ll: the device at 4; one of SOCK_PACKET has its name at 2.
    const isBound = type === SOCK_PACKET ? local[2] !== 0 : protocol !== 0 || local.readInt32LE(4) !== 0;
    // The kernel gives as much of the address as there is, and takes all of struct sockaddr_ll.
    const padded = Buffer.alloc(type === SOCK_PACKET ? local.length : Math.max(20, local.length));
    local.copy(padded);
    const localAddress = isBound ? Uint8Array.from(padded) : new Uint8Array(0);
    // In network order, as socket(2) takes it.
    const wireProtocol = ((protocol & 0xff) << 8) | (protocol >> 8);
    return socketRow({ ino: stat.ino, family: 17, type, protocol: wireProtocol, state: "unconnected", localAddress });
  }

  /** Options that getsockopt does not tell. */
  options(description: Description): OptionValue[] {
    const { copyThreshold, memberships, receiveRing, sendRing, fanout } = this.#diag(description);
    const level = levelOf("PACKET_AUXDATA");
    const option = (name: keyof typeof socketOptions, value: Buffer): OptionValue => ({ level, option: socketOptions[name].option, value });
    const u4 = (value: number): Buffer => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32LE(value >>> 0);
      return bytes;
    };
    const version = tryGetsockopt(description.fd, level, socketOptions.PACKET_VERSION.option, 4);
    const isThree = typeof version !== "number" && version.readInt32LE(0) === 2;
    // struct tpacket_req3 of version 3, of the others its first four numbers.
    const ring = (bytes: Buffer): Buffer => bytes.subarray(0, isThree ? 28 : 16);
    if (receiveRing !== undefined || sendRing !== undefined) {
      this.collecting.context.lose(
        "dump.packet-ring",
        `${nameOf(description)}: the ring of the packet socket begins anew: packets in it are gone, and the next one is in its first frame`,
      );
    }
    return [
      ...(copyThreshold === 0 ? [] : [option("PACKET_COPY_THRESH", u4(copyThreshold))]),
      ...memberships.map((value) => option("PACKET_ADD_MEMBERSHIP", value)),
      ...(receiveRing === undefined ? [] : [option("PACKET_RX_RING", ring(receiveRing))]),
      ...(sendRing === undefined ? [] : [option("PACKET_TX_RING", ring(sendRing))]),
      ...(fanout === undefined ? [] : [option("PACKET_FANOUT", u4(fanout))]),
    ];
  }

  #diag(description: Description): PacketDiag {
    try {
      this.#diags ??= packetSockets((protocol) => this.collecting.context.view.netlink(protocol));
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      this.#diags = new Map();
    }
    return (
      this.#diags.get(Number(description.stat.ino)) ??
      refuseDescription(description, "socket_family", "a packet socket of which the kernel tells nothing (packet_diag)")
    );
  }
}
