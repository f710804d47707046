# SPDX-License-Identifier: Apache-2.0
meta:
  id: elf64
  title: ELF, 64-bit little-endian headers and notes, with the checkpoint extension's types
  license: Apache-2.0
  endian: le
doc: |
  The parts of ELF that checkpoint images and core dumps are made of. Field names are those of the gABI with their
  prefix (e_, p_, sh_, n_), so that `readelf` and the specification can be read beside this.
doc-ref: https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html
-crimg-constants:
  pn_xnum: { value: 0xffff, doc: "e_phnum when the number of program headers is in sh_info of section 0." }
  pt_loos: { value: 0x60000000, doc: "First program header type for operating systems." }
  em_x86_64: { value: 62, doc: "e_machine of x86-64." }
types:
  elf_header:
    doc: The ELF header, at offset 0 of the file.
    doc-ref: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
    seq:
      - { id: magic, contents: [0x7f, 0x45, 0x4c, 0x46], -orig-id: EI_MAG0, doc: "0x7f 'ELF'." }
      - { id: ei_class, type: u1, valid: 2, doc: "ELFCLASS64 = 2." }
      - { id: ei_data, type: u1, valid: 1, doc: "ELFDATA2LSB = 1." }
      - { id: ei_version, type: u1, valid: 1, doc: "EV_CURRENT = 1." }
      - { id: ei_osabi, type: u1, doc: "ELFOSABI_NONE = 0." }
      - { id: ei_abiversion, type: u1, doc: "0." }
      - { id: ei_pad, size: 7, doc: "Zero." }
      - { id: e_type, type: u2, enum: elf_type, doc: "Kind of file." }
      - { id: e_machine, type: u2, doc: "EM_X86_64 = 62." }
      - { id: e_version, type: u4, doc: "EV_CURRENT = 1." }
      - { id: e_entry, type: u8, -crimg-format: hex, doc: "Entry point, virtual address." }
      - { id: e_phoff, type: u8, doc: "File offset of the program headers, bytes; 0 for none." }
      - { id: e_shoff, type: u8, doc: "File offset of the section headers, bytes; 0 for none." }
      - { id: e_flags, type: u4, -crimg-format: hex, doc: "Processor flags; 0 on x86-64." }
      - { id: e_ehsize, type: u2, doc: "Bytes of this header, 64." }
      - { id: e_phentsize, type: u2, doc: "Bytes of a program header, 56." }
      - { id: e_phnum, type: u2, doc: "Number of program headers; PN_XNUM: see section 0." }
      - { id: e_shentsize, type: u2, doc: "Bytes of a section header, 64." }
      - { id: e_shnum, type: u2, doc: "Number of section headers; 0 with e_shoff set: see section 0." }
      - { id: e_shstrndx, type: u2, doc: "Section with the section names." }
  program_header:
    doc: A program header; the headers are a table at e_phoff.
    doc-ref: https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.pheader.html
    seq:
      - { id: p_type, type: u4, enum: segment_type, doc: "Kind of segment." }
      - { id: p_flags, type: u4, -crimg-flags: { exec: 0, write: 1, read: 2 }, doc: "PF_X 1, PF_W 2, PF_R 4." }
      - { id: p_offset, type: u8, -crimg-format: hex, doc: "File offset, bytes." }
      - { id: p_vaddr, type: u8, -crimg-format: hex, doc: "Virtual address." }
      - { id: p_paddr, type: u8, -crimg-format: hex, doc: "Physical address; unused." }
      - { id: p_filesz, type: u8, doc: "Bytes in the file." }
      - { id: p_memsz, type: u8, doc: "Bytes in memory." }
      - { id: p_align, type: u8, doc: "Alignment, a power of two; 0 and 1: none." }
  section_header:
    doc: A section header; the headers are a table at e_shoff.
    doc-ref: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.sheader.html
    seq:
      - { id: sh_name, type: u4, doc: "Offset of the name in the section name table." }
      - { id: sh_type, type: u4, enum: section_type, doc: "Kind of section." }
      - { id: sh_flags, type: u8, -crimg-flags: { write: 0, alloc: 1, execinstr: 2, merge: 4, strings: 5, info_link: 6 }, doc: "SHF_*." }
      - { id: sh_addr, type: u8, -crimg-format: hex, doc: "Virtual address; 0 if not loaded." }
      - { id: sh_offset, type: u8, -crimg-format: hex, doc: "File offset, bytes." }
      - { id: sh_size, type: u8, doc: "Bytes." }
      - { id: sh_link, type: u4, doc: "Section that this one refers to." }
      - { id: sh_info, type: u4, doc: "By kind; in section 0 the number of program headers if e_phnum is PN_XNUM." }
      - { id: sh_addralign, type: u8, doc: "Alignment." }
      - { id: sh_entsize, type: u8, doc: "Bytes of an entry, for tables; else 0." }
  note_header:
    doc: The header of a note; the name (with its NUL) and the descriptor follow, each padded to 4 bytes.
    doc-ref: https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.pheader.html#note_section
    seq:
      - { id: n_namesz, type: u4, doc: "Bytes of the name, NUL included." }
      - { id: n_descsz, type: u4, doc: "Bytes of the descriptor." }
      - { id: n_type, type: u4, -crimg-format: hex, doc: "Kind of note, a number space of the name." }
