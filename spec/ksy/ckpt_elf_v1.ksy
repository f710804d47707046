# SPDX-License-Identifier: Apache-2.0
meta:
  id: ckpt_elf_v1
  title: Checkpoint ELF extension, version 1 (2011)
  license: Apache-2.0
  endian: le
  imports:
    - x86_64_regs
    - elf64
doc: |
  An ELF file of type ET_CKPT (5) that holds one process, as the RFC of October 2011 defined it: one PT_CKPT_VMA
  header with a vma_entry per memory area, one PT_CKPT_CORE with a core_entry, one PT_CKPT_PAGES with a run of
  page_entry records ended by one whose address is 0. Everything is packed. The original writer puts the VMA headers
  first, in ascending order, then CORE, then PAGES, and the payloads in the same order behind the headers.
  The image set of the same tool (crtools_2011.ksy) shares the three records.
-crimg-constants:
  core_version: { value: 1, doc: "core_header.version of the only version there was." }
  core_arch_x86_64: { value: 1, doc: "core_header.arch of x86-64." }
  page_bytes: { value: 4096, doc: "Bytes of a page." }
  max_vmas: { value: 1169, doc: "Most VMAs the original writer takes (65536 / 56 - 1, CORE and PAGES on top)." }
  max_pages: { value: 262144, doc: "Most pages the original writer takes (2^30 / 4096)." }
  pf_used_math: { value: 0x2000, doc: "Bit of task_flags: the loader puts the FPU state back only if it is set." }
seq:
  - id: header
    type: elf64::elf_header
  - id: program_headers
    type: elf64::program_header
    repeat: expr
    repeat-expr: header.e_phnum
types:
  vma_entry:
    doc: One memory area, 64 bytes.
    seq:
      - { id: start, type: u8, -crimg-format: hex, doc: "First address." }
      - { id: end, type: u8, -crimg-format: hex, doc: "First address after it." }
      - { id: pgoff, type: u8, -crimg-format: hex, doc: "Offset in the mapped file, bytes." }
      - { id: prot, type: u4, -crimg-flags: { read: 0, write: 1, exec: 2 }, doc: "PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4." }
      - { id: flags, type: u4, -crimg-flags: { shared: 0, private: 1 }, doc: "MAP_SHARED 1 or MAP_PRIVATE 2." }
      - id: status
        type: u4
        -crimg-flags: { regular: 0, stack: 1, vsyscall: 2, vdso: 3, force_read: 4, heap: 5, file_private: 6, file_shared: 7,
          anon_shared: 8, anon_private: 9, force_write: 10, dump_all: 11 }
        doc: What the area is. Only areas with `regular` are mapped.
      - { id: pid, type: u4, doc: "The process." }
      - { id: fd, type: s8, doc: "Descriptor of the process that calls execve whose file is mapped; -1 for none." }
      - { id: ino, type: u8, doc: "Inode of the mapped file." }
      - { id: dev_maj, type: u4, doc: "Its device." }
      - { id: dev_min, type: u4, doc: "Its device." }
  page_entry:
    doc: One page, 4104 bytes. In a list, address 0 ends it.
    seq:
      - { id: va, type: u8, -crimg-format: hex, doc: "Address." }
      - { id: data, size: 4096, doc: "Bytes." }
  core_header:
    doc: Version of a core_entry.
    seq:
      - { id: version, type: u2, doc: "1." }
      - { id: arch, type: u2, doc: "1: x86-64." }
      - { id: flags, type: u4, -crimg-format: hex, doc: "0." }
  tls_descriptor:
    doc: One GDT TLS descriptor.
    seq:
      - { id: a, type: u4, -crimg-format: hex, doc: "Low word." }
      - { id: b, type: u4, -crimg-format: hex, doc: "High word." }
  core_entry:
    doc: State of the process and its one thread, 16,384 bytes.
    seq:
      - { id: header, type: core_header, doc: "Version and architecture." }
      - { id: gpregs, type: "x86_64_regs::gpregs", doc: "General registers as stopped inside the system call." }
      - { id: fpregs, size: 512, doc: "The FXSAVE area." }
      - { id: tls_array, type: tls_descriptor, repeat: expr, repeat-expr: 3, doc: "GDT TLS descriptors." }
      - { id: reserved_1, size: 7440, doc: "Zero, to the end of the 8192 bytes of the architecture's area." }
      - { id: task_personality, type: u4, -crimg-format: hex, doc: "As the original tool wrote it: decimal digits of the hexadecimal
          text." }
      - { id: task_comm, size: 16, doc: "Name, NUL-padded." }
      - { id: task_flags, type: u4, -crimg-format: hex, doc: "PF_* flags." }
      - { id: mm_start_code, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: mm_end_code, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: mm_start_data, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: mm_end_data, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: mm_start_stack, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: mm_start_brk, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: mm_brk, type: u8, -crimg-format: hex, doc: "Program break." }
      - { id: reserved_2, size: 8104, doc: "Zero." }
