// SPDX-License-Identifier: Apache-2.0
/** `--tcp-map ADDR:PORT=ADDR:PORT`: other addresses for the TCP sockets of a checkpoint, bound and connected ones. */
import { isIP } from "node:net";
import type { SocketRow, Tables } from "../../gen/tables.js";
import { sockaddrText } from "../show/names.js";
import { badChange, pairOf, some } from "./pair.js";

const expected = "ADDR:PORT=ADDR:PORT, such as 10.0.0.5:80=10.0.0.6:8080 or [::1]:80=[::]:80; an ADDR of * stands for any, and stays";
const [AF_INET, AF_INET6] = [2, 10];
const SOCK_STREAM = 1;

interface Endpoint {
  readonly family: number;
  /** 4 or 16 bytes; undefined for any. */
  readonly address: Buffer | undefined;
  readonly port: number;
}

function parse(text: string): Endpoint | undefined {
  const [, address = "", port = ""] = /^(\*|\[[^\]]+\]|[^:[\]]+):(\d{1,5})$/.exec(text) ?? [];
  const number = Number(port);
  if (port === "" || number > 65535) return undefined;
  if (address === "*") return { family: 0, address: undefined, port: number };
  const bare = address.replace(/^\[|\]$/g, "");
  const version = isIP(bare);
  if (version === 4 && !address.startsWith("["))
    return { family: AF_INET, address: Buffer.from(bare.split(".").map(Number)), port: number };
  return version === 6 && address.startsWith("[") ? { family: AF_INET6, address: ipv6Bytes(bare), port: number } : undefined;
}

function ipv6Bytes(text: string): Buffer {
  const plain = text.replace(/%.*$/, "").replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [head = "", tail] = plain.split("::");
  const groups = (part: string): number[] => (part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16)));
  const [left, right] = [groups(head), tail === undefined ? [] : groups(tail)];
  const all = [...left, ...new Array<number>(Math.max(0, 8 - left.length - right.length)).fill(0), ...right];
  const bytes = Buffer.alloc(16);
  all.slice(0, 8).forEach((group, index) => bytes.writeUInt16BE(group, index * 2));
  return bytes;
}

const mapped = Buffer.from("00000000000000000000ffff", "hex");

/** The address as the socket's family writes it; an IPv4 address is mapped in an IPv6 socket. Undefined if it cannot. */
function inFamily({ address, family }: Endpoint, wanted: number): Buffer | undefined {
  if (address === undefined || family === wanted) return address;
  return wanted === AF_INET6 && family === AF_INET ? Buffer.concat([mapped, address]) : undefined;
}

/** Port at 2, big-endian; the address at 4 (AF_INET) or 8 (AF_INET6). */
function place(bytes: Uint8Array): { readonly family: number; readonly at: number; readonly length: number } | undefined {
  if (bytes.length < 8) return undefined;
  const family = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).readUInt16LE(0);
  if (family === AF_INET) return { family, at: 4, length: 4 };
  return family === AF_INET6 && bytes.length >= 24 ? { family, at: 8, length: 16 } : undefined;
}

/** The tables with the addresses of one mapping changed. @throws CrimgError `usage.change` */
export function mapTcp(tables: Tables, text: string): Tables {
  const option = "--tcp-map";
  const [oldText, newText] = pairOf(option, text, expected);
  const [from, to] = [parse(oldText), parse(newText)];
  if (from === undefined || to === undefined) {
    throw badChange(option, text, `${from === undefined ? oldText : newText} is no address with a port`, expected);
  }
  let count = 0;
  const change = (bytes: Uint8Array): Uint8Array => {
    const found = place(bytes);
    if (found === undefined) return bytes;
    const copy = Buffer.from(bytes);
    const old = inFamily(from, found.family);
    const isThat = from.address === undefined || (old !== undefined && copy.subarray(found.at, found.at + found.length).equals(old));
    if (!isThat || copy.readUInt16BE(2) !== from.port) return bytes;
    count++;
    copy.writeUInt16BE(to.port, 2);
    if (to.address === undefined) return new Uint8Array(copy);
    const fresh = inFamily(to, found.family);
    if (fresh === undefined) {
      throw badChange(option, text, `${sockaddrText(bytes)} is of a socket of the other address family, which cannot have ${newText}`);
    }
    copy.set(fresh, found.at);
    return new Uint8Array(copy);
  };
  const isTcp = ({ family, type }: SocketRow): boolean => (family === AF_INET || family === AF_INET6) && type === SOCK_STREAM;
  const sockets = tables.sockets.map((row) =>
    isTcp(row) ? { ...row, localAddress: change(row.localAddress), peerAddress: change(row.peerAddress) } : row,
  );
  if (count === 0) {
    const there = tables.sockets.filter(isTcp).flatMap(({ localAddress, peerAddress }) => [localAddress, peerAddress].map(sockaddrText));
    const names = there.filter((name) => name !== "");
    throw badChange(
      option,
      text,
      `no TCP socket of this checkpoint has ${oldText}`,
      undefined,
      names.length > 0 ? `they have ${some(names)}` : "it has no TCP socket with an address",
    );
  }
  return { ...tables, sockets };
}
