# SPDX-License-Identifier: Apache-2.0
meta:
  id: ckpt_elf_v2
  title: Checkpoint ELF extension, version 2 - the tables segment
  license: Apache-2.0
  endian: le
  bit-endian: le
  imports:
    - x86_64_regs
doc: |
  The payload of the one PT_CKPT_TABLES segment of an image: a header, a directory, and tables of fixed-size
  records. Every offset in the header and the directory counts from the first byte of this segment.

  A row is identified by its index in its table. A reader that knows a smaller record than `len_row` keeps the
  trailing bytes; one that knows a larger record takes the missing fields as zero (for references: none).
  Tables of unknown kind are kept as they are.

  Extension keys (read by this project's generator, ignored by the official compiler):
    -crimg-table: N        the type is the record of table kind N (a directory entry)
    -crimg-name            the name of that table; its ELF section is ".ckpt." + name
    -crimg-row             the record's name, where the official compiler cannot have it (Object is taken in JavaScript)
    -crimg-ref: TABLE      the field is a row index into TABLE; with -crimg-optional 0xffffffff means none
    -crimg-flags: {n: bit} the field is a set of named bits (bit numbers)
    -crimg-format: hex|octal|signal|time_ns   how the value is shown
    -crimg-constants       named numbers
    -crimg-c-prefix        a C header (native/gen) is made too; its names begin with this
    -crimg-skip: true      the type is for the official compiler only
    types str_ref and blob_ref: text (UTF-8, or arbitrary bytes as the kernel has them) and byte strings
-crimg-constants:
  tables_version_major: { value: 2, doc: "Major version of the tables segment; readers refuse another." }
  tables_version_minor: { value: 1, doc: "Minor version that this description is of." }
  kind_strings: { value: 0xfffe, doc: "Directory kind of the string heap, `strings`; first byte 0." }
  kind_blobs: { value: 0xffff, doc: "Directory kind of the blob heap, `blobs`." }
  kind_frames: { value: 0xfffc, doc: "Directory kind of the frames of compressed stored bytes, `frames`: records frame_entry." }
  kind_checksums: { value: 0xfffd, doc: "Directory kind of the checksums of stored bytes, `checksums`: records checksum_entry." }
seq:
  - id: header
    type: tables_header
  - id: directory
    type: directory_entry
    repeat: expr
    repeat-expr: header.num_tables
types:
  tables_header:
    doc: First bytes of the tables segment.
    seq:
      - id: magic
        contents: [0x43, 0x4b, 0x50, 0x54, 0x45, 0x4c, 0x46, 0x32]
        doc: "'CKPTELF2'"
      - id: version_major
        type: u2
        valid: 2
        doc: Readers refuse another major version.
      - id: version_minor
        type: u2
        doc: Grows with every compatible addition.
      - id: num_tables
        type: u4
        doc: Number of directory entries that follow.
      - id: len_segment
        type: u8
        doc: Length of the whole tables segment in bytes; equals p_filesz.
      - id: sum_tables
        type: u4
        -crimg-format: hex
        doc: Checksum of this segment, taken with 0 here and in `sum_rest`; 0 if there is none.
      - id: sum_rest
        type: u4
        -crimg-format: hex
        doc: Checksum of all of the file but this segment and the stored bytes; 0 if there is none.
  directory_entry:
    doc: Where one table is.
    seq:
      - id: kind
        type: u4
        doc: Table kind (the -crimg-table number).
      - id: len_row
        type: u4
        doc: Size of one record in bytes; 1 for the heaps `strings` and `blobs`.
      - id: num_rows
        type: u8
        doc: Number of records (for the heaps, of bytes).
      - id: ofs_rows
        type: u8
        doc: Offset of the first record from the start of the segment, a multiple of 8.
      - id: reserved
        type: u8
        doc: Zero.
  frame_entry:
    doc: Stored bytes that are compressed together.
    seq:
      - id: offset
        type: u8
        -crimg-format: hex
        doc: Where its content begins for whoever counts as if nothing were compressed (7.2), a multiple of 4,096.
      - id: file_offset
        type: u8
        -crimg-format: hex
        doc: Where it is in the file, a multiple of 4,096.
      - id: length
        type: u4
        doc: Bytes of its content, a multiple of 4,096, at most 262,144.
      - id: stored
        type: u4
        doc: Bytes in the file. If as many as `length`, the content itself; if fewer, a block of LZ4.
  checksum_entry:
    doc: The checksum of a chunk of stored bytes.
    seq:
      - id: file_offset
        type: u8
        -crimg-format: hex
        doc: Where the chunk begins in the file, a multiple of 4,096.
      - id: length
        type: u4
        doc: Bytes, a multiple of 4,096.
      - id: sum
        type: u4
        -crimg-format: hex
        doc: Checksum of them.
  str_ref:
    doc: |
      Offset of the first byte of a NUL-terminated string in the `strings` heap (0, or a byte after a NUL); offset 0
      is the empty string. At most 65,535 bytes.
    seq:
      - id: ofs
        type: u4
  blob_ref:
    doc: |
      A run of bytes in the `blobs` heap. Empty is offset 0, length 0. No byte of the heap belongs to two different references
      (so that a small file cannot describe a large checkpoint). References to the same 512 to 16,384 bytes may be the same.
    seq:
      - id: ofs
        type: u8
      - id: len
        type: u8

  checkpoint:
    -crimg-table: 1
    -crimg-name: checkpoint
    doc: One row. What was dumped, where and by whom.
    seq:
      - { id: created_ns, type: s8, -crimg-format: time_ns, doc: "CLOCK_REALTIME at the dump, nanoseconds." }
      - { id: monotonic_ns, type: s8, doc: "CLOCK_MONOTONIC at the dump as the tasks see it (their time namespace), nanoseconds." }
      - { id: boottime_ns, type: s8, doc: "CLOCK_BOOTTIME at the dump as the tasks see it, nanoseconds." }
      - { id: xfeatures, type: u8, -crimg-format: hex, doc: "XCR0 of the CPU: state components that saved xstate areas may use." }
      - { id: root_task, type: u4, -crimg-ref: tasks, doc: "The root of the tree." }
      - { id: page_size, type: u4, valid: 4096, doc: "Bytes in a page." }
      - { id: creator, type: str_ref, doc: "Program and version that wrote this, such as 'crimg 0.1.0'." }
      - { id: source_format, type: str_ref, doc: "'live' or the id of the format it was converted from." }
      - { id: machine, type: str_ref, doc: "uname -m: 'x86_64'." }
      - { id: kernel_release, type: str_ref, doc: "uname -r of the dumping host." }
      - { id: host_name, type: str_ref, doc: "uname -n of the dumping host." }
      - { id: clock, type: u4, enum: clock_policy, doc: "At a resume CLOCK_MONOTONIC and CLOCK_BOOTTIME go on from monotonic_ns and
          boottime_ns (continue), or are those of the machine (host)." }
      - { id: vdso_build_id, type: blob_ref, -crimg-format: hex, doc: "NT_GNU_BUILD_ID of the kernel's vDSO; empty if unknown." }
      - { id: is_lazy, type: u4, doc: "1: unless the one who resumes says otherwise, the program runs before its memory is there (10)." }
      - { id: reserved, type: u4, doc: "Zero." }

  vdso_image:
    -crimg-table: 128
    -crimg-name: vdso_images
    doc: One row at most. The code that the kernel of the dump had mapped into every task.
    seq:
      - { id: image, type: blob_ref, -crimg-format: hex, doc: "The bytes of [vdso], whole pages." }

  task:
    -crimg-table: 2
    -crimg-name: tasks
    doc: A process (thread group), parents before their children.
    seq:
      - { id: pid, type: u4, doc: "Process id as the program itself sees it (innermost pid namespace)." }
      - { id: parent, type: u4, -crimg-ref: tasks, -crimg-optional: true, doc: "Parent in the tree; none for the root." }
      - { id: ppid, type: u4, doc: "Parent's pid as seen; 0 if outside." }
      - { id: pgid, type: u4, doc: "Process group; may belong to nobody in the tree." }
      - { id: sid, type: u4, doc: "Session; may belong to nobody in the tree. 0 if led from outside the pid namespace." }
      - { id: state, type: u4, enum: task_state, doc: "What the task was doing." }
      - { id: wait_status, type: u4, -crimg-format: hex, doc: "Zombies: the status wait(2) will give." }
      - { id: stop_signal, type: u4, -crimg-format: signal, doc: "Stopped tasks: the signal that stopped them." }
      - { id: exit_signal, type: u4, -crimg-format: signal, doc: "Signal to the parent at exit (clone's low byte)." }
      - { id: mm, type: u4, -crimg-ref: mms, -crimg-optional: true, doc: "Address space; none for zombies." }
      - { id: cwd, type: u4, -crimg-ref: objects, -crimg-optional: true, doc: "Current directory." }
      - { id: root, type: u4, -crimg-ref: objects, -crimg-optional: true, doc: "Root directory; none: that of the dumper." }
      - { id: umask, type: u4, -crimg-format: octal, doc: "File mode creation mask." }
      - { id: personality, type: u4, -crimg-format: hex, doc: "personality(2) value." }
      - { id: task_flags, type: u4, -crimg-format: hex, doc: "PF_* flags from /proc/PID/stat." }
      - { id: oom_score_adj, type: s4, doc: "/proc/PID/oom_score_adj." }
      - { id: child_subreaper, type: u1, doc: "PR_GET_CHILD_SUBREAPER." }
      - { id: keep_caps, type: u1, doc: "PR_GET_KEEPCAPS." }
      - { id: controls_terminal, type: u1, doc: "1 if the session has a controlling terminal." }
      - { id: reserved, type: u1, doc: "Zero." }
      - { id: foreground_pgid, type: s4, doc: "Foreground process group of the controlling terminal (tpgid); -1 for none." }
      - { id: xcomp_perm, type: u8, -crimg-format: hex, doc: "ARCH_GET_XCOMP_PERM: xstate components the process may use; 0 if unknown." }
      - { id: shadow_stack_features, type: u8, -crimg-format: hex, doc: "ARCH_SHSTK_STATUS; 0 if none." }
      - { id: descriptor_table, type: u4, -crimg-ref: tasks, -crimg-optional: true, doc: "The task whose descriptor table this one shares
          (CLONE_FILES); none: a table of its own." }
      - { id: autogroup_nice, type: s4, doc: "Session leaders: the nice value of the session's autogroup (/proc/PID/autogroup)." }
      - { id: comm, type: str_ref, doc: "Zombies: the name, at most 15 bytes; others have it in their threads." }
      - { id: login_uid, type: u4, doc: "/proc/PID/loginuid plus 1; all ones: nobody logged in; 0: unknown." }

  thread:
    -crimg-table: 3
    -crimg-name: threads
    doc: A thread; the leader is the first row of its task.
    seq:
      - { id: task, type: u4, -crimg-ref: tasks, doc: "Its process." }
      - { id: tid, type: u4, doc: "Thread id as the program sees it." }
      - { id: regs, type: x86_64_regs::gpregs, doc: "General registers as PTRACE_GETREGS gives them: a task inside an interrupted system
          call has ip behind the syscall instruction and ax = -ERESTART*; in the restartable form ip is back by two and ax = orig_ax." }
      - { id: sig_mask, type: u8, -crimg-format: signal_set, doc: "Blocked signals (the saved mask if a system call replaced it)." }
      - { id: xstate, type: blob_ref, -crimg-format: hex, doc: "NT_X86_XSTATE in the standard (uncompacted) form, or 512 bytes of FXSAVE
          area; may be shortened to the last component in use." }
      - { id: comm, type: str_ref, doc: "Thread name, at most 15 bytes." }
      - { id: creds, type: u4, -crimg-ref: creds, -crimg-optional: true, doc: "Credentials." }
      - { id: altstack_sp, type: u8, -crimg-format: hex, doc: "sigaltstack ss_sp." }
      - { id: altstack_size, type: u8, doc: "sigaltstack ss_size." }
      - { id: altstack_flags, type: u4, -crimg-format: hex, doc: "sigaltstack ss_flags (SS_DISABLE = 2)." }
      - { id: pdeath_signal, type: u4, -crimg-format: signal, doc: "PR_GET_PDEATHSIG." }
      - { id: clear_child_tid, type: u8, -crimg-format: hex, doc: "PR_GET_TID_ADDRESS." }
      - { id: robust_list_head, type: u8, -crimg-format: hex, doc: "get_robust_list head." }
      - { id: robust_list_len, type: u8, doc: "get_robust_list length; 0 if never set." }
      - { id: rseq_address, type: u8, -crimg-format: hex, doc: "Registered rseq area; 0 for none." }
      - { id: rseq_size, type: u4, doc: "Length given to rseq(2)." }
      - { id: rseq_signature, type: u4, -crimg-format: hex, doc: "Signature given to rseq(2)." }
      - { id: sched_policy, type: u4, enum: sched_policy, doc: "Scheduling class." }
      - { id: sched_priority, type: u4, doc: "Real-time priority." }
      - { id: nice, type: s4, doc: "Nice value." }
      - { id: sched_flags, type: u4, -crimg-format: hex, doc: "sched_attr flags (SCHED_FLAG_RESET_ON_FORK = 1)." }
      - { id: sched_runtime_ns, type: u8, doc: "SCHED_DEADLINE runtime; in the classes other, batch and idle the slice that was asked
          for, 0 for the kernel's own." }
      - { id: sched_deadline_ns, type: u8, doc: "SCHED_DEADLINE deadline." }
      - { id: sched_period_ns, type: u8, doc: "SCHED_DEADLINE period." }
      - { id: timer_slack_ns, type: u8, doc: "Timer slack; 0 for unknown." }
      - { id: io_priority, type: u4, -crimg-format: hex, doc: "ioprio_get value." }
      - { id: no_new_privs, type: u1, doc: "PR_GET_NO_NEW_PRIVS." }
      - { id: in_syscall, type: u1, doc: "1 if the task was inside a system call (orig_ax valid)." }
      - { id: reserved, type: u2, doc: "Zero." }
      - { id: cpu_affinity, type: blob_ref, -crimg-format: hex, doc: "sched_getaffinity mask; empty if unknown." }
      - { id: tls_array, type: tls_entry, repeat: expr, repeat-expr: 3, doc: "GDT TLS entries; zero on 64-bit programs." }
      - { id: tsc_mode, type: u1, doc: "PR_GET_TSC: 1 enabled, 2 SIGSEGV; 0 if unknown." }
      - { id: mce_kill, type: u1, doc: "PR_MCE_KILL_GET plus 1 (1 late, 2 early, 3 default); 0 if unknown." }
      - { id: cpuid_faulting, type: u1, doc: "1 if ARCH_GET_CPUID says that cpuid faults." }
      - { id: io_flusher, type: u1, doc: "1 after PR_SET_IO_FLUSHER." }
      - { id: spec_store_bypass, type: u1, -crimg-format: hex, doc: "PR_GET_SPECULATION_CTRL of PR_SPEC_STORE_BYPASS; 0 if unknown." }
      - { id: spec_indirect_branch, type: u1, -crimg-format: hex, doc: "PR_GET_SPECULATION_CTRL of PR_SPEC_INDIRECT_BRANCH; 0 if unknown." }
      - { id: spec_l1d_flush, type: u1, -crimg-format: hex, doc: "PR_GET_SPECULATION_CTRL of PR_SPEC_L1D_FLUSH; 0 if unknown." }
      - { id: reserved2, type: u1, doc: "Zero." }
      - { id: memory_policy, type: u4, -crimg-format: hex, doc: "get_mempolicy of the thread: MPOL_* mode and MPOL_F_* flags; 0 default." }
      - { id: dispatch_mode, type: u4, doc: "Syscall user dispatch: PR_SYS_DISPATCH_*; 0 off." }
      - { id: memory_policy_nodes, type: blob_ref, -crimg-format: hex, doc: "Its nodes, one bit each, little-endian; empty for none." }
      - { id: dispatch_offset, type: u8, -crimg-format: hex, doc: "Syscall user dispatch: first address whose system calls are not
          dispatched." }
      - { id: dispatch_length, type: u8, doc: "Syscall user dispatch: bytes of that range." }
      - { id: dispatch_selector, type: u8, -crimg-format: hex, doc: "Syscall user dispatch: address of the selector byte; 0 for none." }

  seccomp_filter:
    -crimg-table: 84
    -crimg-name: seccomp_filters
    doc: A seccomp filter. A thread is under its own and all that come before it.
    seq:
      - { id: previous, type: u4, -crimg-ref: seccomp_filters, -crimg-optional: true, doc: "The filter that was there before; a row before
          this one. None: this is the first." }
      - { id: flags, type: u4, -crimg-flags: { log: 1 }, doc: "SECCOMP_FILTER_FLAG_LOG." }
      - { id: instructions, type: blob_ref, -crimg-format: hex, doc: "struct sock_filter each, 8 bytes: at most 4,096." }

  seccomp_state:
    -crimg-table: 85
    -crimg-name: seccomp_states
    doc: A thread under seccomp. Threads without a row are not.
    seq:
      - { id: thread, type: u4, -crimg-ref: threads, doc: "The thread." }
      - { id: mode, type: u4, enum: seccomp_mode, doc: "Strict, or filters." }
      - { id: filter, type: u4, -crimg-ref: seccomp_filters, -crimg-optional: true, doc: "Mode filter: the last filter that it installed." }
      - { id: reserved, type: u4, doc: "Zero." }

  cgroup:
    -crimg-table: 86
    -crimg-name: cgroups
    doc: A control group that a thread of the tree is in, one below or above such a group.
    seq:
      - { id: hierarchy, type: str_ref, doc: "As /proc/PID/cgroup has it: 'memory', 'cpu,cpuacct', 'name=systemd'; empty for version 2." }
      - { id: mount, type: str_ref, doc: "Where the hierarchy was mounted; empty for nowhere." }
      - { id: root, type: str_ref, doc: "Group that stands for '/' (--cgroup-root); empty for none." }
      - { id: path, type: str_ref, doc: "Its path from there, beginning with '/'." }
      - { id: mode, type: u4, -crimg-format: octal, doc: "st_mode of its directory." }
      - { id: uid, type: u4, doc: "Owner." }
      - { id: gid, type: u4, doc: "Group." }
      - { id: flags, type: u4, -crimg-flags: { threaded: 0, above: 1, dumpers: 2 }, doc: "cgroup.type is threaded; nobody of the tree is
          in it or below but through groups that have rows of their own; whoever dumped was in it too, as all of the tree." }

  cgroup_property:
    -crimg-table: 87
    -crimg-name: cgroup_properties
    doc: A setting of a control group, in the order in which they are set.
    seq:
      - { id: cgroup, type: u4, -crimg-ref: cgroups, doc: "The group." }
      - { id: name, type: str_ref, doc: "Its file: 'memory.max'." }
      - { id: value, type: str_ref, doc: "What is written there, without a line feed at the end; empty: nothing is." }
      - { id: mode, type: u4, -crimg-format: octal, doc: "st_mode of the file; 0 if unknown." }
      - { id: uid, type: u4, doc: "Its owner." }
      - { id: gid, type: u4, doc: "Its group." }

  cgroup_member:
    -crimg-table: 88
    -crimg-name: cgroup_members
    doc: A thread is in a control group. Threads without a row are in those of whoever resumes them.
    seq:
      - { id: thread, type: u4, -crimg-ref: threads, doc: "The thread." }
      - { id: cgroup, type: u4, -crimg-ref: cgroups, doc: "The group." }

  cgroup_policy:
    -crimg-table: 89
    -crimg-name: cgroup_policies
    doc: At most one row. What a resume does about control groups (--manage-cgroups).
    seq:
      - { id: mode, type: u4, enum: cgroup_mode, doc: "Whether groups are made, and their settings written." }
      - { id: reserved, type: u4, doc: "Zero." }

  tls_entry:
    doc: One GDT TLS descriptor as two words.
    seq:
      - { id: a, type: u4, -crimg-format: hex, doc: "Low word." }
      - { id: b, type: u4, -crimg-format: hex, doc: "High word." }

  cred:
    -crimg-table: 4
    -crimg-name: creds
    doc: A set of credentials, shared by the threads that had the same.
    seq:
      - { id: uid, type: u4, doc: "Real user." }
      - { id: euid, type: u4, doc: "Effective user." }
      - { id: suid, type: u4, doc: "Saved user." }
      - { id: fsuid, type: u4, doc: "Filesystem user." }
      - { id: gid, type: u4, doc: "Real group." }
      - { id: egid, type: u4, doc: "Effective group." }
      - { id: sgid, type: u4, doc: "Saved group." }
      - { id: fsgid, type: u4, doc: "Filesystem group." }
      - { id: cap_inheritable, type: u8, -crimg-format: hex, doc: "CapInh." }
      - { id: cap_permitted, type: u8, -crimg-format: hex, doc: "CapPrm." }
      - { id: cap_effective, type: u8, -crimg-format: hex, doc: "CapEff." }
      - { id: cap_bounding, type: u8, -crimg-format: hex, doc: "CapBnd." }
      - { id: cap_ambient, type: u8, -crimg-format: hex, doc: "CapAmb." }
      - { id: securebits, type: u4, -crimg-format: hex, doc: "PR_GET_SECUREBITS." }
      - { id: reserved, type: u4, doc: "Zero." }
      - { id: groups, type: blob_ref, -crimg-format: u4_array, doc: "Supplementary groups, u4 each." }

  namespace:
    -crimg-table: 120
    -crimg-name: namespaces
    doc: A namespace that is the tree's own (namespaces(7)). Those without a row are those of whoever resumes it. User namespaces stand
      before what they own.
    seq:
      - { id: kind, type: u4, enum: namespace_kind, doc: "What it is of." }
      - { id: owner, type: u4, -crimg-ref: namespaces, -crimg-optional: true, doc: "The user namespace whose capabilities hold in it (of a
          user namespace: its parent); none: one outside." }
      - { id: inode, type: u8, doc: "Its number at the dump, as in 'net:[4026531840]'; 0 if unknown." }
      - { id: owner_uid, type: u4, doc: "User namespaces: the user that made it (NS_GET_OWNER_UID), as seen outside." }
      - { id: owner_gid, type: u4, doc: "User namespaces: a group for whoever makes it, as seen outside." }
      - { id: flags, type: u4, -crimg-flags: { setgroups_denied: 0 }, doc: "User namespaces: /proc/PID/setgroups says 'deny'." }
      - { id: reserved, type: u4, doc: "Zero." }
      - { id: host_name, type: str_ref, doc: "uts: the host name." }
      - { id: domain_name, type: str_ref, doc: "uts: the NIS domain name." }
  task_namespace:
    -crimg-table: 121
    -crimg-name: task_namespaces
    doc: A namespace of the tree's own that a task lives in, with all its threads.
    seq:
      - { id: task, type: u4, -crimg-ref: tasks, doc: "Who." }
      - { id: namespace, type: u4, -crimg-ref: namespaces, doc: "Where; at most one of each kind." }
  id_map:
    -crimg-table: 122
    -crimg-name: id_maps
    doc: A line of /proc/PID/uid_map or gid_map of a user namespace.
    seq:
      - { id: namespace, type: u4, -crimg-ref: namespaces, doc: "Whose." }
      - { id: kind, type: u4, enum: id_kind, doc: "Of users or of groups." }
      - { id: inside, type: u4, doc: "First id inside." }
      - { id: outside, type: u4, doc: "First id outside, as whoever dumped sees it." }
      - { id: count, type: u4, doc: "How many ids." }
      - { id: reserved, type: u4, doc: "Zero." }
  mount:
    -crimg-table: 123
    -crimg-name: mounts
    doc: A mount of a mount namespace, parents before what is mounted on them, in the order of mounting.
    seq:
      - { id: namespace, type: u4, -crimg-ref: namespaces, doc: "Where." }
      - { id: parent, type: u4, -crimg-ref: mounts, -crimg-optional: true, doc: "What it is mounted on; none: it is the root." }
      - { id: origin, type: u4, enum: mount_origin, doc: "What is mounted at a resume." }
      - { id: same_as, type: u4, -crimg-ref: mounts, -crimg-optional: true, doc: "A mount of the same filesystem, which this one is
          a bind mount of." }
      - { id: flags, type: u4, -crimg-flags: { read_only: 0, nosuid: 1, nodev: 2, noexec: 3, nosymfollow: 8, noatime: 10, nodiratime: 11,
          relatime: 21 }, doc: "MS_* flags of this mount." }
      - { id: peers, type: u4, doc: "Peer group that it shares events with ('shared:N'); 0: none." }
      - { id: master, type: u4, doc: "Peer group that it receives events from ('master:N'); 0: none." }
      - { id: super_flags, type: u4, -crimg-flags: { read_only: 0, unbindable: 31 }, doc: "read_only: the whole filesystem is;
          unbindable: the mount is." }
      - { id: point, type: str_ref, doc: "Mount point, an absolute path in the namespace." }
      - { id: root, type: str_ref, doc: "What of the filesystem is mounted: a path from its root." }
      - { id: fs_type, type: str_ref, doc: "Such as 'tmpfs'." }
      - { id: source, type: str_ref, doc: "Device, or any word." }
      - { id: options, type: str_ref, doc: "Options of the filesystem, comma-separated, as mount(2) takes them." }
      - { id: name, type: str_ref, doc: "External mounts: the name that a resume knows it by." }
      - { id: dev_major, type: u4, doc: "Device of the filesystem at the dump." }
      - { id: dev_minor, type: u4, doc: "Device of the filesystem at the dump." }
  mount_entry:
    -crimg-table: 124
    -crimg-name: mount_entries
    doc: A file or directory of a filesystem that is in the image (a tmpfs), directories before what is in them.
    seq:
      - { id: mount, type: u4, -crimg-ref: mounts, doc: "Where." }
      - { id: mode, type: u4, -crimg-format: octal, doc: "st_mode." }
      - { id: path, type: str_ref, doc: "From the root of the filesystem, without a leading slash; empty: that root itself." }
      - { id: target, type: str_ref, doc: "Symbolic links: where it leads. Further names of a file: the first name's path." }
      - { id: uid, type: u4, doc: "Owner, as seen inside." }
      - { id: gid, type: u4, doc: "Group, as seen inside." }
      - { id: rdev_major, type: u4, doc: "Devices: which." }
      - { id: rdev_minor, type: u4, doc: "Devices: which." }
      - { id: mtime_ns, type: s8, -crimg-format: time_ns, doc: "Modification time, nanoseconds." }
      - { id: object, type: u4, -crimg-ref: objects, -crimg-optional: true, doc: "Regular files that are not empty: a ghost with the
          content." }
      - { id: reserved, type: u4, doc: "Zero." }
  network_device:
    -crimg-table: 125
    -crimg-name: network_devices
    doc: A device of a network namespace of the tree's own.
    seq:
      - { id: namespace, type: u4, -crimg-ref: namespaces, doc: "Where." }
      - { id: index, type: u4, doc: "ifindex." }
      - { id: flags, type: u4, -crimg-format: hex, doc: "IFF_* flags." }
      - { id: mtu, type: u4, doc: "Bytes." }
      - { id: name, type: str_ref, doc: "Such as 'lo'." }
      - { id: kind, type: str_ref, doc: "IFLA_INFO_KIND, such as 'veth'; empty for the loopback device." }
      - { id: hardware_address, type: blob_ref, -crimg-format: hex, doc: "Link-layer address." }
  network_address:
    -crimg-table: 126
    -crimg-name: network_addresses
    doc: An address of a device, but for those that the kernel gives by itself when it is switched on.
    seq:
      - { id: device, type: u4, -crimg-ref: network_devices, doc: "Whose." }
      - { id: family, type: u2, doc: "AF_INET 2, AF_INET6 10." }
      - { id: prefix_length, type: u1, doc: "Bits." }
      - { id: scope, type: u1, doc: "RT_SCOPE_*." }
      - { id: flags, type: u4, -crimg-format: hex, doc: "IFA_F_*." }
      - { id: reserved, type: u4, doc: "Zero." }
      - { id: local, type: blob_ref, -crimg-format: hex, doc: "IFA_LOCAL, else IFA_ADDRESS: 4 or 16 bytes." }
      - { id: peer, type: blob_ref, -crimg-format: hex, doc: "IFA_ADDRESS where it is another; else empty." }
      - { id: broadcast, type: blob_ref, -crimg-format: hex, doc: "IFA_BROADCAST; empty: none." }
  network_route:
    -crimg-table: 127
    -crimg-name: network_routes
    doc: A route that somebody added, as rtnetlink tells it.
    seq:
      - { id: namespace, type: u4, -crimg-ref: namespaces, doc: "Where." }
      - { id: reserved, type: u4, doc: "Zero." }
      - { id: message, type: blob_ref, -crimg-format: hex, doc: "struct rtmsg and its attributes, as RTM_NEWROUTE takes them." }
  sysctl:
    -crimg-table: 133
    -crimg-name: sysctls
    doc: A setting of a network or ipc namespace that is another than in a new one (sysctl(8)).
    seq:
      - { id: namespace, type: u4, -crimg-ref: namespaces, doc: "Where." }
      - { id: reserved, type: u4, doc: "Zero." }
      - { id: path, type: str_ref, doc: "From /proc/sys, such as 'net/ipv4/ip_forward'." }
      - { id: value, type: str_ref, doc: "As it reads, without the line's end." }

  object_namespace:
    -crimg-table: 132
    -crimg-name: object_namespaces
    doc: An object whose path is one in another mount namespace than that of the root of the tree.
    seq:
      - { id: object, type: u4, -crimg-ref: objects, doc: "What." }
      - { id: namespace, type: u4, -crimg-ref: namespaces, doc: "Where; of kind mount." }

  thread_directory:
    -crimg-table: 30
    -crimg-name: thread_directories
    doc: Directories and umask of a thread that does not share them with its process (unshare(2) of CLONE_FS).
    seq:
      - { id: thread, type: u4, -crimg-ref: threads, doc: "Whose; not the first thread of a process." }
      - { id: umask, type: u4, -crimg-format: octal, doc: "File mode creation mask." }
      - { id: cwd, type: u4, -crimg-ref: objects, -crimg-optional: true, doc: "Current directory." }
      - { id: root, type: u4, -crimg-ref: objects, -crimg-optional: true, doc: "Root directory; none: that of the dumper." }

  outside_pidfd:
    -crimg-table: 31
    -crimg-name: outside_pidfds
    doc: A pidfd of a process that is none of the tree. For who does not know this table it is one of a process that is gone.
    seq:
      - { id: file, type: u4, -crimg-ref: files, doc: "The open file, of kind pidfd." }
      - { id: pid, type: u4, doc: "Process id, as the dumper sees it." }
      - { id: ino, type: u8, doc: "Its inode in pidfs: no other process has it before the next boot." }
      - { id: boot_id, type: str_ref, doc: "/proc/sys/kernel/random/boot_id." }
      - { id: reserved, type: u4, doc: "Zero." }

  rlimit:
    -crimg-table: 5
    -crimg-name: rlimits
    doc: One resource limit of a process.
    seq:
      - { id: task, type: u4, -crimg-ref: tasks, doc: "Whose." }
      - { id: resource, type: u4, enum: rlimit_resource, doc: "RLIMIT_* number." }
      - { id: soft, type: u8, doc: "Soft limit; all ones is infinity." }
      - { id: hard, type: u8, doc: "Hard limit." }

  signal_action:
    -crimg-table: 6
    -crimg-name: signal_actions
    doc: A signal disposition as rt_sigaction gives it. Signals without a row have the default (handler, flags, mask 0).
    seq:
      - { id: task, type: u4, -crimg-ref: tasks, doc: "Whose." }
      - { id: signal, type: u4, -crimg-format: signal, doc: "1..64." }
      - { id: handler, type: u8, -crimg-format: hex, doc: "0 SIG_DFL, 1 SIG_IGN, else an address." }
      - { id: flags, type: u8, -crimg-format: hex, doc: "SA_*." }
      - { id: restorer, type: u8, -crimg-format: hex, doc: "sa_restorer." }
      - { id: mask, type: u8, -crimg-format: signal_set, doc: "sa_mask." }

  pending_signal:
    -crimg-table: 7
    -crimg-name: pending_signals
    doc: A queued signal, in the order of the queue.
    seq:
      - { id: task, type: u4, -crimg-ref: tasks, doc: "Process." }
      - { id: thread, type: u4, -crimg-ref: threads, -crimg-optional: true, doc: "Thread it is for; none: the process." }
      - { id: siginfo, type: blob_ref, -crimg-format: hex, doc: "siginfo_t, 128 bytes." }

  interval_timer:
    -crimg-table: 8
    -crimg-name: interval_timers
    doc: An armed setitimer(2) timer.
    seq:
      - { id: task, type: u4, -crimg-ref: tasks, doc: "Whose." }
      - { id: which, type: u4, enum: itimer_kind, doc: "ITIMER_*." }
      - { id: value_us, type: u8, doc: "Time left, microseconds." }
      - { id: interval_us, type: u8, doc: "Period, microseconds." }

  posix_timer:
    -crimg-table: 9
    -crimg-name: posix_timers
    doc: A timer_create(2) timer.
    seq:
      - { id: task, type: u4, -crimg-ref: tasks, doc: "Whose." }
      - { id: timer_id, type: s4, doc: "Kernel timer id." }
      - { id: clock, type: s4, doc: "clockid_t." }
      - { id: notify, type: u4, -crimg-format: hex, doc: "sigev_notify (SIGEV_SIGNAL 0, NONE 1, THREAD_ID 4)." }
      - { id: signal, type: u4, -crimg-format: signal, doc: "sigev_signo." }
      - { id: notify_tid, type: u4, doc: "Thread for SIGEV_THREAD_ID, else 0." }
      - { id: sigval, type: u8, -crimg-format: hex, doc: "sigev_value." }
      - { id: value_ns, type: s8, doc: "Time left, nanoseconds; 0 disarmed." }
      - { id: interval_ns, type: s8, doc: "Period, nanoseconds." }
      - { id: overrun, type: u4, doc: "Overrun count." }
      - { id: clock_tid, type: u4, doc: "CPU clocks of another thread or process (clock is -2 or -6 then): whose, as the program sees it;
          0: the leader's, or its process's." }

  mm:
    -crimg-table: 10
    -crimg-name: mms
    doc: An address space.
    seq:
      - { id: exe, type: u4, -crimg-ref: objects, -crimg-optional: true, doc: "/proc/PID/exe." }
      - { id: dumpable, type: u4, doc: "PR_GET_DUMPABLE." }
      - { id: start_code, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: end_code, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: start_data, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: end_data, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: start_brk, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: brk, type: u8, -crimg-format: hex, doc: "Program break." }
      - { id: start_stack, type: u8, -crimg-format: hex, doc: "mm field." }
      - { id: arg_start, type: u8, -crimg-format: hex, doc: "Command line." }
      - { id: arg_end, type: u8, -crimg-format: hex, doc: "End of it." }
      - { id: env_start, type: u8, -crimg-format: hex, doc: "Environment." }
      - { id: env_end, type: u8, -crimg-format: hex, doc: "End of it." }
      - { id: auxv, type: blob_ref, -crimg-format: hex, doc: "/proc/PID/auxv." }
      - { id: vdso_base, type: u8, -crimg-format: hex, doc: "Start of [vdso]; 0 for none." }
      - { id: thp_disabled, type: u4, -crimg-format: hex, doc: "PR_GET_THP_DISABLE: bit 0 disabled, bit 1 except where advised." }
      - { id: membarrier, type: u4, -crimg-format: hex, doc: "MEMBARRIER_CMD_GET_REGISTRATIONS." }
      - { id: coredump_filter, type: u4, -crimg-format: hex, doc: "/proc/PID/coredump_filter with bit 31 set; 0 if unknown." }
      - { id: pkeys, type: u4, -crimg-format: hex, doc: "Protection keys that pkey_alloc gave, one bit each; key 0 is everybody's and not
          among them." }
      - { id: mdwe, type: u1, -crimg-format: hex, doc: "PR_GET_MDWE." }
      - { id: memory_merge, type: u1, doc: "PR_GET_MEMORY_MERGE." }
      - { id: lock_future, type: u1, doc: "mlockall(2) for future mappings: 1 MCL_FUTURE, 2 with MCL_ONFAULT." }
      - { id: reserved, type: u1, doc: "Zero." }
      - { id: reserved2, type: u4, doc: "Zero." }
      - { id: ldt, type: blob_ref, -crimg-format: hex, doc: "modify_ldt(0): descriptors of 8 bytes; empty for no local descriptor table." }

  vma:
    -crimg-table: 11
    -crimg-name: vmas
    doc: A memory mapping; the rows of one address space are together and ascending.
    seq:
      - { id: mm, type: u4, -crimg-ref: mms, doc: "Address space." }
      - { id: kind, type: u4, enum: vma_kind, doc: "What it maps." }
      - { id: start, type: u8, -crimg-format: hex, doc: "First address." }
      - { id: end, type: u8, -crimg-format: hex, doc: "First address after it." }
      - { id: offset, type: u8, -crimg-format: hex, doc: "Byte offset in the object mapped; for anonymous private memory as the kernel
          shows it (0)." }
      - { id: prot, type: u4, -crimg-flags: { read: 0, write: 1, exec: 2 }, doc: "PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4." }
      - { id: object, type: u4, -crimg-ref: objects, -crimg-optional: true, doc: "File or shared memory mapped." }
      - id: vm_flags
        type: u8
        doc: "Kernel VmFlags as /proc/PID/smaps names them; 0 if unknown."
        -crimg-flags: { rd: 0, wr: 1, ex: 2, sh: 3, mr: 4, mw: 5, me: 6, ms: 7, gd: 8, pf: 10, lo: 13, io: 14, sr: 15, rr: 16,
          dc: 17, de: 18, lf: 19, ac: 20, nr: 21, ht: 22, sf: 23, ar: 24, wf: 25, dd: 26, sd: 27,
          mm: 28, hg: 29, nh: 30, mg: 31, um: 32, uw: 33, ui: 34, bt: 35, mt: 36, ss: 37, sl: 38, dp: 39, gu: 40 }
      - { id: is_heap, type: u1, doc: "1 if shown as [heap]." }
      - { id: is_stack, type: u1, doc: "1 if shown as [stack]." }
      - { id: pkey, type: u1, doc: "Protection key (ProtectionKey in smaps); 0 is what every mapping has at first." }
      - { id: huge_shift, type: u1, doc: "Mappings of huge pages (hugetlb): logarithm of the size of a page, 21 or 30; 0 for all others." }
      - { id: name, type: str_ref, doc: "Anonymous VMA name (PR_SET_VMA_ANON_NAME), without [anon:…]; for kind special the name shown." }

  extent:
    -crimg-table: 12
    -crimg-name: extents
    doc: Stored bytes of an address space or an object. Rows of one owner are together, ascending, disjoint. What has no extent is zero,
      or the mapped file's.
    seq:
      - { id: owner_kind, type: u4, enum: extent_owner, doc: "What `owner` indexes." }
      - { id: owner, type: u4, doc: "Row of mms or objects." }
      - { id: address, type: u8, -crimg-format: hex, doc: "Virtual address, or offset in the object." }
      - { id: length, type: u8, doc: "Bytes." }
      - { id: file_offset, type: u8, -crimg-format: hex, doc: "Where the bytes are in the source; page-aligned in an image." }
      - { id: source, type: u4, doc: "0: this file; n: the file of row n - 1 of parents." }
      - { id: reserved, type: u4, doc: "Zero." }

  object_record:
    -crimg-row: object
    -crimg-table: 13
    -crimg-name: objects
    doc: Something with an inode that is mapped, opened, or a working directory.
    seq:
      - { id: kind, type: u4, enum: object_kind, doc: "What it is." }
      - { id: mode, type: u4, -crimg-format: octal, doc: "st_mode." }
      - { id: path, type: str_ref, doc: "Absolute path, without ' (deleted)'; for a memfd its name; empty for anonymous shared memory." }
      - { id: dev_major, type: u4, doc: "Device of the filesystem." }
      - { id: dev_minor, type: u4, doc: "Device of the filesystem." }
      - { id: rdev_major, type: u4, doc: "Device files: what they name." }
      - { id: rdev_minor, type: u4, doc: "Device files: what they name." }
      - { id: uid, type: u4, doc: "Owner." }
      - { id: gid, type: u4, doc: "Group." }
      - { id: nlink, type: u4, doc: "Link count; 0 for an unlinked file." }
      - { id: ino, type: u8, doc: "Inode number (for shared memory, the kernel's id of it)." }
      - { id: size, type: u8, doc: "Bytes." }
      - { id: mtime_ns, type: s8, -crimg-format: time_ns, doc: "Modification time, nanoseconds since 1970." }
      - { id: atime_ns, type: s8, -crimg-format: time_ns, doc: "Access time." }
      - { id: fs_magic, type: u8, -crimg-format: hex, doc: "statfs f_type." }
      - { id: seals, type: u4, -crimg-format: hex, doc: "F_GET_SEALS of a memfd." }
      - { id: memfd_flags, type: u4, -crimg-format: hex, doc: "memfd_create flags that matter (MFD_HUGETLB and size); also of
          shared memory of huge pages." }
      - { id: build_id, type: blob_ref, -crimg-format: hex, doc: "NT_GNU_BUILD_ID of a mapped ELF file; empty if none." }
      - { id: link_target, type: str_ref, doc: "Symbolic links without a name: where they lead. Files whose name `path` is gone: another
          name that they have; empty for none." }
      - { id: bundled, type: u4, doc: "1: a file with a name whose bytes are in the image too (extents of this object), for where it is
          gone or another one." }
      - { id: build_id_offset, type: u8, doc: "Where in the file the bytes of `build_id` are; 0 if unknown." }
      - { id: sample, type: blob_ref, -crimg-format: hex, doc: "Opened regular files that the tree reads: the first 128 and the last 128
          bytes, or all of a file of up to 256; empty if unknown." }
      - id: inode_flags
        type: u4
        doc: "FS_IOC_GETFLAGS of unlinked files and memfds."
        -crimg-flags: { sync: 3, immutable: 4, append: 5, nodump: 6, noatime: 7 }
      - { id: is_ended, type: u4, doc: "1: in /proc of a process that is gone." }

  open_file:
    -crimg-table: 14
    -crimg-name: files
    doc: An open file description (struct file), however many descriptors name it.
    seq:
      - { id: kind, type: u4, enum: file_kind, doc: "What it is." }
      - { id: detail, type: u4, -crimg-optional: true, doc: "Row in the table that `kind` names (pipes, sockets, eventfds, timerfds,
          signalfds, terminals, fanotify_groups, io_urings); for inherited and tty the stdio number; for pidfd the process id, or none
          if the process is gone; else none." }
      - { id: object, type: u4, -crimg-ref: objects, -crimg-optional: true, doc: "Path-based kinds and FIFOs: the inode. Pidfds of
          processes that are gone: equal for the same process." }
      - { id: flags, type: u4, -crimg-format: octal, doc: "F_GETFL: access mode and status flags (O_PATH included)." }
      - { id: pos, type: u8, doc: "File offset." }
      - { id: owner_type, type: u4, enum: owner_type, doc: "F_GETOWN_EX type." }
      - { id: owner_pid, type: u4, doc: "F_GETOWN_EX pid; 0 for none." }
      - { id: owner_signal, type: u4, -crimg-format: signal, doc: "F_GETSIG." }
      - { id: owner_uid, type: u4, doc: "uid that set the owner." }
      - { id: owner_euid, type: u4, doc: "euid that set the owner." }
      - { id: reserved, type: u4, doc: "Zero." }

  descriptor:
    -crimg-table: 15
    -crimg-name: descriptors
    doc: A number in a process's descriptor table.
    seq:
      - { id: task, type: u4, -crimg-ref: tasks, doc: "Whose." }
      - { id: fd, type: u4, doc: "Number." }
      - { id: file, type: u4, -crimg-ref: files, doc: "Open file description." }
      - { id: flags, type: u4, -crimg-flags: { cloexec: 0 }, doc: "FD_CLOEXEC." }

  pipe:
    -crimg-table: 16
    -crimg-name: pipes
    doc: A pipe or FIFO; both its ends are files.
    seq:
      - { id: ino, type: u8, doc: "Inode." }
      - { id: capacity, type: u4, doc: "F_GETPIPE_SZ, bytes." }
      - { id: is_packet, type: u4, doc: "1 if `packets` frames the content (O_DIRECT pipes)." }
      - { id: data, type: blob_ref, -crimg-format: hex, doc: "Bytes in flight." }
      - { id: packets, type: blob_ref, -crimg-format: u4_array, doc: "Packet lengths, u4 each; empty if not packets." }

  eventfd:
    -crimg-table: 17
    -crimg-name: eventfds
    doc: An eventfd.
    seq:
      - { id: count, type: u8, doc: "Counter." }
      - { id: is_semaphore, type: u4, doc: "EFD_SEMAPHORE." }
      - { id: reserved, type: u4, doc: "Zero." }

  timerfd:
    -crimg-table: 18
    -crimg-name: timerfds
    doc: A timerfd.
    seq:
      - { id: clock, type: s4, doc: "clockid_t." }
      - { id: settime_flags, type: u4, -crimg-format: hex, doc: "TFD_TIMER_* of the last timerfd_settime." }
      - { id: ticks, type: u8, doc: "Expirations not yet read." }
      - { id: value_ns, type: s8, doc: "Time left, nanoseconds; 0 disarmed." }
      - { id: interval_ns, type: s8, doc: "Period, nanoseconds." }

  signalfd:
    -crimg-table: 19
    -crimg-name: signalfds
    doc: A signalfd.
    seq:
      - { id: mask, type: u8, -crimg-format: signal_set, doc: "Signals it takes." }

  epoll_watch:
    -crimg-table: 20
    -crimg-name: epoll_watches
    doc: An item of an epoll set.
    seq:
      - { id: epoll, type: u4, -crimg-ref: files, doc: "The epoll file." }
      - { id: fd, type: u4, doc: "Descriptor number under which it was added." }
      - { id: file, type: u4, -crimg-ref: files, -crimg-optional: true, doc: "File watched." }
      - { id: events, type: u4, -crimg-format: hex, doc: "EPOLL* mask." }
      - { id: data, type: u8, -crimg-format: hex, doc: "epoll_data." }

  sysv_segment:
    -crimg-table: 90
    -crimg-name: sysv_segments
    doc: A System V shared memory segment that the tree has attached, made or used last. Its content is that of its object; mappings of
      it are of kind anon_shared.
    seq:
      - { id: object, type: u4, -crimg-ref: objects, doc: "Its memory, of kind shared_memory." }
      - { id: id, type: u4, doc: "shmid." }
      - { id: key, type: u4, -crimg-format: hex, doc: "key_t under which it was made; 0 is IPC_PRIVATE." }
      - { id: mode, type: u4, -crimg-format: octal, doc: "Permissions." }
      - { id: uid, type: u4, doc: "Owner." }
      - { id: gid, type: u4, doc: "Group." }
      - { id: creator_uid, type: u4, doc: "cuid." }
      - { id: creator_gid, type: u4, doc: "cgid." }
      - { id: flags, type: u4, -crimg-flags: { removed: 0, locked: 1, outside: 2, hugetlb: 3 }, doc: "IPC_RMID done and attached still;
          SHM_LOCK; others than the tree have it attached; SHM_HUGETLB." }
      - { id: creator, type: u4, doc: "cpid as the tree sees it; 0 for none." }
      - { id: size, type: u8, doc: "Bytes as shmget was asked for." }

  sysv_semaphores:
    -crimg-table: 91
    -crimg-name: sysv_semaphore_sets
    doc: A System V semaphore set that the tree uses.
    seq:
      - { id: id, type: u4, doc: "semid." }
      - { id: key, type: u4, -crimg-format: hex, doc: "key_t; 0 is IPC_PRIVATE." }
      - { id: mode, type: u4, -crimg-format: octal, doc: "Permissions." }
      - { id: uid, type: u4, doc: "Owner." }
      - { id: gid, type: u4, doc: "Group." }
      - { id: creator_uid, type: u4, doc: "cuid." }
      - { id: creator_gid, type: u4, doc: "cgid." }
      - { id: flags, type: u4, -crimg-flags: { outside: 0 }, doc: "Others than the tree use it." }
      - { id: values, type: blob_ref, -crimg-format: u4_array, doc: "semval of each semaphore, u4 each." }
      - { id: pids, type: blob_ref, -crimg-format: u4_array, doc: "sempid of each as the tree sees it, u4 each; 0 for none." }

  semaphore_undo:
    -crimg-table: 92
    -crimg-name: semaphore_undos
    doc: What the kernel adds to a semaphore when a process ends (SEM_UNDO).
    seq:
      - { id: set, type: u4, -crimg-ref: sysv_semaphore_sets, doc: "The set." }
      - { id: task, type: u4, -crimg-ref: tasks, doc: "The process; all its threads share the list." }
      - { id: number, type: u4, doc: "Semaphore in the set." }
      - { id: adjustment, type: s4, doc: "semadj." }

  sysv_queue:
    -crimg-table: 93
    -crimg-name: sysv_queues
    doc: A System V message queue that the tree uses.
    seq:
      - { id: id, type: u4, doc: "msqid." }
      - { id: key, type: u4, -crimg-format: hex, doc: "key_t; 0 is IPC_PRIVATE." }
      - { id: mode, type: u4, -crimg-format: octal, doc: "Permissions." }
      - { id: uid, type: u4, doc: "Owner." }
      - { id: gid, type: u4, doc: "Group." }
      - { id: creator_uid, type: u4, doc: "cuid." }
      - { id: creator_gid, type: u4, doc: "cgid." }
      - { id: flags, type: u4, -crimg-flags: { outside: 0 }, doc: "Others than the tree use it." }
      - { id: capacity, type: u8, doc: "msg_qbytes." }
      - { id: last_sender, type: u4, doc: "msg_lspid as the tree sees it; 0 for none." }
      - { id: last_receiver, type: u4, doc: "msg_lrpid as the tree sees it; 0 for none." }

  sysv_message:
    -crimg-table: 94
    -crimg-name: sysv_messages
    doc: A message waiting in a System V queue, in order.
    seq:
      - { id: queue, type: u4, -crimg-ref: sysv_queues, doc: "The queue." }
      - { id: reserved, type: u4, doc: "Zero." }
      - { id: type, type: s8, doc: "mtype." }
      - { id: data, type: blob_ref, -crimg-format: hex, doc: "mtext." }

  inotify_watch:
    -crimg-table: 80
    -crimg-name: inotify_watches
    doc: A watch of an inotify instance.
    seq:
      - { id: file, type: u4, -crimg-ref: files, doc: "The instance." }
      - { id: wd, type: s4, doc: "Watch descriptor." }
      - { id: mask, type: u4, -crimg-format: hex, doc: "IN_* mask, as inotify_add_watch(2) takes it." }
      - { id: object, type: u4, -crimg-ref: objects, doc: "What is watched." }

  inotify_event:
    -crimg-table: 81
    -crimg-name: inotify_events
    doc: An event that a program has not read yet, oldest first.
    seq:
      - { id: file, type: u4, -crimg-ref: files, doc: "The instance." }
      - { id: wd, type: s4, doc: "Watch descriptor; -1 for IN_Q_OVERFLOW." }
      - { id: mask, type: u4, -crimg-format: hex, doc: "IN_* bits." }
      - { id: cookie, type: u4, doc: "Equal for the two halves of a rename; 0 for other events." }
      - { id: name, type: str_ref, doc: "Name in the watched directory; empty for what is watched itself." }
      - { id: reserved, type: u4, doc: "Zero." }

  fanotify_group:
    -crimg-table: 82
    -crimg-name: fanotify_groups
    doc: A fanotify group.
    seq:
      - { id: flags, type: u4, -crimg-format: hex, doc: "FAN_* flags of fanotify_init(2)." }
      - { id: event_flags, type: u4, -crimg-format: octal, doc: "Flags of the files that come with events." }

  fanotify_mark:
    -crimg-table: 83
    -crimg-name: fanotify_marks
    doc: A mark of a fanotify group.
    seq:
      - { id: file, type: u4, -crimg-ref: files, doc: "The group." }
      - { id: kind, type: u4, enum: fanotify_mark_kind, doc: "What is marked." }
      - { id: object, type: u4, -crimg-ref: objects, doc: "The inode; of a mount or a file system, where it is mounted." }
      - { id: flags, type: u4, -crimg-format: hex, doc: "FAN_MARK_IGNORED_SURV_MODIFY, FAN_MARK_EVICTABLE and FAN_MARK_IGNORE, as set." }
      - { id: mask, type: u8, -crimg-format: hex, doc: "FAN_* events that are told." }
      - { id: ignored_mask, type: u8, -crimg-format: hex, doc: "FAN_* events that are not." }

  io_uring:
    -crimg-table: 100
    -crimg-name: io_urings
    doc: A ring of io_uring(7) without a request under way.
    seq:
      - { id: ino, type: u8, doc: "Inode number, by which mappings of it are found: their object has it, and the path
          anon_inode:[io_uring]." }
      - { id: sq_entries, type: u4, doc: "Entries of the submission queue, a power of two." }
      - { id: cq_entries, type: u4, doc: "Entries of the completion queue, a power of two." }
      - { id: flags, type: u4, -crimg-format: hex, doc: "IORING_SETUP_* of io_uring_setup(2), as far as they can be found out." }
      - { id: position, type: u4, doc: "How many requests it has taken and how many completions it has given, modulo 2^32." }

  io_uring_buffer:
    -crimg-table: 101
    -crimg-name: io_uring_buffers
    doc: A buffer that a ring has registered.
    seq:
      - { id: file, type: u4, -crimg-ref: files, doc: "The ring." }
      - { id: index, type: u4, doc: "Its number there. Numbers before the last one that no row has are without a buffer." }
      - { id: address, type: u8, -crimg-format: hex, doc: "In the memory of the first task that has the ring open; 0 for none." }
      - { id: length, type: u8, doc: "Bytes; 0 for none." }

  posix_queue:
    -crimg-table: 95
    -crimg-name: posix_queues
    doc: A POSIX message queue; each of its open files is a row of files of kind mqueue.
    seq:
      - { id: name, type: str_ref, doc: "With its slash." }
      - { id: mode, type: u4, -crimg-format: octal, doc: "Permissions." }
      - { id: uid, type: u4, doc: "Owner." }
      - { id: gid, type: u4, doc: "Group." }
      - { id: flags, type: u4, -crimg-flags: { deleted: 0, outside: 1 }, doc: "It has no name any more; others than the tree have it open,
          and its messages are not here." }
      - { id: notify, type: u4, doc: "mq_notify: sigev_notify plus 1; 0 for none." }
      - { id: max_messages, type: s8, doc: "mq_maxmsg." }
      - { id: message_size, type: s8, doc: "mq_msgsize." }
      - { id: notify_signal, type: u4, -crimg-format: signal, doc: "sigev_signo." }
      - { id: notify_task, type: u4, -crimg-ref: tasks, -crimg-optional: true, doc: "Who is told." }

  posix_message:
    -crimg-table: 96
    -crimg-name: posix_messages
    doc: A message waiting in a POSIX queue, in the order in which they will be received.
    seq:
      - { id: queue, type: u4, -crimg-ref: posix_queues, doc: "The queue." }
      - { id: priority, type: u4, doc: "Its priority." }
      - { id: data, type: blob_ref, -crimg-format: hex, doc: "Bytes." }

  socket:
    -crimg-table: 21
    -crimg-name: sockets
    doc: A socket.
    seq:
      - { id: ino, type: u8, doc: "Inode." }
      - { id: family, type: u4, doc: "AF_*." }
      - { id: type, type: u4, doc: "SOCK_*." }
      - { id: protocol, type: u4, doc: "IPPROTO_*." }
      - { id: state, type: u4, enum: socket_state, doc: "What it is doing." }
      - { id: peer, type: u4, -crimg-ref: sockets, -crimg-optional: true, doc: "Unix and TCP: the connected peer, if in the tree; for a
          client that is not accepted yet, the listener." }
      - { id: backlog, type: u4, doc: "Listening: the backlog." }
      - { id: shutdown, type: u4, -crimg-flags: { read: 0, write: 1 }, doc: "SHUT_RD, SHUT_WR done." }
      - { id: object, type: u4, -crimg-ref: objects, -crimg-optional: true, doc: "Unix sockets bound to a path: the socket inode." }
      - { id: local_address, type: blob_ref, -crimg-format: sockaddr, doc: "getsockname as sockaddr; empty if unbound." }
      - { id: peer_address, type: blob_ref, -crimg-format: sockaddr, doc: "getpeername as sockaddr; empty if none." }
      - { id: peer_pid, type: u4, doc: "SO_PEERCRED pid." }
      - { id: peer_uid, type: u4, doc: "SO_PEERCRED uid." }
      - { id: peer_gid, type: u4, doc: "SO_PEERCRED gid." }
      - { id: is_deleted, type: u1, doc: "Unix: the bound path no longer names it." }
      - { id: is_paired, type: u1, doc: "Unix: connected with `peer` both ways (socketpair or accepted)." }
      - { id: is_outside, type: u1, doc: "Unix streams: the peer is no socket of the tree, and is connected to again by its name." }
      - { id: reserved, type: u1, doc: "Zero." }

  socket_option:
    -crimg-table: 22
    -crimg-name: socket_options
    doc: An option to set again, in order.
    seq:
      - { id: socket, type: u4, -crimg-ref: sockets, doc: "Whose." }
      - { id: level, type: s4, doc: "SOL_*." }
      - { id: option, type: s4, doc: "Option number." }
      - { id: reserved, type: u4, doc: "Zero." }
      - { id: value, type: blob_ref, -crimg-format: hex, doc: "Value as setsockopt takes it." }

  socket_message:
    -crimg-table: 23
    -crimg-name: socket_messages
    doc: A message waiting in a socket's receive queue, in order (for streams, a run of bytes).
    seq:
      - { id: socket, type: u4, -crimg-ref: sockets, doc: "The receiver." }
      - { id: reserved, type: u4, doc: "Zero." }
      - { id: sender_address, type: blob_ref, -crimg-format: sockaddr, doc: "As recvmsg gives it; empty if none." }
      - { id: data, type: blob_ref, -crimg-format: hex, doc: "Bytes." }
      - { id: sender_pid, type: u4, doc: "Process of SCM_CREDENTIALS; 0 if the receiver does not ask for credentials (SO_PASSCRED)." }
      - { id: sender_uid, type: u4, doc: "User of SCM_CREDENTIALS." }
      - { id: sender_gid, type: u4, doc: "Group of SCM_CREDENTIALS." }
      - { id: reserved2, type: u4, doc: "Zero." }
      - { id: target_address, type: blob_ref, -crimg-format: sockaddr, doc: "Datagrams of UDP: where it was sent to, with the port; empty if
          unknown." }

  message_file:
    -crimg-table: 26
    -crimg-name: message_files
    doc: A descriptor that travels with a waiting message (SCM_RIGHTS), in order.
    seq:
      - { id: message, type: u4, -crimg-ref: socket_messages, doc: "The message." }
      - { id: file, type: u4, -crimg-ref: files, doc: "The open file description that its receiver will get." }

  tcp_connection:
    -crimg-table: 70
    -crimg-name: tcp_connections
    doc: A TCP connection of a socket whose state is `connected`, as TCP_REPAIR tells and takes it. Sequence numbers count a FIN.
    seq:
      - { id: socket, type: u4, -crimg-ref: sockets, doc: "Whose." }
      - { id: tcp_state, type: u4, enum: tcp_state, doc: "TCP_* of linux/tcp_states.h." }
      - { id: options, type: u4, -crimg-flags: { timestamps: 0, sack: 1, wscale: 2, ecn: 3, ecn_seen: 4, syn_data: 5, usec_ts: 6 },
          doc: "TCPI_OPT_*: what both ends agreed on." }
      - { id: mss_clamp, type: u4, doc: "TCP_MAXSEG under repair." }
      - { id: snd_wscale, type: u1, doc: "Shift of the windows that come." }
      - { id: rcv_wscale, type: u1, doc: "Shift of the windows that are sent." }
      - { id: has_window, type: u1, doc: "1 if the five fields of TCP_REPAIR_WINDOW below are known." }
      - { id: reserved, type: u1, doc: "Zero." }
      - { id: timestamp, type: u4, doc: "TCP_TIMESTAMP, opaque; 0 without timestamps." }
      - { id: receive_seq, type: u4, doc: "TCP_QUEUE_SEQ of the receive queue: the next number that is expected (rcv_nxt)." }
      - { id: send_seq, type: u4, doc: "TCP_QUEUE_SEQ of the send queue: the number of the next byte that is written (write_seq)." }
      - { id: num_unsent, type: u4, doc: "Bytes at the end of the send queue that were never sent." }
      - { id: snd_wl1, type: u4, doc: "TCP_REPAIR_WINDOW: number of the segment that last set the window." }
      - { id: snd_wnd, type: u4, doc: "TCP_REPAIR_WINDOW: bytes that the peer takes." }
      - { id: max_window, type: u4, doc: "TCP_REPAIR_WINDOW: the most it ever took." }
      - { id: rcv_wnd, type: u4, doc: "TCP_REPAIR_WINDOW: bytes that this end takes." }
      - { id: rcv_wup, type: u4, doc: "TCP_REPAIR_WINDOW: rcv_nxt when that was last told." }
      - { id: send_buffer, type: u4, doc: "SO_SNDBUF as getsockopt gives it, whoever set it; 0: unknown." }
      - { id: receive_buffer, type: u4, doc: "SO_RCVBUF as getsockopt gives it, whoever set it; 0: unknown." }
      - { id: receive_queue, type: blob_ref, -crimg-format: hex, doc: "Bytes that the program has not read." }
      - { id: send_queue, type: blob_ref, -crimg-format: hex, doc: "Bytes that the peer has not acknowledged." }

  network_lock:
    -crimg-table: 71
    -crimg-name: network_locks
    doc: What holds back the packets of connections with peers outside the tree since the dump ended it; a resume takes it off.
    seq:
      - { id: lock_method, type: u4, enum: lock_method, doc: "How." }
      - { id: name, type: str_ref, doc: "nftables: the table, of family inet." }

  foreign:
    -crimg-table: 24
    -crimg-name: foreign
    doc: What a foreign format said that has no place in the model, kept so that it can be written again.
    seq:
      - { id: format, type: str_ref, doc: "Format id." }
      - { id: table, type: u4, doc: "Table kind of the row it belongs to; 0: the checkpoint." }
      - { id: row, type: u4, doc: "Row in that table." }
      - { id: key, type: str_ref, doc: "Name within the format." }
      - { id: value, type: blob_ref, -crimg-format: hex, doc: "Bytes." }

  loss:
    -crimg-table: 25
    -crimg-name: losses
    doc: What was knowingly left out when this was made (--ignore, or a lossy conversion).
    seq:
      - { id: code, type: str_ref, doc: "Stable code, such as 'fd.io_uring'." }
      - { id: count, type: u4, doc: "How many." }
      - { id: text, type: str_ref, doc: "In words, with the object's name." }
      - { id: reserved, type: u4, doc: "Zero." }

  guard_region:
    -crimg-table: 27
    -crimg-name: guard_regions
    doc: Pages made inaccessible by MADV_GUARD_INSTALL, whatever the protection of their mapping says.
    seq:
      - { id: mm, type: u4, -crimg-ref: mms, doc: "Address space." }
      - { id: reserved, type: u4, doc: "Zero." }
      - { id: start, type: u8, -crimg-format: hex, doc: "First address." }
      - { id: end, type: u8, -crimg-format: hex, doc: "First address after it; in the same mapping." }
  absent_region:
    -crimg-table: 40
    -crimg-name: absent_regions
    doc: Memory whose content the source of this checkpoint did not have (a core that leaves memory out, or was cut off). It is neither
      zero nor the mapped file's; nobody knows it.
    seq:
      - { id: mm, type: u4, -crimg-ref: mms, doc: "Address space." }
      - { id: reason, type: str_ref, doc: "Why it is not there, in words that follow 'the checkpoint does not hold the bytes at …:'." }
      - { id: start, type: u8, -crimg-format: hex, doc: "First address." }
      - { id: end, type: u8, -crimg-format: hex, doc: "First address after it; in the same mapping." }
  parent:
    -crimg-table: 110
    -crimg-name: parents
    doc: An image that has pages of this one (crimg dump --parent). Row n is source n + 1 of extents.
    seq:
      - { id: path, type: str_ref, doc: "Where it was, an absolute path." }
      - { id: check_length, type: u4, doc: "Bytes that are looked at before it is used, whole pages." }
      - { id: size, type: u8, doc: "Bytes of the file." }
      - { id: check_offset, type: u8, -crimg-format: hex, doc: "Where they begin: the first page of its tables, with the checksums of
          the whole file." }
      - { id: check_sum, type: u4, -crimg-format: hex, doc: "Their checksum (7.1)." }
      - { id: reserved, type: u4, doc: "Zero." }
  terminal:
    -crimg-table: 41
    -crimg-name: terminals
    doc: A terminal. Of a pseudoterminal whose master is in the tree, all that is in it; of one from outside, and of a device of the
      machine, the modes that the program had set.
    seq:
      - { id: kind, type: u4, enum: terminal_kind, doc: "Where it comes from." }
      - { id: index, type: u4, doc: "Pseudoterminals: N of /dev/pts/N. It is taken again if it is free." }
      - { id: master, type: u4, -crimg-ref: files, -crimg-optional: true, doc: "The master's open file; none: it is outside, or gone
          (kind hung_up)." }
      - { id: session, type: u4, doc: "Session whose controlling terminal it is; 0 for none." }
      - { id: flags, type: u4, -crimg-flags: { locked: 0, packet: 1, exclusive: 2, closed: 3 }, doc: "TIOCGPTLCK, TIOCGPKT, TIOCGEXCL;
          closed: slaves were open once and none is now." }
      - { id: mode, type: u4, -crimg-format: octal, doc: "st_mode of the slave's node; 0 if unknown." }
      - { id: uid, type: u4, doc: "Owner of the slave's node." }
      - { id: gid, type: u4, doc: "Group of the slave's node." }
      - { id: rows, type: u2, doc: "ws_row of TIOCGWINSZ." }
      - { id: columns, type: u2, doc: "ws_col." }
      - { id: x_pixels, type: u2, doc: "ws_xpixel." }
      - { id: y_pixels, type: u2, doc: "ws_ypixel." }
      - { id: termios, type: blob_ref, -crimg-format: hex, doc: "struct termios2 of TCGETS2, 44 bytes; empty if unknown." }
      - { id: locked_termios, type: blob_ref, -crimg-format: hex, doc: "struct termios of TIOCGLCKTRMIOS, 36 bytes; empty if nothing is
          locked." }
      - { id: input, type: blob_ref, -crimg-format: hex, doc: "Bytes that the slave has not read yet, as line discipline N_TTY holds
          them." }
      - { id: output, type: blob_ref, -crimg-format: hex, doc: "Bytes that the master has not read yet." }

  memory_policy:
    -crimg-table: 28
    -crimg-name: memory_policies
    doc: The memory policy of a mapping or a part of one (mbind(2)). Ranges without a row have that of the thread that touches them.
    seq:
      - { id: mm, type: u4, -crimg-ref: mms, doc: "Address space." }
      - { id: mode, type: u4, -crimg-format: hex, doc: "MPOL_* mode and MPOL_F_* flags." }
      - { id: start, type: u8, -crimg-format: hex, doc: "First address." }
      - { id: end, type: u8, -crimg-format: hex, doc: "First address after it; in the same mapping." }
      - { id: nodes, type: blob_ref, -crimg-format: hex, doc: "Nodes, one bit each, little-endian." }

  epoll_parameters:
    -crimg-table: 50
    -crimg-name: epoll_parameters
    doc: Busy polling of an epoll set (EPIOCSPARAMS, Linux 6.9). Sets without a row have none.
    seq:
      - { id: epoll, type: u4, -crimg-ref: files, doc: "The epoll file." }
      - { id: busy_poll_usecs, type: u4, doc: "How long it polls, microseconds." }
      - { id: busy_poll_budget, type: u2, doc: "Most packets a poll." }
      - { id: prefer_busy_poll, type: u1, doc: "1 if preferred to interrupts." }
      - { id: reserved, type: u1, doc: "Zero." }
      - { id: reserved2, type: u4, doc: "Zero." }

  file_lock:
    -crimg-table: 42
    -crimg-name: file_locks
    doc: A lock or lease on an open file.
    seq:
      - { id: kind, type: u4, enum: lock_kind, doc: "Who owns it." }
      - { id: type, type: u4, enum: lock_type, doc: "What it is; of a lease that is being broken, what it was." }
      - { id: file, type: u4, -crimg-ref: files, doc: "The open file through which it was taken." }
      - { id: task, type: u4, -crimg-ref: tasks, -crimg-optional: true, doc: "Kind posix: its owner; none: the open file is." }
      - { id: start, type: u8, doc: "First byte." }
      - { id: length, type: u8, doc: "Bytes; 0: to the end of the file, wherever that will be." }
      - { id: target, type: u4, enum: lock_type, doc: "Leases being broken: what will be left; else equal to `type`." }
      - { id: reserved, type: u4, doc: "Zero." }
  gpu:
    -crimg-table: 60
    -crimg-name: gpus
    doc: A GPU that a process of the tree had in use. What was in its memory is in that of the processes (cuda_processes).
    seq:
      - { id: uuid, type: str_ref, doc: "As the driver names it: 'GPU-' and 32 hexadecimal digits in five groups." }
      - { id: name, type: str_ref, doc: "Model, such as 'NVIDIA H200'." }
      - { id: memory_bytes, type: u8, doc: "Its memory." }
      - { id: used_bytes, type: u8, doc: "What the tree had of it; 0 if unknown." }
      - { id: driver, type: str_ref, doc: "Release of the driver, such as '580.159.04'; empty if unknown." }
      - { id: cuda_version, type: u4, doc: "CUDA version of the driver, 1000 * major + 10 * minor." }

  cuda_process:
    -crimg-table: 61
    -crimg-name: cuda_processes
    doc: |
      A process that used CUDA. It was checkpointed by the driver (cuCheckpointProcessCheckpoint) before the dump, waits in
      its next CUDA call, and has to be restored and unlocked by the driver under the pid that it sees.
    seq:
      - { id: task, type: u4, -crimg-ref: tasks, doc: "The process." }
      - id: restore_thread
        type: u4
        -crimg-ref: threads
        doc: "Its thread that does the driver's work (cuCheckpointProcessGetRestoreThreadId)."
  xattr:
    -crimg-table: 56
    -crimg-name: xattrs
    doc: An extended attribute of an unlinked file or a memfd.
    seq:
      - { id: object, type: u4, -crimg-ref: objects, doc: "Whose." }
      - { id: name, type: str_ref, doc: "With its namespace: 'user.mime_type'." }
      - { id: value, type: blob_ref, -crimg-format: hex, doc: "Its bytes." }
enums:
  lock_kind:
    1: posix
    2: ofd
    3: flock
    4: lease
  lock_method:
    1: nftables
    2: iptables
  tcp_state:
    1: established
    2: syn_sent
    4: fin_wait1
    5: fin_wait2
    7: ended
    8: close_wait
    9: last_ack
    11: closing
  lock_type:
    0: read
    1: write
    2: unlock
  terminal_kind:
    1: pty
    2: outside
    3: hung_up
    4: device
  clock_policy:
    0: continue
    1: host
  task_state:
    1: running
    2: stopped
    3: zombie
  sched_policy:
    0: other
    1: fifo
    2: rr
    3: batch
    5: idle
    6: deadline
    7: ext
  namespace_kind:
    1: user
    2: mount
    3: pid
    4: network
    5: ipc
    6: uts
    7: cgroup
  id_kind:
    0: uid
    1: gid
  mount_origin:
    0: kept
    1: made
    2: bind
    3: external
    4: rootfs
    5: changed
    6: removed
  rlimit_resource:
    0: cpu
    1: fsize
    2: data
    3: stack
    4: core
    5: rss
    6: nproc
    7: nofile
    8: memlock
    9: as
    10: locks
    11: sigpending
    12: msgqueue
    13: nice
    14: rtprio
    15: rttime
  itimer_kind:
    0: real
    1: virtual
    2: prof
  vma_kind:
    1: anon_private
    2: anon_shared
    3: file_private
    4: file_shared
    5: vdso
    6: vvar
    7: vsyscall
    8: special
    9: aio_ring
  extent_owner:
    0: mm
    1: object
  object_kind:
    1: file
    2: ghost
    3: directory
    4: char_device
    5: block_device
    6: fifo
    7: unix_socket
    8: symlink
    9: shared_memory
    10: memfd
    11: other
  file_kind:
    1: path
    2: pipe
    3: socket
    4: eventfd
    5: epoll
    6: timerfd
    7: signalfd
    8: memfd
    9: inherited
    10: pidfd
    11: tty
    12: pty
    30: mqueue
    80: inotify
    81: fanotify
    100: io_uring
  cgroup_mode:
    1: none
    2: props
    3: soft
    4: full
    5: strict
  seccomp_mode:
    1: strict
    2: filter
  fanotify_mark_kind:
    1: inode
    2: mount
    3: file_system
  owner_type:
    0: none
    1: tid
    2: pid
    3: pgrp
  socket_state:
    1: unconnected
    2: listening
    3: connected
    4: closed
