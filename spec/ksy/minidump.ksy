# SPDX-License-Identifier: Apache-2.0
meta:
  id: minidump
  title: Minidump of a Linux x86-64 process
  license: Apache-2.0
  endian: le
doc: |
  Microsoft's format (minidumpapiset.h), with streams of Breakpad for Linux, as lldb's `process save-core` and Breakpad write it.
  A header, then a directory that says where streams are. Offsets (RVAs) count from the start of the file.
-crimg-constants:
  signature: { value: 0x504d444d, doc: "'MDMP'." }
  version: { value: 0xa793, doc: "Lower 16 bits of the header's version." }
  stream_thread_list: { value: 3, doc: "A count (u4), then thread records." }
  stream_module_list: { value: 4, doc: "Loaded modules; /proc/PID/maps says more." }
  stream_memory_list: { value: 5, doc: "A count (u4), then memory_descriptor records." }
  stream_exception: { value: 6, doc: "exception; newer lldb writes one a thread." }
  stream_system_info: { value: 7, doc: "system_info." }
  stream_memory64_list: { value: 9, doc: "memory64_list_header, then memory64_descriptor records." }
  stream_misc_info: { value: 15, doc: "misc_info." }
  stream_linux_proc_status: { value: 0x47670004, doc: "/proc/PID/status." }
  stream_linux_auxv: { value: 0x47670008, doc: "/proc/PID/auxv." }
  stream_linux_maps: { value: 0x47670009, doc: "/proc/PID/maps." }
  stream_linux_proc_stat: { value: 0x4767000b, doc: "/proc/PID/stat (lldb)." }
  architecture_amd64: { value: 9, doc: "system_info.processor_architecture of x86-64." }
  platform_linux: { value: 0x8201, doc: "system_info.platform_id of Linux." }
types:
  header:
    doc: First bytes of the file, 32 bytes.
    seq:
      - { id: signature, type: u4, -crimg-format: hex, doc: "'MDMP'." }
      - { id: version, type: u4, -crimg-format: hex, doc: "0xa793 in the lower half; the upper is the writer's." }
      - { id: num_streams, type: u4, doc: "Directory entries." }
      - { id: ofs_directory, type: u4, -crimg-format: hex, doc: "Where the directory is." }
      - { id: checksum, type: u4, -crimg-format: hex, doc: "0 for none." }
      - { id: timestamp, type: u4, doc: "Seconds since 1970." }
      - { id: flags, type: u8, -crimg-format: hex, doc: "MINIDUMP_TYPE." }
  directory_entry:
    doc: One stream.
    seq:
      - { id: stream_type, type: u4, -crimg-format: hex, doc: "Kind." }
      - { id: len_data, type: u4, doc: "Bytes." }
      - { id: ofs_data, type: u4, -crimg-format: hex, doc: "Where it is." }
  system_info:
    doc: The machine; the first 24 bytes.
    seq:
      - { id: processor_architecture, type: u2, doc: "9 is x86-64." }
      - { id: processor_level, type: u2, doc: "CPU family." }
      - { id: processor_revision, type: u2, doc: "Model and stepping." }
      - { id: num_processors, type: u1, doc: "CPUs." }
      - { id: product_type, type: u1, doc: "Windows only." }
      - { id: major_version, type: u4, doc: "Of the system." }
      - { id: minor_version, type: u4, doc: "Of the system." }
      - { id: build_number, type: u4, doc: "Of the system." }
      - { id: platform_id, type: u4, -crimg-format: hex, doc: "0x8201 is Linux." }
  misc_info:
    doc: The first 12 bytes of it.
    seq:
      - { id: len_info, type: u4, doc: "Bytes." }
      - { id: flags1, type: u4, -crimg-format: hex, doc: "Bit 0: process_id is there." }
      - { id: process_id, type: u4, doc: "Process id." }
  thread:
    doc: 48 bytes.
    seq:
      - { id: thread_id, type: u4, doc: "Thread id." }
      - { id: suspend_count, type: u4, doc: "Windows only." }
      - { id: priority_class, type: u4, doc: "Windows only." }
      - { id: priority, type: u4, doc: "Windows only." }
      - { id: teb, type: u8, -crimg-format: hex, doc: "Windows only." }
      - { id: stack, type: memory_descriptor, doc: "Its stack." }
      - { id: len_context, type: u4, doc: "Bytes of the context." }
      - { id: ofs_context, type: u4, -crimg-format: hex, doc: "context_amd64." }
  memory_descriptor:
    doc: Stored memory.
    seq:
      - { id: start, type: u8, -crimg-format: hex, doc: "Address; need not be page-aligned." }
      - { id: len_data, type: u4, doc: "Bytes." }
      - { id: ofs_data, type: u4, -crimg-format: hex, doc: "Where they are." }
  memory64_list_header:
    doc: First bytes of the stream; the data of all ranges is together, in their order.
    seq:
      - { id: num_ranges, type: u8, doc: "Descriptors." }
      - { id: ofs_data, type: u8, -crimg-format: hex, doc: "Where the data of the first range is." }
  memory64_descriptor:
    doc: Stored memory.
    seq:
      - { id: start, type: u8, -crimg-format: hex, doc: "Address." }
      - { id: len_data, type: u8, doc: "Bytes." }
  exception:
    doc: Why a thread stopped; the first 32 bytes.
    seq:
      - { id: thread_id, type: u4, doc: "Thread." }
      - { id: alignment, type: u4, doc: "Padding." }
      - { id: code, type: u4, doc: "On Linux the signal." }
      - { id: flags, type: u4, -crimg-format: hex, doc: "si_code." }
      - { id: record, type: u8, -crimg-format: hex, doc: "Nested exception." }
      - { id: address, type: u8, -crimg-format: hex, doc: "Faulting address." }
  context_amd64:
    doc: CONTEXT as far as x86-64 programs of Linux need it, 768 bytes. lldb 14 and 19 leave selectors and flags all ones.
    seq:
      - { id: home, type: u8, repeat: expr, repeat-expr: 6, doc: "Windows only." }
      - { id: context_flags, type: u4, -crimg-format: hex, doc: "Which parts are valid." }
      - { id: mxcsr, type: u4, -crimg-format: hex, doc: "MXCSR." }
      - { id: cs, type: u2, -crimg-format: hex, doc: "Selector." }
      - { id: ds, type: u2, -crimg-format: hex, doc: "Selector." }
      - { id: es, type: u2, -crimg-format: hex, doc: "Selector." }
      - { id: fs, type: u2, -crimg-format: hex, doc: "Selector." }
      - { id: gs, type: u2, -crimg-format: hex, doc: "Selector." }
      - { id: ss, type: u2, -crimg-format: hex, doc: "Selector." }
      - { id: eflags, type: u4, -crimg-format: hex, doc: "Flags." }
      - { id: debug_registers, type: u8, repeat: expr, repeat-expr: 6, doc: "DR0-3, 6, 7." }
      - { id: rax, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: rcx, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: rdx, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: rbx, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: rsp, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: rbp, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: rsi, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: rdi, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: r8, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: r9, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: r10, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: r11, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: r12, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: r13, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: r14, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: r15, type: u8, -crimg-format: hex, doc: "Register." }
      - { id: rip, type: u8, -crimg-format: hex, doc: "Instruction pointer." }
