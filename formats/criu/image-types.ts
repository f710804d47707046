/**
 * The kinds of image files: name, magic number, whether the model covers them.
 * Facts from images of CRIU 3.x and 4.x; every number is little-endian.
 */

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
  "tty-info": 0x59453036,
  timens: 0x43114433,
  seccomp: 0x64413049,
};

/** Magic of a modelled image type. */
export function magicOf(id: string): number {
  const magic = magics[id];
  if (magic === undefined) throw new RangeError(`no image type '${id}'`);
  return magic;
}

/** Name of the inventory, without which a directory is no image set. */
export const inventoryName = "inventory.img";

/** Images whose whole content the model takes over, so that they are written anew. */
const modelled =
  /^(?:inventory|pstree|files|memfd|remap-fpath|pipes-data|fifo-data|sk-queues|timens-0|(?:core|ids|mm|fs|fdinfo|pagemap|pages)-\d+|pagemap-shmem-\d+|ghost-file-[0-9a-f]+)\.img$/;

/** True if reading takes the file into the model; others are carried along as they are. */
export function isModelled(name: string): boolean {
  return modelled.test(name);
}
