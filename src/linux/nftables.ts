// SPDX-License-Identifier: Apache-2.0
/**
 * A table of nftables that drops the packets of some TCP connections, as batches of netlink messages (linux/netlink.h,
 * nfnetlink.h, netfilter/nf_tables.h). Pure: the dump sends them, and an image holds them for its resume.
 *
 * Two chains see what comes in and what goes out; each looks the four ends of a packet up in a set, of IPv4 or of IPv6.
 * Packets with `passingMark` pass: that is how a FIN that the peer has sent before is put back.
 */

export const NETLINK_NETFILTER = 12;
/** Firewall mark of packets that a resume makes itself; CRIU's locks let the same pass. */
export const passingMark = 0xc114;

/** A connection as packets have it: addresses of 4 or 16 bytes, ports as numbers. */
export interface Ends {
  readonly source: Uint8Array;
  readonly sourcePort: number;
  readonly target: Uint8Array;
  readonly targetPort: number;
}

/** `owned`: the table goes with the netlink socket that made it. `lasting`: it stays until it is deleted. */
export type TableLife = "owned" | "lasting";

const subsystem = 10;
const batch = { BEGIN: 0x10, END: 0x11 } as const;
const message = { NEWTABLE: 0, DELTABLE: 2, NEWCHAIN: 3, NEWRULE: 6, NEWSET: 9, NEWSETELEM: 12 } as const;
const flag = { REQUEST: 1, ACK: 4, CREATE: 0x400, APPEND: 0x800 } as const;
const NFPROTO_INET = 1;
const NFT_TABLE_F_OWNER = 2;
const hook = { input: 1, output: 3 } as const;
const verdict = { drop: 0, accept: 1 } as const;
const meta = { MARK: 3, NFPROTO: 15, L4PROTO: 16 } as const;
const header = { network: 1, transport: 2 } as const;
const IPPROTO_TCP = 6;
/** NFT_REG_1, and the first of the registers of 4 bytes that lie in it and behind it. */
const firstRegister = 1;
const firstRegister32 = 8;
/** Data types as nft numbers them, to list the set: of 6 bits each. */
const dataType = { ip4: 7, ip6: 8, port: 13 } as const;
/** Elements of a set in one message: an attribute holds less than 64 KiB. */
const mostElements = 1000;

interface Family {
  readonly set: string;
  /** NFPROTO_IPV4 or NFPROTO_IPV6. */
  readonly protocol: number;
  readonly length: 4 | 16;
  /** Offsets in the IP header. */
  readonly source: number;
  readonly target: number;
  readonly type: number;
}

const families: readonly Family[] = [
  { set: "conns4", protocol: 2, length: 4, source: 12, target: 16, type: dataType.ip4 },
  { set: "conns6", protocol: 10, length: 16, source: 8, target: 24, type: dataType.ip6 },
];

/** The batches that make the table; each is one datagram, and is answered by one message. */
export function lockBatches(table: string, life: TableLife, connections: readonly Ends[]): Buffer[] {
  const flags = life === "owned" ? NFT_TABLE_F_OWNER : 0;
  const both = connections.flatMap((ends) => [ends, reversed(ends)]);
  const base = [
    encode(message.NEWTABLE, flag.CREATE, text(1, table), u4(2, flags)),
    ...families.map((family, index) =>
      encode(
        message.NEWSET,
        flag.CREATE,
        text(1, table),
        text(2, family.set),
        u4(3, 0),
        u4(4, (((((family.type << 6) | dataType.port) << 6) | family.type) << 6) | dataType.port),
        u4(5, 2 * (family.length + 4)),
        u4(10, index + 1),
      ),
    ),
    ...(["input", "output"] as const).flatMap((chain) => [
      encode(
        message.NEWCHAIN,
        flag.CREATE,
        text(1, table),
        text(3, chain),
        nested(4, u4(1, hook[chain]), u4(2, 0)),
        u4(5, verdict.accept),
        text(7, "filter"),
      ),
      rule(table, chain, [...isMeta(meta.MARK, hostOrder(passingMark)), decide("accept")]),
      ...families.map((family) => rule(table, chain, connectionRule(family))),
    ]),
  ];
  const elements = families.flatMap((family) => {
    const keys = both.filter(({ source }) => source.length === family.length).map(keyOf);
    const messages: Buffer[] = [];
    for (let from = 0; from < keys.length; from += mostElements) {
      const items = keys.slice(from, from + mostElements).map((key) => nested(1, nested(1, attribute(1, key))));
      messages.push(encode(message.NEWSETELEM, flag.CREATE, text(1, table), text(2, family.set), nested(3, ...items)));
    }
    return messages;
  });
  return [inBatch(base), ...elements.map((one) => inBatch([one]))];
}

