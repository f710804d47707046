// SPDX-License-Identifier: Apache-2.0
/** Numbers and layouts of System V IPC (linux/ipc.h, linux/shm.h, linux/sem.h, linux/msg.h; the structures of x86-64). */

export const IPC = { rmid: 0, set: 1, stat: 2, creat: 0o1000, excl: 0o2000, nowait: 0o4000 } as const;
export const SHM = { rdonly: 0o10000, hugetlb: 0o4000, lock: 11, dest: 0o1000, locked: 0o2000 } as const;
export const SEM = { getpid: 11, getval: 12, getall: 13, setall: 17, undo: 0x1000 } as const;
export const MSG = { noerror: 0o10000, copy: 0o40000 } as const;

/** SEMVMX and SEMAEM: the largest value of a semaphore, and of an adjustment. */
export const largestSemaphore = 32767;

/** Offsets in shmid64_ds, semid64_ds and msqid64_ds, which all begin with ipc64_perm. */
export const ipcOffset = {
  key: 0,
  uid: 4,
  gid: 8,
  mode: 20,
  shmSize: 48,
  shmAttached: 88,
  semCount: 80,
  msgCount: 80,
  msgCapacity: 88,
  msgSender: 96,
  msgReceiver: 100,
} as const;

/** Bytes of the largest of them. */
export const ipcStructSize = 128;

/** struct sembuf, an operation of semop(2). */
export interface SemaphoreOperation {
  readonly number: number;
  /** −32768 … 32767. */
  readonly change: number;
  readonly flags: number;
}

/** Operations as semop takes them. */
export function semaphoreOperations(operations: readonly SemaphoreOperation[]): Uint8Array {
  const bytes = new Uint8Array(operations.length * 6);
  const view = new DataView(bytes.buffer);
  operations.forEach(({ number, change, flags }, index) => {
    view.setUint16(index * 6, number, true);
    view.setInt16(index * 6 + 2, change, true);
    view.setInt16(index * 6 + 4, flags, true);
  });
  return bytes;
}
