/* SPDX-License-Identifier: Apache-2.0 */
/* What threads have for themselves: CPU clocks, namespaces, keyrings, dispatch of system calls; and semaphores to undo. */
#include "probe.h"
#include <linux/keyctl.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static int made;
static void (*work_there)(void);
static void there(FILE *out) { (void)out; errno = 0; work_there(); }
static int on_other(void (*work)(void)) { work_there = work; on_thread(there, NULL); return made; }

static long nanoseconds(const struct timespec *time) { return time->tv_sec * 1000000000 + time->tv_nsec; }

static void burn(FILE *out)
{
	struct timespec start, now;

	(void)out;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while (nanoseconds(&now) - nanoseconds(&start) < 20000000);
}

/* A timer of 1000 s of CPU time; whose work it counts is told by working. */
static int create(int *timer, clockid_t clock, int notify, int tid)
{
	struct sigevent event = { .sigev_notify = notify, .sigev_signo = SIGUSR2, .sigev_notify_thread_id = tid };
	struct itimerspec spec = { .it_value.tv_sec = 1000, .it_interval.tv_sec = 1000 };

	if (syscall(SYS_timer_create, clock, &event, timer))
		return errno;
	return syscall(SYS_timer_settime, *timer, 0, &spec, NULL) ? errno : 0;
}
static long left(int timer)
{
	struct itimerspec spec = { 0 };

	syscall(SYS_timer_gettime, timer, &spec);
	return nanoseconds(&spec.it_value);
}
static void tell_owner(FILE *out, int timer)
{
	long before = left(timer), main_only, both;

	burn(NULL);
	main_only = left(timer);
	on_thread(burn, NULL);
	both = left(timer);
	fprintf(out, "%s%s ", before - main_only > 15000000 ? "main " : "", main_only - both > 15000000 ? "thread" : "");
}

static int go_timer, quiet_timer, named_timer, main_timer;
static void go_there(void) { made = create(&go_timer, CLOCK_THREAD_CPUTIME_ID, SIGEV_THREAD_ID, gettid()); }
static int make_go(void) { return on_other(go_there); }
static void tell_go(FILE *out) { tell_owner(out, go_timer); }
static void quiet_there(void) { made = create(&quiet_timer, CLOCK_THREAD_CPUTIME_ID, SIGEV_NONE, 0); }
static int make_quiet(void) { return on_other(quiet_there); }
static void tell_quiet(FILE *out) { tell_owner(out, quiet_timer); }
static pid_t other_tid;
static void id_there(void) { other_tid = gettid(); made = 0; }
static int make_named(void)
{
	on_other(id_there);
	return create(&named_timer, (~(unsigned)other_tid << 3) | 6, SIGEV_NONE, 0);
}
static void tell_named(FILE *out) { tell_owner(out, named_timer); }
static int make_main(void)
{
	on_other(id_there);
	return create(&main_timer, CLOCK_THREAD_CPUTIME_ID, SIGEV_NONE, 0);
}
static void tell_main(FILE *out) { tell_owner(out, main_timer); }

static void namespace_there(void) { made = unshare(CLONE_NEWUTS) ? errno : 0; }
static int make_namespace(void) { return on_other(namespace_there); }
static void namespace_of(FILE *out)
{
	char name[64] = "", own[64] = "";

	if (readlink("/proc/thread-self/ns/uts", name, 60) > 0 && readlink("/proc/self/ns/uts", own, 60) > 0)
		fprintf(out, "%s", strcmp(name, own) ? "its own" : "the process's");
}
static void tell_namespace(FILE *out) { on_thread(namespace_of, out); }

static int make_children(void) { return unshare(CLONE_NEWPID) ? errno : 0; }
static void tell_children(FILE *out)
{
	char name[64] = "", own[64] = "";

	fprintf(out, "%s", readlink("/proc/self/ns/pid_for_children", name, 60) < 0 ||
		readlink("/proc/self/ns/pid", own, 60) < 0 || strcmp(name, own) ? "another" : "the same");
}

