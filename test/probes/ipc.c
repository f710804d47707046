/* SPDX-License-Identifier: Apache-2.0 */
/* System V IPC, POSIX message queues, contexts of asynchronous I/O. */
#include "probe.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static key_t own_key(int number) { return (key_t)(0x63720000 + number); }

/* id, key, permissions, size, how often attached; content at some places. */
static void tell_segment(FILE *out, int id, const char *memory)
{
	struct shmid_ds about;

	if (shmctl(id, IPC_STAT, &about)) {
		fprintf(out, "%s", strerror(errno));
		return;
	}
	fprintf(out, "%d %x %o %d %d %d %zu %lu '%s' '%s'", id, about.shm_perm.__key, about.shm_perm.mode, about.shm_perm.uid,
		about.shm_perm.cuid, about.shm_perm.cgid, about.shm_segsz, (unsigned long)about.shm_nattch, memory ? memory : "",
		memory ? memory + 8192 : "");
}

static int keyed_id;
static char *keyed;
static int make_keyed(void)
{
	struct shmid_ds about;

	keyed_id = shmget(own_key(1), 10000, IPC_CREAT | 0640);
	keyed = shmat(keyed_id, NULL, 0);
	if (keyed == (void *)-1)
		return errno;
	strcpy(keyed, "first");
	strcpy(keyed + 8192, "last");
	shmctl(keyed_id, IPC_STAT, &about);
	about.shm_perm.uid = 1234;
	shmctl(keyed_id, IPC_SET, &about);
	/* Three mappings: each counts as attached. */
	return mprotect(keyed + 4096, 4096, PROT_READ) ? errno : 0;
}
static void tell_keyed(FILE *out) { tell_segment(out, keyed_id, keyed); tell_smaps(out, keyed, "VmFlags"); }

static int removed_id;
static char *removed;
static int make_removed(void)
{
	removed_id = shmget(IPC_PRIVATE, 12288, IPC_CREAT | 0600);
	removed = shmat(removed_id, NULL, 0);
	if (removed == (void *)-1)
		return errno;
	strcpy(removed, "nobody");
	strcpy(removed + 8192, "finds it");
	return shmctl(removed_id, IPC_RMID, NULL) ? errno : 0;
}
static void tell_removed(FILE *out) { tell_segment(out, removed_id, removed); }

static int readonly_id;
static char *readonly;
static int make_readonly(void)
{
	char *memory;

	readonly_id = shmget(own_key(2), 12288, IPC_CREAT | 0600);
	memory = shmat(readonly_id, NULL, 0);
	if (memory == (void *)-1)
		return errno;
	strcpy(memory, "to read");
	shmdt(memory);
	readonly = shmat(readonly_id, NULL, SHM_RDONLY);
	return readonly == (void *)-1 ? errno : 0;
}
static void tell_readonly(FILE *out)
{
	tell_segment(out, readonly_id, readonly);
	fprintf(out, " %d", mprotect(readonly, 4096, PROT_READ | PROT_WRITE) ? errno : 0);
}

static int detached_id;
static int make_detached(void)
{
	char *memory;

	detached_id = shmget(own_key(3), 12288, IPC_CREAT | 0600);
	memory = shmat(detached_id, NULL, 0);
	if (memory == (void *)-1)
		return errno;
	strcpy(memory, "left");
	return shmdt(memory) ? errno : 0;
}
static void tell_detached(FILE *out)
{
	char *memory = shmat(detached_id, NULL, SHM_RDONLY);

	tell_segment(out, detached_id, memory == (void *)-1 ? NULL : memory);
	shmdt(memory);
}

static void tell_set(FILE *out, int id, int count)
{
	struct semid_ds about;

	if (semctl(id, 0, IPC_STAT, &about)) {
		fprintf(out, "%s", strerror(errno));
		return;
	}
	fprintf(out, "%d %x %o %lu:", id, about.sem_perm.__key, about.sem_perm.mode, (unsigned long)about.sem_nsems);
	for (int number = 0; number < count; number++)
		fprintf(out, " %d/%d", semctl(id, number, GETVAL), semctl(id, number, GETPID) == getpid());
}

static int set_id;
static int make_set(void)
{
	struct sembuf up = { 1, 7, 0 };

	set_id = semget(own_key(4), 3, IPC_CREAT | 0660);
	return set_id < 0 || semctl(set_id, 2, SETVAL, 32767) || semop(set_id, &up, 1) ? errno : 0;
}
static void tell_semaphores(FILE *out) { tell_set(out, set_id, 3); }

/* The adjustments of a child, seen by ending one that shares the list of it: a fork of the child does not. */
static int undo_id, undo_pipe[2];
static int make_undo(void)
{
	struct sembuf sets[] = { { 0, 9, 0 }, { 1, 32767, 0 }, { 2, 3, 0 } };
	struct sembuf own[] = { { 0, -4, SEM_UNDO }, { 1, -32767, SEM_UNDO }, { 2, 5, SEM_UNDO } };

	undo_id = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600);
	return undo_id < 0 || semop(undo_id, sets, 3) || semop(undo_id, own, 3) ? errno : 0;
}
/* Whether one more operation would overflow the adjustment: it is what it was only if this is as it was. */
static int would_overflow(int number, int change)
{
	struct sembuf asked[] = { { (unsigned short)number, (short)(change < 0 ? -change : 0), IPC_NOWAIT },
		{ (unsigned short)number, (short)change, IPC_NOWAIT | SEM_UNDO },
		{ (unsigned short)number, -32767, IPC_NOWAIT }, { (unsigned short)number, -32767, IPC_NOWAIT } };

	semop(undo_id, asked, 4);
	return errno == ERANGE;
}
static void tell_undo(FILE *out)
{
	/* The adjustments are 4, 32767 and -5. */
	tell_set(out, undo_id, 3);
	fprintf(out, " %d%d %d %d%d", would_overflow(0, -(32767 - 9)), would_overflow(0, -5), would_overflow(1, -1),
		would_overflow(2, 32767 - 8), would_overflow(2, 5));
	(void)undo_pipe;
}

