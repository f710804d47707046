// SPDX-License-Identifier: Apache-2.0
/**
 * Whether a seccomp filter lets system calls pass whatever their arguments are: it is followed along every way that it can
 * take (classic BPF over struct seccomp_data; Documentation/userspace-api/seccomp_filter.rst).
 */
const AUDIT_ARCH_X86_64 = 0xc000003e;
const RET = { mask: 0xffff_0000, allow: 0x7fff_0000, log: 0x7ffc_0000 } as const;
/** Offsets in struct seccomp_data. */
const [nrAt, archAt] = [0, 4];
const opcode = { loadWord: 0x20, loadImmediate: 0x00, jump: 0x05, return: 0x06 } as const;
const [classJump, classStore] = [5, 2];
/** A filter has at most 4,096 instructions; more steps than this are a way that nobody wrote. */
const mostSteps = 100_000;

/** A number, or undefined for what depends on the call. */
type Value = number | undefined;

/** True if every way through the filter lets the call through. */
export function allowsCall(instructions: Uint8Array, nr: number): boolean {
  const view = new DataView(instructions.buffer, instructions.byteOffset, instructions.byteLength);
  const count = instructions.length >> 3;
  const open: { pc: number; a: Value }[] = [{ pc: 0, a: 0 }];
  const seen = new Set<string>();
  for (let steps = 0; open.length > 0; steps++) {
    const way = open.pop();
    if (way === undefined || steps > mostSteps || way.pc >= count) return false;
    const { pc, a } = way;
    const key = `${pc} ${a}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const code = view.getUint16(pc * 8, true);
    const k = view.getUint32(pc * 8 + 4, true);
    const [ifTrue, ifFalse] = [view.getUint8(pc * 8 + 2), view.getUint8(pc * 8 + 3)];
    if (code === opcode.return) {
      const action = (k & RET.mask) >>> 0;
      if (action !== RET.allow && action !== RET.log) return false;
    } else if (code === opcode.loadWord) {
      open.push({ pc: pc + 1, a: k === nrAt ? nr : k === archAt ? AUDIT_ARCH_X86_64 : undefined });
    } else if (code === opcode.loadImmediate) {
      open.push({ pc: pc + 1, a: k });
    } else if (code === opcode.jump) {
      open.push({ pc: pc + 1 + k, a });
    } else if ((code & 7) === classJump) {
      const holds = (code & 8) === 0 && a !== undefined ? compare(code & 0xf0, a, k) : undefined;
      if (holds !== false) open.push({ pc: pc + 1 + ifTrue, a });
      if (holds !== true) open.push({ pc: pc + 1 + ifFalse, a });
    } else if ((code & 7) === classStore || (code & 7) === classStore + 1) {
      open.push({ pc: pc + 1, a });
    } else if ((code & 7) === 6) {
      // What is returned is not in the instruction.
      return false;
    } else {
      // Arithmetic, and loads from elsewhere.
      open.push({ pc: pc + 1, a: undefined });
    }
  }
  return true;
}

function compare(how: number, a: number, k: number): boolean | undefined {
  switch (how) {
    case 0x10:
      return a === k;
    case 0x20:
      return a > k;
    case 0x30:
      return a >= k;
    case 0x40:
      return (a & k) !== 0;
    default:
      return undefined;
  }
}