enums:
  elf_type:
    0: { id: none, -orig-id: ET_NONE }
    1: { id: rel, -orig-id: ET_REL }
    2: { id: exec, -orig-id: ET_EXEC }
    3: { id: dyn, -orig-id: ET_DYN }
    4: { id: core, -orig-id: ET_CORE }
    5: { id: ckpt, -orig-id: ET_CKPT, doc: "A version 1 checkpoint (2011)." }
  segment_type:
    0: { id: "null", -orig-id: PT_NULL }
    1: { id: load, -orig-id: PT_LOAD }
    2: { id: dynamic, -orig-id: PT_DYNAMIC }
    3: { id: interp, -orig-id: PT_INTERP }
    4: { id: note, -orig-id: PT_NOTE }
    5: { id: shlib, -orig-id: PT_SHLIB }
    6: { id: phdr, -orig-id: PT_PHDR }
    7: { id: tls, -orig-id: PT_TLS }
    0x6474e550: { id: gnu_eh_frame, -orig-id: PT_GNU_EH_FRAME }
    0x6474e551: { id: gnu_stack, -orig-id: PT_GNU_STACK }
    0x6474e552: { id: gnu_relro, -orig-id: PT_GNU_RELRO }
    0x6474e553: { id: gnu_property, -orig-id: PT_GNU_PROPERTY }
    0x61010102: { id: ckpt_vma, -orig-id: PT_CKPT_VMA, doc: "Version 1: one vma_entry." }
    0x61010103: { id: ckpt_core, -orig-id: PT_CKPT_CORE, doc: "Version 1: one core_entry." }
    0x61010104: { id: ckpt_pages, -orig-id: PT_CKPT_PAGES, doc: "Version 1: page_entry list." }
    0x61010105: { id: ckpt_tables, -orig-id: PT_CKPT_TABLES, doc: "Version 2: the tables segment." }
    0x61010106: { id: ckpt_program, -orig-id: PT_CKPT_PROGRAM, doc: "Version 2: the restore program." }
    0x61010107: { id: ckpt_extents, -orig-id: PT_CKPT_EXTENTS, doc: "Version 2: page-aligned stored bytes." }
    0x61010108: { id: ckpt_helper, -orig-id: PT_CKPT_HELPER, doc: "Version 2: an executable that the restore program starts." }
  section_type:
    0: { id: "null", -orig-id: SHT_NULL }
    1: { id: progbits, -orig-id: SHT_PROGBITS }
    2: { id: symtab, -orig-id: SHT_SYMTAB }
    3: { id: strtab, -orig-id: SHT_STRTAB }
    7: { id: note, -orig-id: SHT_NOTE }
    8: { id: nobits, -orig-id: SHT_NOBITS }
  gnu_note_type:
    1: { id: abi_tag, -orig-id: NT_GNU_ABI_TAG }
    3: { id: build_id, -orig-id: NT_GNU_BUILD_ID }
    5: { id: property_type_0, -orig-id: NT_GNU_PROPERTY_TYPE_0 }
