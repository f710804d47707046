// SPDX-License-Identifier: Apache-2.0
/**
 * Fields that CRIU's descriptions (images/*.proto, 3.x and 4.x) call `required`: its own reader takes no message without
 * them. Ours call every field optional, so that an error can name the message, the field and the place.
 */
import { type DescMessage, isFieldSet, type Message } from "@bufbuild/protobuf";

/** Message → field names. */
const required: Readonly<Record<string, readonly string[]>> = {
  AltStack: ["ss_sp", "ss_size", "ss_flags"],
  CgroupDirectory: ["dir_name"],
  CgroupMember: ["name", "path"],
  CgroupPermissions: ["mode", "uid", "gid"],
  CgroupProperty: ["name", "value"],
  CgroupSet: ["id"],
  ControlMessage: ["type"],
  CoreEntry: ["mtype"],
  Creds: ["uid", "gid", "euid", "egid", "suid", "sgid", "fsuid", "fsgid", "secbits"],
  EventFd: ["id", "flags", "fown", "counter"],
  EventPoll: ["id", "flags", "fown"],
  EventPollTarget: ["id", "tfd", "events", "data"],
  FanotifyFile: ["id", "flags", "fown", "faflags", "evflags"],
  FanotifyInodeMark: ["i_ino", "f_handle"],
  FanotifyMark: ["id", "type", "mflags", "mask", "ignored_mask", "s_dev"],
  FanotifyMountMark: ["mnt_id"],
  FdinfoEntry: ["id", "flags", "type", "fd"],
  Fifo: ["id", "pipe_id"],
  FileEntry: ["type", "id"],
  FileHandle: ["bytes", "type"],
  FileOwner: ["uid", "euid", "signum", "pid_type", "pid"],
  FilePermissions: ["mode", "uid", "gid"],
  FsEntry: ["cwd_id", "root_id"],
  GhostChunk: ["len", "off"],
  GhostFile: ["uid", "gid", "mode"],
  InetSocket: ["id", "ino", "family", "type", "proto", "state", "src_port", "dst_port", "flags", "backlog", "fown", "opts"],
  InotifyFile: ["id", "flags", "fown"],
  InotifyWatch: ["id", "i_ino", "mask", "ignored_mask", "s_dev", "wd", "f_handle"],
  Inventory: ["img_version"],
  IpcMessage: ["mtype", "msize"],
  IpcObject: ["key", "uid", "gid", "cuid", "cgid", "mode", "id"],
  IpcQueue: ["desc", "qbytes", "qnum"],
  IpcSegment: ["desc", "size"],
  IpcSemaphores: ["desc", "nsems"],
  Itimer: ["isec", "iusec", "vsec", "vusec"],
  KernelIds: ["vm_id", "files_id", "fs_id", "sighand_id"],
  MemfdFile: ["id", "flags", "pos", "fown", "inode_id"],
  MemfdInode: ["name", "uid", "gid", "size", "shmid", "seals", "inode_id"],
  MmEntry: [
    "mm_start_code",
    "mm_end_code",
    "mm_start_data",
    "mm_end_data",
    "mm_start_stack",
    "mm_start_brk",
    "mm_brk",
    "mm_arg_start",
    "mm_arg_end",
    "mm_env_start",
    "mm_env_end",
    "exe_file_id",
  ],
  NetworkDevice: ["type", "ifindex", "mtu", "flags", "name"],
  PagemapEntry: ["vaddr", "compat_nr_pages"],
  PagemapHead: ["pages_id"],
  PidFd: ["id", "ino", "flags", "nspid", "fown"],
  Pipe: ["id", "pipe_id", "flags", "fown"],
  PipeData: ["pipe_id", "bytes"],
  PosixTimer: ["it_id", "clock_id", "si_signo", "it_sigev_notify", "sival_ptr", "overrun", "isec", "insec", "vsec", "vnsec"],
  RegFile: ["id", "flags", "pos", "fown", "name"],
  RemapFilePath: ["orig_id", "remap_id"],
  Rlimit: ["cur", "max"],
  Rseq: ["rseq_abi_pointer", "rseq_abi_size", "signature"],
  SeccompFilter: ["filter"],
  SigAction: ["sigaction", "flags", "restorer", "mask"],
  SigInfo: ["siginfo"],
  SignalFd: ["id", "flags", "fown", "sigmask"],
  SocketOptions: ["so_sndbuf", "so_rcvbuf", "so_snd_tmo_sec", "so_snd_tmo_usec", "so_rcv_tmo_sec", "so_rcv_tmo_usec"],
  SocketPacket: ["id_for", "length"],
  TaskCore: ["task_state", "exit_code", "personality", "flags", "blk_sigset", "comm"],
  TaskTimers: ["real", "virt", "prof"],
  Termios: ["c_iflag", "c_oflag", "c_cflag", "c_lflag", "c_line", "c_ispeed", "c_ospeed"],
  ThreadCore: ["futex_rla", "futex_rla_len"],
  ThreadInfoX86: ["clear_tid_addr", "gpregs", "fpregs"],
  TimensEntry: ["monotonic", "boottime"],
  TimerFd: ["id", "flags", "fown", "clockid", "ticks", "settime_flags", "vsec", "vnsec", "isec", "insec"],
  Timespec: ["tv_sec", "tv_nsec"],
  Timeval: ["tv_sec", "tv_usec"],
  TreeEntry: ["pid", "ppid", "pgid", "sid"],
  TtyFile: ["id", "tty_info_id", "flags", "fown"],
  TtyInfo: ["id", "type", "locked", "exclusive", "packet_mode", "sid", "pgrp", "rdev"],
  TtyPty: ["index"],
  UnixSocket: ["id", "ino", "type", "state", "flags", "uflags", "backlog", "peer", "fown", "opts", "name"],
  UserDesc: [
    "entry_number",
    "base_addr",
    "limit",
    "seg_32bit",
    "contents_h",
    "contents_l",
    "read_exec_only",
    "limit_in_pages",
    "seg_not_present",
    "usable",
  ],
  VmaEntry: ["start", "end", "pgoff", "shmid", "prot", "flags", "status", "fd"],
  Winsize: ["ws_row", "ws_col", "ws_xpixel", "ws_ypixel"],
  X86Cet: ["cet", "ssp"],
  X86FpRegs: ["cwd", "swd", "twd", "fop", "rip", "rdp", "mxcsr", "mxcsr_mask"],
  X86Regs: [
    "r15",
    "r14",
    "r13",
    "r12",
    "bp",
    "bx",
    "r11",
    "r10",
    "r9",
    "r8",
    "ax",
    "cx",
    "dx",
    "si",
    "di",
    "orig_ax",
    "ip",
    "cs",
    "flags",
    "sp",
    "ss",
    "fs_base",
    "gs_base",
    "ds",
    "es",
    "fs",
    "gs",
  ],
  X86Xsave: ["xstate_bv"],
};

/**
 * The path of the first required field that a message, or one in it, lacks, such as `thread_core.creds.uid`.
 * @param isWrapper the message itself was put round another one and has no more fields
 */
export function missingField(schema: DescMessage, message: Message, isWrapper = false): string | undefined {
  const wanted = isWrapper ? [] : (required[schema.name] ?? []);
  for (const field of schema.fields) {
    if (wanted.includes(field.name) && !isFieldSet(message, field)) return field.name;
    if (field.message === undefined || !isFieldSet(message, field)) continue;
    const value = (message as unknown as Readonly<Record<string, unknown>>)[field.localName];
    const parts = field.fieldKind === "list" ? (value as readonly Message[]) : [value as Message];
    for (const [index, part] of parts.entries()) {
      const inner = missingField(field.message, part);
      if (inner !== undefined) return `${field.name}${field.fieldKind === "list" ? `[${index}]` : ""}.${inner}`;
    }
  }
  return undefined;
}
