// SPDX-License-Identifier: Apache-2.0
/** Numbers of prctl(2) and arch_prctl(2) (include/uapi/linux/prctl.h, arch/x86/include/uapi/asm/prctl.h). */

export const PR = {
  setPdeathsig: 1,
  getPdeathsig: 2,
  getDumpable: 3,
  setDumpable: 4,
  getKeepcaps: 7,
  setKeepcaps: 8,
  setName: 15,
  capbsetDrop: 24,
  getTsc: 25,
  setTsc: 26,
  getSecurebits: 27,
  setSecurebits: 28,
  setTimerslack: 29,
  getTimerslack: 30,
  mceKill: 33,
  mceKillGet: 34,
  setMm: 35,
  setChildSubreaper: 36,
  getChildSubreaper: 37,
  setNoNewPrivs: 38,
  getTidAddress: 40,
  setThpDisable: 41,
  getThpDisable: 42,
  capAmbient: 47,
  getSpeculationCtrl: 52,
  setSpeculationCtrl: 53,
  setIoFlusher: 57,
  setSyscallUserDispatch: 59,
  setMdwe: 65,
  getMdwe: 66,
  setMemoryMerge: 67,
  getMemoryMerge: 68,
  setVma: 0x53564d41,
  timerCreateRestoreIds: 77,
} as const;

export const ARCH = {
  setGs: 0x1001,
  setFs: 0x1002,
  getCpuid: 0x1011,
  setCpuid: 0x1012,
  getXcompPerm: 0x1022,
  reqXcompPerm: 0x1023,
  mapVdso64: 0x2003,
  shstkStatus: 0x5005,
} as const;

/** membarrier(2): MEMBARRIER_CMD_GET_REGISTRATIONS. */
export const MEMBARRIER_GET_REGISTRATIONS = 1 << 9;