/** The batch that takes a table away. Its answer is an error (ENOENT) where there is none. */
export function unlockBatch(table: string): Buffer {
  return inBatch([encode(message.DELTABLE, 0, text(1, table))]);
}

/** Offset in the answer to a batch of its errno, a negative s4; 0: it is done. */
export const answerErrorOffset = 16;

function reversed({ source, sourcePort, target, targetPort }: Ends): Ends {
  return { source: target, sourcePort: targetPort, target: source, targetPort: sourcePort };
}

/** Each part fills whole registers of 4 bytes. */
function keyOf({ source, sourcePort, target, targetPort }: Ends): Buffer {
  const port = (number: number): Buffer => Buffer.from([number >> 8, number & 0xff, 0, 0]);
  return Buffer.concat([source, port(sourcePort), target, port(targetPort)]);
}

/** Source, its port, target, its port one after the other in registers; then they are looked up. */
function connectionRule(family: Family): Buffer[] {
  const words = family.length / 4;
  const at = (word: number): number => firstRegister32 + word;
  return [
    ...isMeta(meta.NFPROTO, Buffer.from([family.protocol])),
    ...isMeta(meta.L4PROTO, Buffer.from([IPPROTO_TCP])),
    load(at(0), header.network, family.source, family.length),
    load(at(words), header.transport, 0, 2),
    load(at(words + 1), header.network, family.target, family.length),
    load(at(2 * words + 1), header.transport, 2, 2),
    expression("lookup", text(1, family.set), u4(2, firstRegister)),
    decide("drop"),
  ];
}

function isMeta(key: number, value: Uint8Array): Buffer[] {
  return [
    expression("meta", u4(2, key), u4(1, firstRegister)),
    expression("cmp", u4(1, firstRegister), u4(2, 0), nested(3, attribute(1, value))),
  ];
}

function load(register: number, base: number, offset: number, length: number): Buffer {
  return expression("payload", u4(1, register), u4(2, base), u4(3, offset), u4(4, length));
}

function decide(what: keyof typeof verdict): Buffer {
  return expression("immediate", u4(1, 0), nested(2, nested(2, u4(1, verdict[what]))));
}

function rule(table: string, chain: string, expressions: readonly Buffer[]): Buffer {
  return encode(message.NEWRULE, flag.CREATE | flag.APPEND, text(1, table), text(2, chain), nested(4, ...expressions));
}

function expression(name: string, ...data: readonly Buffer[]): Buffer {
  return nested(1, text(1, name), nested(2, ...data));
}

/** The last message asks for an answer; an error of another is answered as well. */
function inBatch(messages: readonly Buffer[]): Buffer {
  const last = messages.at(-1);
  last?.writeUInt16LE(last.readUInt16LE(6) | flag.ACK, 6);
  return Buffer.concat([plain(batch.BEGIN), ...messages, plain(batch.END)]);
}

/** struct nlmsghdr and struct nfgenmsg. */
function framed(type: number, flags: number, family: number, resource: number, attributes: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(20);
  const length = attributes.reduce((sum, { length }) => sum + length, head.length);
  head.writeUInt32LE(length, 0);
  head.writeUInt16LE(type, 4);
  head.writeUInt16LE(flags | flag.REQUEST, 6);
  head.writeUInt8(family, 16);
  head.writeUInt16BE(resource, 18);
  return Buffer.concat([head, ...attributes]);
}

const encode = (type: number, flags: number, ...attributes: readonly Buffer[]): Buffer =>
  framed((subsystem << 8) | type, flags, NFPROTO_INET, 0, attributes);
const plain = (type: number): Buffer => framed(type, 0, 0, subsystem, []);

/** struct nlattr, padded to 4 bytes. */
function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc(4 + ((value.length + 3) & ~3));
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

const nested = (type: number, ...attributes: readonly Buffer[]): Buffer => attribute(type | 0x8000, Buffer.concat(attributes));
const text = (type: number, value: string): Buffer => attribute(type, Buffer.from(`${value}\0`));

function u4(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return attribute(type, bytes);
}

function hostOrder(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
