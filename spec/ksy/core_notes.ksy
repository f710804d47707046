# SPDX-License-Identifier: Apache-2.0
meta:
  id: core_notes
  title: Notes of an ELF core file of Linux on x86-64
  license: Apache-2.0
  endian: le
  imports:
    - x86_64_regs
doc: |
  Descriptors of the notes that the kernel writes into a core (fs/binfmt_elf.c, include/linux/elfcore.h). Names in
  -orig-id are those of struct elf_prstatus and struct elf_prpsinfo.
-crimg-constants:
  nt_prstatus: { value: 1, doc: "Owner CORE: prstatus, one a thread; it begins a thread's notes." }
  nt_fpregset: { value: 2, doc: "Owner CORE: the 512-byte FXSAVE area." }
  nt_prpsinfo: { value: 3, doc: "Owner CORE: prpsinfo." }
  nt_auxv: { value: 6, doc: "Owner CORE: the auxiliary vector." }
  nt_x86_xstate: { value: 0x202, doc: "Owner LINUX: the XSAVE area in standard form." }
  nt_siginfo: { value: 0x53494749, doc: "Owner CORE: siginfo_t of the fatal signal." }
  nt_file: { value: 0x46494c45, doc: "Owner CORE: mapped_files, the file mappings and, behind them, their NUL-terminated names." }
  nt_x86_xsave_layout: { value: 0x205, doc: "Owner LINUX (6.12 and later), once, last: xsave_component records, where each state
      component is in the XSAVE areas." }
  nt_crimg_absent: { value: 1, doc: "Owner crimg: absent_ranges, memory that crimg does not know; behind the records their reasons,
      NUL-terminated. Only in cores that lack some." }
  nt_delve_header: { value: 0x444c5645, doc: "Owner Delve Header: text about the process, by the Go debugger's `dump`, whose other notes
      have no owner." }
  nt_minicoredumper_dumplist: { value: 0x50, doc: "Owner minicoredumper: dumped_range records, what of the segments is really in the
      file." }
types:
  xsave_component:
    doc: struct x86_xfeat_component (arch/x86/include/uapi/asm/elf.h).
    seq:
      - { id: type, type: u4, doc: "Number of the component in XCR0." }
      - { id: flags, type: u4, -crimg-format: hex, doc: "CPUID leaf 0xD, ECX." }
      - { id: offset, type: u4, doc: "In the standard form, bytes." }
      - { id: size, type: u4, doc: "Bytes." }
  absent_ranges_header:
    doc: First bytes of the note crimg/1.
    seq:
      - { id: num_entries, type: u8, doc: "Number of ranges, and of reasons." }
      - { id: reserved, type: u8, doc: "Zero." }
  absent_range:
    doc: Memory of which nothing is known.
    seq:
      - { id: start, type: u8, -crimg-format: hex, doc: "First address." }
      - { id: end, type: u8, -crimg-format: hex, doc: "First address after it." }
  dumped_range:
    doc: Bytes that minicoredumper (2.0.3) wrote.
    seq:
      - { id: address, type: u8, -crimg-format: hex, doc: "In memory; 0 for the headers and notes of the file." }
      - { id: length, type: u8, doc: "Bytes." }
  timeval:
    doc: struct timeval.
    seq:
      - { id: sec, type: s8, doc: "Seconds." }
      - { id: usec, type: s8, doc: "Microseconds." }
  prstatus:
    doc: struct elf_prstatus, 336 bytes.
    seq:
      - { id: si_signo, -orig-id: pr_info.si_signo, type: s4, doc: "The signal." }
      - { id: si_code, -orig-id: pr_info.si_code, type: s4, doc: "Always 0." }
      - { id: si_errno, -orig-id: pr_info.si_errno, type: s4, doc: "Always 0." }
      - { id: cursig, -orig-id: pr_cursig, type: s2, doc: "The signal that killed the process; 0 if it was not killed." }
      - { id: reserved_1, type: u2, doc: "Padding." }
      - { id: sigpend, -orig-id: pr_sigpend, type: u8, -crimg-format: signal_set, doc: "Signals pending for the thread." }
      - { id: sighold, -orig-id: pr_sighold, type: u8, -crimg-format: signal_set, doc: "Blocked signals." }
      - { id: pid, -orig-id: pr_pid, type: u4, doc: "Thread id." }
      - { id: ppid, -orig-id: pr_ppid, type: u4, doc: "Parent's pid." }
      - { id: pgrp, -orig-id: pr_pgrp, type: u4, doc: "Process group." }
      - { id: sid, -orig-id: pr_sid, type: u4, doc: "Session." }
      - { id: utime, -orig-id: pr_utime, type: timeval, doc: "User time." }
      - { id: stime, -orig-id: pr_stime, type: timeval, doc: "System time." }
      - { id: cutime, -orig-id: pr_cutime, type: timeval, doc: "User time of waited-for children." }
      - { id: cstime, -orig-id: pr_cstime, type: timeval, doc: "System time of waited-for children." }
      - { id: regs, -orig-id: pr_reg, type: "x86_64_regs::gpregs", doc: "General registers." }
      - { id: fpvalid, -orig-id: pr_fpvalid, type: u4, doc: "1 if an NT_FPREGSET note follows." }
      - { id: reserved_2, type: u4, doc: "Padding." }
  prpsinfo:
    doc: struct elf_prpsinfo, 136 bytes.
    seq:
      - { id: state, -orig-id: pr_state, type: u1, doc: "Number of the state: 0 running, 1 sleeping, 3 stopped." }
      - { id: sname, -orig-id: pr_sname, type: u1, doc: "Letter of the state." }
      - { id: zomb, -orig-id: pr_zomb, type: u1, doc: "1 for a zombie." }
      - { id: nice, -orig-id: pr_nice, type: s1, doc: "Nice value." }
      - { id: reserved, type: u4, doc: "Padding." }
      - { id: flag, -orig-id: pr_flag, type: u8, -crimg-format: hex, doc: "PF_* flags." }
      - { id: uid, -orig-id: pr_uid, type: u4, doc: "Real user." }
      - { id: gid, -orig-id: pr_gid, type: u4, doc: "Real group." }
      - { id: pid, -orig-id: pr_pid, type: u4, doc: "Process id." }
      - { id: ppid, -orig-id: pr_ppid, type: u4, doc: "Parent's pid." }
      - { id: pgrp, -orig-id: pr_pgrp, type: u4, doc: "Process group." }
      - { id: sid, -orig-id: pr_sid, type: u4, doc: "Session." }
      - { id: fname, -orig-id: pr_fname, size: 16, doc: "Name of the leader, NUL-padded." }
      - { id: psargs, -orig-id: pr_psargs, size: 80, doc: "First bytes of the command line, separated by spaces." }
  mapped_files_header:
    doc: First bytes of NT_FILE; `num_entries` mapped_file records follow, then as many names.
    seq:
      - { id: num_entries, type: u8, doc: "Number of mappings." }
      - { id: page_size, type: u8, doc: "Unit of mapped_file.page_offset, bytes." }
  mapped_file:
    doc: One file mapping.
    seq:
      - { id: start, type: u8, -crimg-format: hex, doc: "First address." }
      - { id: end, type: u8, -crimg-format: hex, doc: "First address after it." }
      - { id: page_offset, type: u8, -crimg-format: hex, doc: "Offset in the file, in units of page_size." }
