# SPDX-License-Identifier: Apache-2.0
meta:
  id: restore_program
  title: Checkpoint ELF extension, version 2 - the restore program
  license: Apache-2.0
  endian: le
doc: |
  The payload of the one PT_CKPT_PROGRAM segment of an image: a header, a table of ops, and data. It is derived
  from the tables when the image is linked; the interpreter in the image executes it and decides nothing itself.

  The interpreter loads the whole segment at `addr_program` (in the hole, see SPEC.md) as private anonymous memory,
  followed by zeroed memory up to `addr_slots + 8 * num_slots` and the stacks; `addr_control` is one shared anonymous
  area that all tasks of the tree see until they leave.
-crimg-c-prefix: restore
types:
  program_header:
    doc: First bytes of the program segment.
    seq:
      - { id: magic, contents: [0x43, 0x4b, 0x50, 0x54, 0x50, 0x52, 0x47, 0x31], doc: "'CKPTPRG1'" }
      - { id: version_major, type: u2, valid: 1, doc: "The interpreter refuses another one." }
      - { id: version_minor, type: u2, doc: "Grows with compatible additions." }
      - { id: entry, type: u4, doc: "Index of the first op." }
      - { id: num_ops, type: u4, doc: "Number of ops." }
      - { id: len_op, type: u4, doc: "Bytes of one op." }
      - { id: ofs_ops, type: u8, doc: "Offset of the first op from the start of the segment." }
      - { id: ofs_data, type: u8, doc: "Offset of the data from the start of the segment." }
      - { id: len_data, type: u8, doc: "Bytes of data in the file." }
      - { id: hole_base, type: u8, -crimg-format: hex, doc: "First address that the restore occupies in every task." }
      - { id: hole_size, type: u8, -crimg-format: hex, doc: "Bytes from there; no mapping of any task lies in it." }
      - { id: addr_program, type: u8, -crimg-format: hex, doc: "Where this segment is loaded." }
      - { id: len_memory, type: u8, doc: "Bytes from `addr_program` that are private memory (segment, buffers, slots, stacks)." }
      - { id: addr_slots, type: u8, -crimg-format: hex, doc: "Array of u8 results." }
      - { id: addr_stack, type: u8, -crimg-format: hex, doc: "Top of the stack of the first process." }
      - { id: addr_control, type: u8, -crimg-format: hex, doc: "The control area." }
      - { id: len_control, type: u8, doc: "Bytes of it." }
      - { id: num_slots, type: u4, doc: "Number of slots." }
      - { id: num_errors, type: u4, doc: "Number of entries of the error table." }
      - { id: ofs_errors, type: u4, doc: "Offset in the data of `num_errors` u4: offsets in the data of the text for each errno; 0 for
          none." }
      - { id: ofs_usage, type: u4, doc: "Offset in the data of the text for --help." }
      - { id: ofs_slot_names, type: u4, doc: "Offset in the data of the names of the slots, then of the counters and process ids, a line
          each, ended by NUL; for people." }
      - { id: ofs_title, type: u4, doc: "Offset in the data of what this is: program, pid, time of the dump; for people." }
      - { id: num_counters, type: u4, doc: "Number of u4 counters in the control area, behind its header; process ids follow." }
      - { id: num_pids, type: u4, doc: "Number of u4 process ids in the control area. The first is that of the root of the tree." }
      - { id: num_lasting_pids, type: u4, doc: "The first so many of them are of processes that last: one that ends before the tree runs
          makes the restore fail. The others (zombies, stand-ins for leaders that are gone) end on purpose." }
      - { id: num_files, type: u4, doc: "Number of entries of the table of files." }
      - { id: ofs_files, type: u4, doc: "Offset in the data of `num_files` entries of two u4: the offset in the data of a path, and the
          slot of its file_policy, which --files sets." }
      - { id: checksum, type: u4, -crimg-format: hex, doc: "Over the interpreter (the bytes behind page 0 of the image up to the end of
          the PT_LOAD segment), then this segment with 0 here: for each little-endian u4 w, from 0 on, sum = (sum xor w) * 0x9e3779b1
          modulo 2^32, then sum = sum xor (sum >> 15). It detects accidental damage, not tampering." }

  op:
    doc: One op. Arguments are evaluated first, each by its mode; then the op is done; its result goes to `store`; then it is judged by
      `expect`. Slots from 0x80000000 to 0x8000000f are whoever's runs the op, one thread's; in forked children they are undefined.
    seq:
      - { id: kind, type: u1, enum: op_kind, doc: "What it does." }
      - { id: expect, type: u1, enum: expect, doc: "Which results are right." }
      - { id: flags, type: u2, -crimg-flags: { else_jump: 0, quiet: 1, patient: 2 }, doc: "else_jump: a wrong result is no failure, go to
          `target`. quiet: nobody needs to see it in a trace. patient: -EEXIST is tried again for half a second, since an id is in use a
          little longer than its process is there." }
      - { id: nr, type: u4, doc: "syscall: its number. jump, compute: the operator. load: how." }
      - { id: modes, type: u1, repeat: expr, repeat-expr: 6, doc: "arg_mode of each argument, the low six bits. 0x40: the value is the u4,
          0x80: the u8 that the row has at the argument (see the op each)." }
      - { id: reserved, type: u2, doc: "Zero." }
      - { id: args, type: u8, repeat: expr, repeat-expr: 6, -crimg-format: hex, doc: "Arguments." }
      - { id: expect_a, type: s8, doc: "For equals and one_of." }
      - { id: expect_b, type: s8, doc: "For one_of." }
      - { id: store, type: u4, doc: "Slot for the result; 0xffffffff for none." }
      - { id: target, type: u4, doc: "Op index for jumps and threads." }
      - { id: subject, type: u4, doc: "Offset in the data of text: the task concerned; 0 for none. 0x80000000 set: the u4 that the
          row has at the rest is the offset; so for `message` and `hint`." }
      - { id: message, type: u4, doc: "Offset in the data of text: what is done and to what; 0 for none." }
      - { id: hint, type: u4, doc: "Offset in the data of text: what to do if it fails; 0 for none." }
      - { id: reserved2, type: u4, doc: "Zero." }

  control_header:
    doc: First bytes of the control area; `num_counters` and `num_pids` u4 follow.
    seq:
      - { id: aborted, type: u4, doc: "Not zero: some op failed, everybody ends." }
      - { id: claimed, type: u4, doc: "Not zero: the fields below belong to the first who failed." }
      - { id: failed_op, type: u4, doc: "Index of the op that failed." }
      - { id: failed_row, type: u4, doc: "Offset in the data of the row that the op was run for; 0 for none." }
      - { id: failed_result, type: s8, doc: "Its result; if `dead_pid` is not zero, the signal that ended that process." }
      - { id: supervisor, type: u4, doc: "Thread id of the process that reports failures." }
      - { id: dead_pid, type: u4, doc: "Not zero: the failure is that this process ended before the tree ran." }

  frame:
    doc: Stored bytes that are compressed together; see the op frames.
    seq:
      - { id: offset, type: u8, -crimg-format: hex, doc: "Where its content begins for whoever counts as if nothing were compressed." }
      - { id: file_offset, type: u8, -crimg-format: hex, doc: "Where it is in the file." }
      - { id: length, type: u4, doc: "Bytes of its content, at most 262,144." }
      - { id: stored, type: u4, doc: "Bytes in the file; if fewer than `length`, a block of LZ4." }

  lazy_space:
    doc: An address space that the pager serves; see the op page.
    seq:
      - { id: runs, type: u8, -crimg-format: hex, doc: "Address of `num_runs` records `lazy_run`, ascending." }
      - { id: ranges, type: u8, -crimg-format: hex, doc: "Address of `num_ranges` records `range`: what of the runs is not missing." }
      - { id: num_runs, type: u4, doc: "Number of runs." }
      - { id: num_ranges, type: u4, doc: "Number of ranges." }
      - { id: num_pieces, type: u8, doc: "Number of pieces in all runs." }

  lazy_run:
    doc: Pieces that lie one after the other in the file.
    seq:
      - { id: file_offset, type: u8, doc: "Where the first begins." }
      - { id: pieces, type: u8, -crimg-format: hex, doc: "Address of the records `piece`, of at most 64 pages each." }
      - { id: num_pieces, type: u8, doc: "Number of them." }

  range:
    doc: Addresses.
    seq:
      - { id: start, type: u8, -crimg-format: hex, doc: "First." }
      - { id: end, type: u8, -crimg-format: hex, doc: "First behind." }

  piece:
    doc: Stored bytes and where they go; see the op load.
    seq:
      - { id: address, type: u8, -crimg-format: hex, doc: "Where they belong in memory." }
      - { id: length, type: u4, doc: "Bytes." }
      - { id: sum, type: u4, -crimg-format: hex, doc: "Their checksum (SPEC 7.1); 0: not known, not looked at." }
  row:
    doc: First bytes of a row of values; see the op each.
    seq:
      - { id: id, type: u4, doc: "What the character U+0001 in texts stands for, in decimal: the id of a thread." }
enums:
  op_kind:
    1:
      id: syscall
      doc: "result = system call nr(args)."
    2:
      id: store4
      doc: "The u4 at address arg0 becomes arg1."
    3:
      id: store8
      doc: "The u8 at address arg0 becomes arg1."
    4:
      id: copy
      doc: "arg2 bytes from arg1 to arg0."
    5:
      id: compare
      doc: "result = 0 if the arg2 bytes at arg0 and arg1 are equal, else 1."
    6:
      id: find
      doc: "result = address of the arg3 bytes at arg2 within the arg1 bytes at arg0; -ENOENT if they are not there."
    7:
      id: compute
      doc: "result = arg0 operator arg1 (operator: `nr`, see compute_op)."
    8:
      id: jump
      doc: "To `target` if arg0 compares to arg1 as `nr` (jump_if) says."
    9:
      id: thread
      doc: "clone3 with the clone_args at arg0, arg1 bytes; the new thread starts at `target` on the stack that they name. result = its id."
    10:
      id: count
      doc: "Adds arg1 to the counter arg0 of the control area, wakes who waits."
    11:
      id: wait
      doc: "Until the counter arg0 is at least arg1; result = what it is then. -ECHILD if arg2 is the id of a child and that ends before."
    12:
      id: format
      doc: "At arg0: the text at arg1, the number arg2 in decimal, the text at arg3, NUL. result = length without NUL."
    13:
      id: print
      doc: "The message on standard error, prefixed with the program's name."
    14:
      id: sigreturn
      doc: "Leaves by rt_sigreturn with the stack pointer at arg0."
    15:
      id: fail
      doc: "Fails with result arg0."
    16:
      id: report
      doc: "The supervisor says what failed, ends everything, and exits with status 125."
    17:
      id: populate
      doc: "Gives each page of the arg1 bytes at arg0, private memory that reads as zeros, memory of its own. How is the interpreter's
          choice; it keeps in the u8 at arg2, which is 0 at first, how many ns huge pages have saved so far. Unless arg3 is 0 it ends where
          these are not quickly had. With arg1 0: from here on `load` puts pages in place by the userfaultfd arg0 where that knows them;
          -1: no longer."
    18:
      id: cpuid
      doc: "result = register arg2 (0 ax, 1 bx, 2 cx, 3 dx) of cpuid leaf arg0, subleaf arg1."
    19:
      id: xgetbv
      doc: "result = XCR0."
    20:
      id: fill_tiles
      doc: "Uses AMX once, so that the kernel makes room for its state."
    21:
      id: load
      doc: |
        Reads arg2 pieces of stored bytes, which lie one after the other in the file of descriptor arg0 from offset arg3 on, to where the
        records `piece` at arg1 say, arg4 added to their addresses, and looks at their checksums unless arg5 is not 0. With a negative arg0
        nothing is read: the bytes are there already. result = bytes read (those of the pieces, if nothing is read), fewer where the file
        ends before, -EBADMSG for a wrong checksum, or what preadv said. With an nr of 1 the bytes go to private anonymous memory, each
        page of which is written to before it is read: its fault then does not wait for whoever changes other mappings.
    22:
      id: page
      doc: |
        The pager of a lazy resume (SPEC 10): answers faults from the image at descriptor arg0, and fills in the rest. Tasks send what it
        serves over the socket arg1, which knows arg3 records `lazy_space` at arg2. It looks at checksums unless arg4 is not 0. result = 0
        when no memory is missing any more. If it cannot go on it stores the errno in the u4 at arg5, kills the tasks, and ends.
    23:
      id: keep
      doc: "Waits for the pager, the child arg0. If it ends otherwise than with status 0, kills the tasks, and waits until no memory that
        the pager served is left; result = 1 then, else 0."
    24:
      id: frames
      doc: "From here on stored bytes are in the arg1 records `frame` at arg0, ascending: `load` and `page` count as if nothing were
        compressed, and inflate what they need. What lies before the first is not compressed."
    25:
      id: symbol
      doc: "result = address of the function with the name at arg1 that the ELF image in memory at arg0 exports (PT_DYNAMIC: DT_SYMTAB,
        DT_STRTAB, and DT_HASH or DT_GNU_HASH); -ENOENT if there is none."
    26:
      id: protect
      doc: "Memory at the arg1 records `range` at arg0, ascending, gets the protection arg2 (PROT_*). result = 0, or what mprotect said of
        the first that it refused."
    27:
      id: each
      doc: |
        The ops from the next one to the next op `next` are run for each of arg1 rows (at least one) of arg2 bytes, of which the first is at
        arg0, in the data. A row begins with a record `row`; the rest is whatever arguments and texts of those ops name. A thread that
        one of them makes has the row of its maker. No other `each` is among them.
    28:
      id: next
      doc: "Back to the op behind `each`, for the next row; on, without a row, if there is none."
    29:
      id: leave
      doc: |
        Leaves by rt_sigreturn, with the registers at arg0 (struct user_regs_struct), the alternate stack at arg1 (stack_t), the signal
        mask at arg2, and unless arg3 is 0 the extended state there. Unless arg4 is 0 the system call that was interrupted is made again:
        ip - 2, ax = orig_ax.
  arg_mode:
    0:
      id: imm
      doc: "The value."
    1:
      id: data
      doc: "Address of the data plus the value."
    2:
      id: slot
      doc: "Low half: slot; its content plus the high half (signed)."
    3:
      id: slot_address
      doc: "Address of the slot."
    4:
      id: mem4
      doc: "The u4 at address of the data plus the value."
    5:
      id: mem8
      doc: "The u8 at address of the data plus the value."
    6:
      id: control
      doc: "Address of the control area plus the value."
    7:
      id: control4
      doc: "The u4 at address of the control area plus the value."
    8:
      id: auxv
      doc: "The entry of that type of the auxiliary vector that the image was started with."
    9:
      id: hole
      doc: "Address of the hole plus the value."
    10:
      id: mem4s
      doc: "The s4 at address of the data plus the value."
  expect:
    0: any
    1: not_error
    2: equals
    3: one_of
  jump_if:
    0: always
    1: eq
    2: ne
    3: lt
    4: ge
    5: bits
    6: no_bits
  compute_op:
    0: move
    1: add
    2: sub
    3: and
    4: or
    5: shift_left
    6: shift_right
    7: load4
    8: load8
  option_slot:
    0: detach
    1: pidfile
    2: pid_mode
    3: image_fd
    4: leave_stopped
    5: no_verify
    6: clock
    7: rehearse
    8: gpu_map
    9: pid_view
    10: memory
    11: rootfs
  pid_view:
    0: callers
    1: own
    2: outside
  memory_mode:
    0: recorded
    1: lazy
    2: eager
  clock_mode:
    0: recorded
    1: continue
    2: host
  file_policy:
    0: same
    1: strict
    2: any
  pid_mode:
    0: auto
    1: same
    2: namespace
    3: any
