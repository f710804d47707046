# SPDX-License-Identifier: Apache-2.0
meta:
  id: x86_64_regs
  title: x86-64 register sets as Linux stores them
  license: Apache-2.0
  endian: le
doc: |
  struct user_regs_struct and the FXSAVE area. The 2011 checkpoint ELF extension, ELF cores and version 2 share them.
types:
  gpregs:
    doc: 27 registers in the order of struct user_regs_struct (216 bytes).
    seq:
      - { id: r15, type: u8, -crimg-format: hex }
      - { id: r14, type: u8, -crimg-format: hex }
      - { id: r13, type: u8, -crimg-format: hex }
      - { id: r12, type: u8, -crimg-format: hex }
      - { id: bp, type: u8, -crimg-format: hex }
      - { id: bx, type: u8, -crimg-format: hex }
      - { id: r11, type: u8, -crimg-format: hex }
      - { id: r10, type: u8, -crimg-format: hex }
      - { id: r9, type: u8, -crimg-format: hex }
      - { id: r8, type: u8, -crimg-format: hex }
      - { id: ax, type: u8, -crimg-format: hex }
      - { id: cx, type: u8, -crimg-format: hex }
      - { id: dx, type: u8, -crimg-format: hex }
      - { id: si, type: u8, -crimg-format: hex }
      - { id: di, type: u8, -crimg-format: hex }
      - { id: orig_ax, type: u8, -crimg-format: hex }
      - { id: ip, type: u8, -crimg-format: hex }
      - { id: cs, type: u8, -crimg-format: hex }
      - { id: flags, type: u8, -crimg-format: hex }
      - { id: sp, type: u8, -crimg-format: hex }
      - { id: ss, type: u8, -crimg-format: hex }
      - { id: fs_base, type: u8, -crimg-format: hex }
      - { id: gs_base, type: u8, -crimg-format: hex }
      - { id: ds, type: u8, -crimg-format: hex }
      - { id: es, type: u8, -crimg-format: hex }
      - { id: fs, type: u8, -crimg-format: hex }
      - { id: gs, type: u8, -crimg-format: hex }
  fpregs:
    doc: The 512-byte FXSAVE area.
    seq:
      - { id: cwd, type: u2, -crimg-format: hex }
      - { id: swd, type: u2, -crimg-format: hex }
      - { id: twd, type: u2, -crimg-format: hex }
      - { id: fop, type: u2, -crimg-format: hex }
      - { id: rip, type: u8, -crimg-format: hex }
      - { id: rdp, type: u8, -crimg-format: hex }
      - { id: mxcsr, type: u4, -crimg-format: hex }
      - { id: mxcsr_mask, type: u4, -crimg-format: hex }
      - { id: st_space, type: u4, repeat: expr, repeat-expr: 32, -crimg-format: hex }
      - { id: xmm_space, type: u4, repeat: expr, repeat-expr: 64, -crimg-format: hex }
      - { id: padding, type: u4, repeat: expr, repeat-expr: 24, -crimg-format: hex }