static long add_key(int keyring) { return syscall(SYS_add_key, "user", "probe", "secret", 6, keyring); }
static void thread_key(void) { made = add_key(KEY_SPEC_THREAD_KEYRING) < 0 ? errno : 0; }
static int make_thread_keyring(void) { return on_other(thread_key); }
static int make_process_keyring(void) { return add_key(KEY_SPEC_PROCESS_KEYRING) < 0 ? errno : 0; }
static int make_session_keyring(void)
{
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0)
		return errno;
	return add_key(KEY_SPEC_SESSION_KEYRING) < 0 ? errno : 0;
}
static int make_empty_keyring(void)
{
	return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 ? errno : 0;
}
static void key(FILE *out)
{
	char value[16] = "";
	long id = syscall(SYS_request_key, "user", "probe", NULL, 0);

	if (id >= 0)
		syscall(SYS_keyctl, KEYCTL_READ, id, value, 15);
	fprintf(out, "%s", id < 0 ? "no key" : value);
}
static void tell_keyring(FILE *out) { on_thread(key, out); }

static int set = -1;
static int make_undo(void)
{
	struct sembuf add = { 0, 5, SEM_UNDO };

	set = semget(IPC_PRIVATE, 1, 0600);
	return set < 0 || semop(set, &add, 1) ? errno : 0;
}
static void tell_undo(FILE *out) { fprintf(out, "%d", semctl(set, 0, GETVAL)); }

static int make_semaphore(void)
{
	struct sembuf add = { 0, 5, 0 };

	set = semget(IPC_PRIVATE, 1, 0600);
	return set < 0 || semop(set, &add, 1) ? errno : 0;
}

static char selector = 0; /* SYSCALL_DISPATCH_FILTER_ALLOW */
static void dispatch_there(void) { made = prctl(59, 1, (unsigned long)&selector & ~0xfffful, 0x10000, &selector) ? errno : 0; }
static int make_dispatch(void) { return on_other(dispatch_there); }
static void dispatch(FILE *out)
{
	/* With the selector at BLOCK the next call raises SIGSYS, which is caught. */
	extern void caught(int signal, siginfo_t *info, void *context);
	static int seen;
	struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO };

	sigaction(SIGSYS, &action, NULL);
	selector = 1;
	seen = (int)syscall(SYS_getppid);
	selector = 0;
	fprintf(out, "%s", seen == -12345 ? "dispatched" : "not dispatched");
}
void caught(int signal, siginfo_t *info, void *context)
{
	(void)signal; (void)info;
	selector = 0;
	((unsigned long *)context)[18] = -12345; /* rax of uc_mcontext */
}
/* Blocked but for the C library's own code and everything else below the stack: the selector alone says no. */
static char blocking = 1;
static void blocking_there(void) { made = prctl(59, 1, 0, 0x7ffffffff000ul, &blocking) ? errno : 0; }
static int make_dispatching(void) { return on_other(blocking_there); }
static void tell_dispatching(FILE *out) { fprintf(out, "%d", blocking); }

static void tell_dispatch(FILE *out) { on_thread(dispatch, out); }

PROBES({ "go", make_go, tell_go }, { "quiet", make_quiet, tell_quiet }, { "named", make_named, tell_named },
       { "main", make_main, tell_main }, { "namespace", make_namespace, tell_namespace },
       { "children", make_children, tell_children }, { "thread-keyring", make_thread_keyring, tell_keyring },
       { "process-keyring", make_process_keyring, tell_keyring }, { "session-keyring", make_session_keyring, tell_keyring },
       { "empty-keyring", make_empty_keyring, tell_keyring }, { "undo", make_undo, tell_undo },
       { "semaphore", make_semaphore, tell_undo }, { "dispatch", make_dispatch, tell_dispatch },
       { "dispatching", make_dispatching, tell_dispatching })
