// SPDX-License-Identifier: Apache-2.0
/** Keys of TCP's MD5 signatures (RFC 2385): no getsockopt gives them, sock_diag does to those with CAP_NET_ADMIN. */
import type { OptionValue } from "../../../dump/fds/socket-options.js";
import { levelOf, socketOptions } from "../../../state/socket-options.js";

/** struct tcp_diag_md5sig: family, prefix length, key length, address, key. */
const diagSize = 100;
/** struct tcp_md5sig (linux/tcp.h): address, flags, prefix length, key length, interface, key. */
const optionSize = 216;
const TCP_MD5SIG_FLAG_PREFIX = 1;
const AF_INET = 2;
const maxKeyLength = 80;

/** Values of TCP_MD5SIG_EXT, one a peer. */
export function md5Options(diag: Buffer): OptionValue[] {
  const values: OptionValue[] = [];
  for (let at = 0; at + diagSize <= diag.length; at += diagSize) {
    const family = diag.readUInt8(at);
    const value = Buffer.alloc(optionSize);
    value.writeUInt16LE(family, 0);
    // sockaddr_in has the address at 4, sockaddr_in6 at 8.
    diag.copy(value, family === AF_INET ? 4 : 8, at + 4, at + (family === AF_INET ? 8 : 20));
    value.writeUInt8(TCP_MD5SIG_FLAG_PREFIX, 128);
    value.writeUInt8(diag.readUInt8(at + 1), 129);
    value.writeUInt16LE(Math.min(diag.readUInt16LE(at + 2), maxKeyLength), 130);
    diag.copy(value, 136, at + 20, at + diagSize);
    values.push({ level: levelOf("TCP_MD5SIG_EXT"), option: socketOptions.TCP_MD5SIG_EXT.option, value });
  }
  return values;
}
