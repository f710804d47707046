// SPDX-License-Identifier: Apache-2.0
/** Processors by e_machine (include/uapi/linux/elf-em.h), for messages. */
const names: Readonly<Record<number, string>> = {
  2: "SPARC",
  3: "i386",
  8: "MIPS",
  20: "PowerPC",
  21: "64-bit PowerPC",
  22: "s390",
  40: "ARM",
  43: "64-bit SPARC",
  62: "x86-64",
  183: "AArch64",
  243: "RISC-V",
  258: "LoongArch",
};

/** Such as "AArch64", or "machine 4711" for one without a name here. */
export function machineName(machine: number): string {
  return names[machine] ?? `machine ${machine}`;
}
