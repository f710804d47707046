// SPDX-License-Identifier: Apache-2.0
/**
 * The kinds of image files: name, magic number, whether the model covers them.
 * Facts from images of CRIU 3.x and 4.x; every number is little-endian.
 */

import { fileType } from "../map/file-types.js";

/** First four bytes of every image but the inventory (version 1.1 of the format). */
export const commonMagic = 0x54564319;
/** First four bytes of statistics and caches, which are not restored from. */
export const serviceMagic = 0x55105940;

export interface ImageType {
  /** Name before the number and `.img`. */
  readonly id: string;
  readonly magic: number;
}

const magics: Readonly<Record<string, number>> = {
  inventory: 0x58313116,
  pstree: 0x50273030,
  core: 0x55053847,
  ids: 0x54432030,
  mm: 0x57492820,
  fs: 0x51403912,
  pagemap: 0x56084025,
  "pagemap-shmem": 0x56084025,
  files: 0x56303138,
  fdinfo: 0x56213732,
  memfd: 0x48453499,
  "remap-fpath": 0x59133954,
  "ghost-file": 0x52583605,
  "pipes-data": 0x56453709,
  "fifo-data": 0x59333054,
  "sk-queues": 0x56264026,
  "tcp-stream": 0x51465506,
  "tty-info": 0x59453036,
  "tty-data": 0x59413026,
  timens: 0x43114433,
  seccomp: 0x64413049,
  filelocks: 0x54323616,
  sigacts: 0x55344201,
  utsns: 0x54473203,
  userns: 0x55474906,
  mountpoints: 0x55563928,
  "ipcns-var": 0x53115007,
  "ipcns-shm": 0x46283044,
  "ipcns-sem": 0x59573019,
  "ipcns-msg": 0x55453737,
  netdev: 0x57373951,
  netns: 0x55933752,
  cgroup: 0x59383330,
};

/** An image of CRIU before 3.4 with the open files of one kind. */
export interface FileImage extends ImageType {
  /** FileEntry.type of its entries. */
  readonly fileType: number;
  /** Number of the member of FileEntry that holds such an entry. */
  readonly member: number;
}

/** The images that files.img replaced. */
export const fileImages: readonly FileImage[] = [
  { id: "reg-files", magic: 0x50363636, fileType: fileType.reg, member: 3 },
  { id: "inetsk", magic: 0x56443851, fileType: fileType.inetSocket, member: 4 },
  { id: "ns-files", magic: 0x61394011, fileType: fileType.namespace, member: 5 },
  { id: "packetsk", magic: 0x60454618, fileType: fileType.packetSocket, member: 6 },
  { id: "netlinksk", magic: 0x58005614, fileType: fileType.netlinkSocket, member: 7 },
  { id: "eventfd", magic: 0x44523722, fileType: fileType.eventfd, member: 8 },
  { id: "eventpoll", magic: 0x45023858, fileType: fileType.epoll, member: 9 },
  { id: "signalfd", magic: 0x57323820, fileType: fileType.signalfd, member: 10 },
  { id: "tunfile", magic: 0x57143751, fileType: fileType.tun, member: 11 },
  { id: "timerfd", magic: 0x50493712, fileType: fileType.timerfd, member: 12 },
  { id: "inotify", magic: 0x48424431, fileType: fileType.inotify, member: 13 },
  { id: "fanotify", magic: 0x55096122, fileType: fileType.fanotify, member: 14 },
  { id: "ext-files", magic: 0x59255641, fileType: fileType.external, member: 15 },
  { id: "unixsk", magic: 0x54373943, fileType: fileType.unixSocket, member: 16 },
  { id: "fifo", magic: 0x58364939, fileType: fileType.fifo, member: 17 },
  { id: "pipes", magic: 0x56513555, fileType: fileType.pipe, member: 18 },
  { id: "tty", magic: 0x59433025, fileType: fileType.tty, member: 19 },
];
const fileImageNames: ReadonlySet<string> = new Set(fileImages.map(({ id }) => `${id}.img`));

/** Magic of a modelled image type. */
export function magicOf(id: string): number {
  const magic = magics[id] ?? fileImages.find((image) => image.id === id)?.magic;
  if (magic === undefined) throw new RangeError(`no image type '${id}'`);
  return magic;
}

/** Name of the inventory, without which a directory is no image set. */
export const inventoryName = "inventory.img";

/** Images whose whole content the model takes over, so that they are written anew. */
const modelled = new RegExp(
  "^(?:inventory|pstree|files|memfd|remap-fpath|pipes-data|fifo-data|sk-queues|" +
    "(?:core|ids|timens|mm|fs|fdinfo|pagemap|pages|sigacts)-\\d+|pagemap-shmem-\\d+|(?:ghost-file|tcp-stream)-[0-9a-f]+)\\.img$",
);

/** True if reading takes the file into the model; others are carried along as they are. */
export function isModelled(name: string): boolean {
  return modelled.test(name) || fileImageNames.has(name);
}
