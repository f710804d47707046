// SPDX-License-Identifier: Apache-2.0
/** Numbers of file_entry.type and fdinfo_entry.type. */
export const fileType = {
  reg: 1,
  pipe: 2,
  fifo: 3,
  inetSocket: 4,
  unixSocket: 5,
  eventfd: 6,
  epoll: 7,
  inotify: 8,
  signalfd: 9,
  packetSocket: 10,
  tty: 11,
  fanotify: 12,
  netlinkSocket: 13,
  namespace: 14,
  tun: 15,
  external: 16,
  timerfd: 17,
  memfd: 18,
  bpfMap: 19,
  pidfd: 20,
} as const;

const names: ReadonlyMap<number, string> = new Map(Object.entries(fileType).map(([name, number]) => [number, name]));

/** For messages: "inotify", or "type 77". */
export function fileTypeName(type: number): string {
  return names.get(type) ?? `type ${type}`;
}
