# SPDX-License-Identifier: Apache-2.0
meta:
  id: dmtcp
  title: Checkpoint image of DMTCP (image version 4.0)
  license: Apache-2.0
  endian: le
doc: |
  One file a process, whole or gzip'd: `image_header` twice, then areas. Each area is an `area_header`; `size` bytes of
  memory follow unless a property says that none do. The end is an area with address 0 and size 2^64 - 1, whose other
  fields hold leftovers of earlier areas. Registers are not in the image: the thread contexts lie in the memory of
  DMTCP's own library. Seen in images of DMTCP 5.0; fields of the header that the images do not explain are `unknown_*`.
-crimg-constants:
  property_zero_run: { value: 1, doc: "The area is zero; no bytes follow." }
  property_parent: { value: 2, doc: "The areas that follow with property_child cover this one; no bytes follow." }
  property_child: { value: 4, doc: "Part of the last area with property_parent." }
types:
  process_id:
    doc: How DMTCP names a process across hosts.
    seq:
      - { id: host_id, type: u8, -crimg-format: hex, doc: "Hash of the host." }
      - { id: time, type: u8, -crimg-format: hex, doc: "Time stamp of its start." }
      - { id: pid, type: u4, doc: "DMTCP's virtual pid." }
      - { id: generation, type: u4, doc: "Number of the checkpoint." }
  image_header:
    doc: 4,096 bytes; it stands twice.
    seq:
      - { id: magic, size: 32, doc: "'DMTCP_CHECKPOINT_IMAGE_v4.0', newline, zeros." }
      - { id: process, type: process_id, doc: "The process." }
      - { id: parent, type: process_id, doc: "Its parent under DMTCP; zero for none." }
      - { id: group, type: process_id, doc: "The computation that it belongs to." }
      - { id: pid, type: u4, doc: "Virtual pid." }
      - { id: ppid, type: u4, doc: "Parent's pid." }
      - { id: sid, type: u4, doc: "Session (virtual)." }
      - { id: pgid, type: u4, doc: "Process group (virtual)." }
      - { id: foreground_pgid, type: s4, doc: "Foreground process group of the terminal; -1 for none." }
      - { id: num_peers, type: u4, doc: "Processes in the computation." }
      - { id: unknown_1, type: u4, doc: "1 in all images seen." }
      - { id: unknown_2, type: u4, doc: "1 in all images seen." }
      - { id: ofs_clock_gettime, type: u8, -crimg-format: hex, doc: "Offset of clock_gettime in the vDSO." }
      - { id: ofs_getcpu, type: u8, -crimg-format: hex, doc: "Offset of getcpu in the vDSO." }
      - { id: ofs_gettimeofday, type: u8, -crimg-format: hex, doc: "Offset of gettimeofday in the vDSO." }
      - { id: ofs_time, type: u8, -crimg-format: hex, doc: "Offset of time in the vDSO." }
      - { id: reserve_start, type: u8, -crimg-format: hex, doc: "Addresses that DMTCP reserves for its restart program; not saved." }
      - { id: reserve_end, type: u8, -crimg-format: hex, doc: "First address after them." }
      - { id: vdso_start, type: u8, -crimg-format: hex, doc: "First address of [vdso]." }
      - { id: vdso_end, type: u8, -crimg-format: hex, doc: "First address after it." }
      - { id: vvar_start, type: u8, -crimg-format: hex, doc: "First address of [vvar]." }
      - { id: vvar_end, type: u8, -crimg-format: hex, doc: "First address after it." }
      - { id: vvar_vclock_start, type: u8, -crimg-format: hex, doc: "First address of [vvar_vclock]." }
      - { id: vvar_vclock_end, type: u8, -crimg-format: hex, doc: "First address after it." }
      - { id: saved_brk, type: u8, -crimg-format: hex, doc: "Program break." }
      - { id: end_of_stack, type: u8, -crimg-format: hex, doc: "First address after [stack]." }
      - { id: post_restart, type: u8, -crimg-format: hex, doc: "Where DMTCP's restart program enters its library." }
      - { id: program_name, size: 1024, doc: "Name of the program, NUL-padded." }
      - { id: program_path, size: 2816, doc: "Path of the executable, NUL-padded." }
  area_header:
    doc: 4,096 bytes before each area.
    seq:
      - { id: addr, type: u8, -crimg-format: hex, doc: "First address." }
      - { id: end_addr, type: u8, -crimg-format: hex, doc: "First address after it." }
      - { id: size, type: u8, -crimg-format: hex, doc: "Bytes." }
      - { id: file_offset, type: u8, -crimg-format: hex, doc: "Offset of the mapping in its file, bytes." }
      - { id: prot, type: u8, -crimg-flags: { read: 0, write: 1, exec: 2 }, doc: "PROT_*." }
      - { id: flags, type: u8, -crimg-format: hex, doc: "MAP_* (SHARED 1, PRIVATE 2, FIXED 0x10, ANONYMOUS 0x20)." }
      - { id: dev_major, type: u8, doc: "Device of the file." }
      - { id: dev_minor, type: u8, doc: "Device of the file." }
      - { id: ino, type: u8, doc: "Inode of the file." }
      - { id: file_size, type: u8, -crimg-format: hex, doc: "Bytes of the mapping that the file covers; all ones for anonymous memory." }
      - { id: properties, type: u8, -crimg-flags: { zero_run: 0, parent: 1, child: 2 }, doc: "What follows; see the constants." }
      - { id: name, size: 1024, doc: "As in /proc/PID/maps, NUL-terminated; leftovers may follow the NUL." }
      - { id: padding, size: 2984, doc: "Unused." }