struct message {
	long type;
	char text[9000];
};
static int queue_id;
static int make_queue(void)
{
	struct message message = { 7, "seven" };
	struct msqid_ds about;

	queue_id = msgget(own_key(5), IPC_CREAT | 0600);
	if (queue_id < 0 || msgsnd(queue_id, &message, 6, 0))
		return errno;
	message.type = 3;
	memset(message.text, 'x', sizeof message.text);
	if (msgsnd(queue_id, &message, 8000, 0) || msgsnd(queue_id, &message, 0, 0))
		return errno;
	message.type = 9;
	if (msgsnd(queue_id, &message, 9, 0) || msgrcv(queue_id, &message, 9, 9, 0) < 0)
		return errno;
	msgctl(queue_id, IPC_STAT, &about);
	about.msg_qbytes = 9999;
	return msgctl(queue_id, IPC_SET, &about) ? errno : 0;
}
static void tell_queue(FILE *out)
{
	struct message message;
	struct msqid_ds about;

	msgctl(queue_id, IPC_STAT, &about);
	fprintf(out, "%d %x %o %lu %lu %d %d:", queue_id, about.msg_perm.__key, about.msg_perm.mode, about.msg_qbytes, about.msg_qnum,
		about.msg_lspid == getpid(), about.msg_lrpid == getpid());
	for (int index = 0; index < (int)about.msg_qnum; index++) {
		long length = msgrcv(queue_id, &message, sizeof message.text, index, 040000 | IPC_NOWAIT);

		fprintf(out, " %ld/%ld/%c", message.type, length, length > 0 ? message.text[length / 2] : '-');
	}
}

/* Name, attributes, what the kernel says of it; and its messages, which are taken and put back. */
static void tell_posix(FILE *out, mqd_t queue)
{
	char link[64], path[64], text[256] = "", bodies[8][64], *pid;
	unsigned priorities[8];
	long lengths[8];
	struct mq_attr about;
	struct stat stat;
	int count = 0;

	snprintf(path, sizeof path, "/proc/self/fd/%d", queue);
	link[readlink(path, link, sizeof link - 1)] = 0;
	mq_getattr(queue, &about);
	fstat(queue, &stat);
	if (pread(queue, text, sizeof text - 1, 0) < 0)
		snprintf(text, sizeof text, "%s", strerror(errno));
	pid = strstr(text, "NOTIFY_PID:");
	fprintf(out, "%s %lo %ld %ld %ld %o %u %.*s%d", link, about.mq_flags, about.mq_maxmsg, about.mq_msgsize, about.mq_curmsgs, stat.st_mode,
		stat.st_uid, (int)(pid ? pid - text : 0), text, pid && atoi(pid + 11) == getpid());
	if (pid && atoi(pid + 11))
		return;
	while (count < 8 && (lengths[count] = mq_receive(queue, bodies[count], 64, &priorities[count])) >= 0)
		count++;
	for (int index = 0; index < count; index++) {
		fprintf(out, " %u/%.*s", priorities[index], (int)lengths[index], bodies[index]);
		mq_send(queue, bodies[index], lengths[index], priorities[index]);
	}
}

static struct mq_attr attributes = { .mq_maxmsg = 7, .mq_msgsize = 64 };
static mqd_t named, second, unlinked, told;
static int make_named(void)
{
	named = mq_open("/crimg-probe-named", O_RDWR | O_CREAT | O_NONBLOCK, 0640, &attributes);
	second = mq_open("/crimg-probe-named", O_WRONLY);
	if (named < 0 || second < 0)
		return errno;
	return mq_send(named, "low", 3, 1) || mq_send(second, "high", 4, 9) || mq_send(named, "later", 5, 1) || mq_send(named, "", 0, 4) ||
		fchown(named, 1234, 0) ? errno : 0;
}
static void tell_named(FILE *out) { tell_posix(out, named); fprintf(out, " %o", fcntl(second, F_GETFL)); }
static int make_unlinked(void)
{
	unlinked = mq_open("/crimg-probe-unlinked", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &attributes);
	return unlinked < 0 || mq_send(unlinked, "nameless", 8, 3) || mq_unlink("/crimg-probe-unlinked") ? errno : 0;
}
static void tell_unlinked(FILE *out) { tell_posix(out, unlinked); }
static int make_told(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };

	told = mq_open("/crimg-probe-told", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &attributes);
	return told < 0 || mq_notify(told, &event) ? errno : 0;
}
static void tell_told(FILE *out) { tell_posix(out, told); }

PROBES({ "keyed", make_keyed, tell_keyed }, { "removed", make_removed, tell_removed }, { "readonly", make_readonly, tell_readonly },
	{ "detached", make_detached, tell_detached }, { "semaphores", make_set, tell_semaphores }, { "undo", make_undo, tell_undo },
	{ "queue", make_queue, tell_queue }, { "named", make_named, tell_named }, { "unlinked", make_unlinked, tell_unlinked },
	{ "told", make_told, tell_told })
