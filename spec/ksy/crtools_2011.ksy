# SPDX-License-Identifier: Apache-2.0
meta:
  id: crtools_2011
  title: The image set of crtools at the time of the RFC (2011)
  license: Apache-2.0
  endian: le
  imports:
    - ckpt_elf_v1
doc: |
  One directory; a set of files per process, each beginning with a magic number of four bytes:
  pstree-PID.img (the root only): pstree_entry to the end. core-PID.img: core_entry, vma_entry list ended by a zero
  entry, page_entry list ended by a zero entry. pages-PID.img, pages-shmem-PID.img: page_entry list ended by a zero
  entry. fdinfo-PID.img, pipes-PID.img, shmem-PID.img: entries to the end. core_entry, vma_entry and page_entry are
  those of ckpt_elf_v1.ksy. Everything is packed.
-crimg-constants:
  pstree_magic: { value: 0x40044004, doc: "pstree-PID.img." }
  core_magic: { value: 0xa75b8d43, doc: "core-PID.img." }
  pages_magic: { value: 0x20202020, doc: "pages-PID.img and pages-shmem-PID.img." }
  fdinfo_magic: { value: 0x01010101, doc: "fdinfo-PID.img." }
  pipes_magic: { value: 0x05055050, doc: "pipes-PID.img." }
  shmem_magic: { value: 0x03300330, doc: "shmem-PID.img." }
types:
  image_magic:
    doc: First bytes of every file.
    seq:
      - { id: magic, type: u4, -crimg-format: hex, doc: "Which kind of file." }
  pstree_entry:
    doc: A process and its children.
    seq:
      - { id: pid, type: u4, doc: "Process." }
      - { id: nr_children, type: u4, doc: "How many children follow." }
      - { id: children, type: u4, repeat: expr, repeat-expr: nr_children, doc: "Their pids." }
  fdinfo_entry:
    doc: A descriptor of a regular file, or the file of a memory area.
    seq:
      - { id: type, type: u1, enum: fdinfo_type, doc: "Which of the two." }
      - { id: len, type: u1, doc: "Bytes of the path." }
      - { id: flags, type: u2, -crimg-format: octal, doc: "Open flags, the low 16 bits." }
      - { id: pos, type: u4, doc: "File offset, the low 32 bits." }
      - { id: addr, type: u8, -crimg-format: hex, doc: "Descriptor number, or first address of the area." }
      - { id: path, size: len, doc: "As the kernel shows it, without a NUL." }
  pipe_entry:
    doc: A descriptor of a pipe.
    seq:
      - { id: fd, type: u4, doc: "Descriptor number." }
      - { id: pipeid, type: u4, doc: "Inode, the low 32 bits." }
      - { id: flags, type: u4, -crimg-format: octal, doc: "Open flags, O_CLOEXEC included." }
      - { id: bytes, type: u4, doc: "Bytes in flight; 0 for a write end." }
      - { id: data, size: bytes, doc: "The bytes." }
  shmem_entry:
    doc: An area of anonymous shared memory.
    seq:
      - { id: start, type: u8, -crimg-format: hex, doc: "First address." }
      - { id: end, type: u8, -crimg-format: hex, doc: "First address after it." }
      - { id: shmid, type: u8, doc: "Inode: equal where the memory is the same." }
enums:
  fdinfo_type:
    1: { id: descriptor, doc: "A descriptor of the process." }
    2: { id: map, doc: "A mapped file." }
