// SPDX-License-Identifier: Apache-2.0
/*
 * Opens one of everything, says "ready", and on SIGUSR1 looks whether all of it is as it was: one line "ok WHAT" or
 * "bad WHAT" each into the log (argv[1]), then "done". argv[2] is a directory to work in.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

static FILE *log_file;
static volatile sig_atomic_t go;

static void on_signal(int signal)
{
	(void)signal;
	go = 1;
}

static void check(const char *what, int is_right)
{
	fprintf(log_file, "%s %s\n", is_right ? "ok" : "bad", what);
	fflush(log_file);
}

static int fail(const char *what)
{
	perror(what);
	exit(1);
}

static int must(int result, const char *what)
{
	return result < 0 ? fail(what) : result;
}

/* The next bytes of fd are exactly these. */
static int reads(int fd, const char *text)
{
	char buffer[256];
	ssize_t length = read(fd, buffer, sizeof(buffer));

	return length == (ssize_t)strlen(text) && !memcmp(buffer, text, length);
}

static void send_fd(int socket, int fd)
{
	char byte = 'f';
	struct iovec iov = { &byte, 1 };
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	must(sendmsg(socket, &message, 0), "sendmsg");
}

static int receive_fd(int socket)
{
	char byte;
	int fd;
	struct iovec iov = { &byte, 1 };
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

	if (recvmsg(socket, &message, MSG_DONTWAIT) != 1 || !CMSG_FIRSTHDR(&message))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

static int bound_unix(int type, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = must(socket(AF_UNIX, type, 0), "socket");

	strcpy(address.sun_path, path);
	must(bind(fd, (struct sockaddr *)&address, sizeof(address)), "bind");
	return fd;
}

static int connected_unix(int type, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = must(socket(AF_UNIX, type, 0), "socket");

	strcpy(address.sun_path, path);
	must(connect(fd, (struct sockaddr *)&address, sizeof(address)), "connect");
	return fd;
}

/* No byte was read twice, none twice-positioned: the child and the parent share one offset. */
static void check_files(int shared, int ghost, int removed, int append, int path)
{
	struct stat now;
	char buffer[8] = { 0 };

	check("shared offset", lseek(shared, 0, SEEK_CUR) == 7);
	check("ghost size", fstat(ghost, &now) == 0 && now.st_size == (1 << 20) + 3 && now.st_nlink == 0);
	check("ghost hole", now.st_blocks * 512 < 1 << 19);
	check("ghost content", pread(ghost, buffer, 3, 1 << 20) == 3 && !memcmp(buffer, "end", 3));
	check("ghost mode", (now.st_mode & 07777) == 0640);
	check("removed directory", fstat(removed, &now) == 0 && S_ISDIR(now.st_mode) && now.st_nlink == 0);
	check("append", (fcntl(append, F_GETFL) & O_APPEND) && write(append, "x", 1) == 1 && lseek(append, 0, SEEK_CUR) == 9);
	check("path", (fcntl(path, F_GETFL) & O_PATH) && read(path, buffer, 1) < 0 && errno == EBADF);
	check("cloexec", fcntl(append, F_GETFD) == FD_CLOEXEC && fcntl(shared, F_GETFD) == 0);
}

int main(int argc, char **argv)
{
	int pipes[2], packets[2], dead[2], stream[2], datagram[2], passing[2], half[2], more[2];
	struct sockaddr_in local = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in now;
	struct itimerspec timer = { .it_value.tv_sec = 1000, .it_interval.tv_sec = 7 }, left;
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 0x123456789abcdef0 }, seen;
	struct sigaction action = { .sa_handler = on_signal };
	socklen_t length = sizeof(now);
	sigset_t mask;
	int one = 1, value, received, status;
	char buffer[64];
	uint64_t count;
	pid_t child;

	if (argc < 3 || chdir(argv[2]))
		return 2;
	log_file = fopen(argv[1], "a");
	if (!log_file)
		return 2;
	fcntl(fileno(log_file), F_SETFD, FD_CLOEXEC);

	int shared = must(open("shared", O_RDWR | O_CREAT, 0600), "open");
	must(write(shared, "0123456789", 10), "write");
	int append = must(open("append", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), "open");
	must(write(append, "12345678", 8), "write");
	int ghost = must(open("ghost", O_RDWR | O_CREAT, 0640), "open");
	must(fchmod(ghost, 0640), "fchmod");
	must(pwrite(ghost, "end", 3, 1 << 20), "pwrite");
	must(unlink("ghost"), "unlink");
	must(mkdir("removed", 0700), "mkdir");
	int removed = must(open("removed", O_RDONLY | O_DIRECTORY), "open");
	must(rmdir("removed"), "rmdir");
	int path = must(open("shared", O_PATH), "open");

	must(pipe(pipes), "pipe");
	must(write(pipes[1], "in the pipe", 11), "write");
	must(fcntl(pipes[1], F_SETPIPE_SZ, 131072), "F_SETPIPE_SZ");
	int far = must(fcntl(pipes[0], F_DUPFD, 500), "F_DUPFD");
	close(pipes[0]);
	must(pipe2(packets, O_DIRECT), "pipe2");
	must(write(packets[1], "one", 3), "write");
	must(write(packets[1], "two", 3), "write");
	must(pipe(dead), "pipe");
	must(write(dead[1], "last", 4), "write");
	close(dead[1]);
	must(mkfifo("fifo", 0600), "mkfifo");
	int fifo = must(open("fifo", O_RDWR), "open");
	must(write(fifo, "fifo", 4), "write");

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), "socketpair");
	must(write(stream[0], "to one", 6), "write");
	must(write(stream[1], "to zero", 7), "write");
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram), "socketpair");
	must(write(datagram[0], "first", 5), "write");
	must(write(datagram[0], "second", 6), "write");
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, half), "socketpair");
	must(write(half[1], "rest", 4), "write");
	must(shutdown(half[1], SHUT_WR), "shutdown");
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, passing), "socketpair");
	must(pipe(more), "pipe");
	must(write(more[1], "passed", 6), "write");
	send_fd(passing[0], more[0]);
	close(more[0]);
	close(more[1]);
	int listener = bound_unix(SOCK_STREAM, "./listener");
	must(listen(listener, 5), "listen");
	int client = connected_unix(SOCK_STREAM, "./listener");
	int server = must(accept(listener, NULL, NULL), "accept");
	must(write(server, "from server", 11), "write");
	int gone = bound_unix(SOCK_DGRAM, "gone");
	int to_gone = connected_unix(SOCK_DGRAM, "gone");
	must(unlink("gone"), "unlink");
	must(write(to_gone, "still here", 10), "write");

	int tcp = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
	must(setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), "SO_REUSEADDR");
	must(setsockopt(tcp, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), "TCP_NODELAY");
	must(bind(tcp, (struct sockaddr *)&local, sizeof(local)), "bind");
	must(listen(tcp, 9), "listen");
	must(getsockname(tcp, (struct sockaddr *)&local, &length), "getsockname");
	int udp = must(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), "socket");
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	must(bind(udp, (struct sockaddr *)&any, sizeof(any)), "bind");

	int event_fd = must(eventfd(5, EFD_SEMAPHORE), "eventfd");
	int timer_fd = must(timerfd_create(CLOCK_MONOTONIC, 0), "timerfd");
	must(timerfd_settime(timer_fd, 0, &timer, NULL), "timerfd_settime");
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	int signal_fd = must(signalfd(-1, &mask, 0), "signalfd");
	int epoll = must(epoll_create1(0), "epoll_create1");
	must(epoll_ctl(epoll, EPOLL_CTL_ADD, far, &event), "epoll_ctl");
	int memory = must(memfd_create("some memory", MFD_ALLOW_SEALING), "memfd_create");
	must(write(memory, "memory", 6), "write");
	must(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), "F_ADD_SEALS");

	child = must(fork(), "fork");
	if (child == 0) {
		lseek(shared, 7, SEEK_SET);
		for (;;)
			pause();
	}
	int pid_fd = must(syscall(SYS_pidfd_open, child, 0), "pidfd_open");
	while (lseek(shared, 0, SEEK_CUR) != 7)
		usleep(1000);
	sigaction(SIGUSR1, &action, NULL);
	fprintf(log_file, "ready\n");
	fflush(log_file);
	while (!go)
		usleep(10000);

	check_files(shared, ghost, removed, append, path);
	check("epoll", epoll_wait(epoll, &seen, 1, 0) == 1 && seen.data.u64 == event.data.u64);
	check("pipe", reads(far, "in the pipe") && fcntl(far, F_GETPIPE_SZ) == 131072);
	check("epoll empty", epoll_wait(epoll, &seen, 1, 0) == 0);
	check("packets", reads(packets[0], "one") && reads(packets[0], "two"));
	check("pipe without writers", reads(dead[0], "last") && read(dead[0], buffer, 1) == 0);
	check("fifo", reads(fifo, "fifo"));
	check("stream", reads(stream[1], "to one") && reads(stream[0], "to zero"));
	check("datagram", reads(datagram[1], "first") && reads(datagram[1], "second"));
	check("half closed", reads(half[0], "rest") && read(half[0], buffer, 1) == 0 && write(half[0], "x", 1) == 1);
	received = receive_fd(passing[1]);
	check("passed descriptor", received >= 0 && reads(received, "passed") && read(received, buffer, 1) == 0);
	check("accepted", reads(client, "from server") && write(client, "up", 2) == 2 && reads(server, "up"));
	value = connected_unix(SOCK_STREAM, "./listener");
	check("unix listener", accept(listener, NULL, NULL) >= 0);
	check("name that is gone", access("gone", F_OK) < 0 && reads(gone, "still here") && write(to_gone, "more", 4) == 4 && reads(gone, "more"));
	length = sizeof(now);
	check("tcp address", getsockname(tcp, (struct sockaddr *)&now, &length) == 0 && now.sin_port == local.sin_port);
	value = socket(AF_INET, SOCK_STREAM, 0);
	check("tcp listener", connect(value, (struct sockaddr *)&local, sizeof(local)) == 0 && accept(tcp, NULL, NULL) >= 0);
	length = sizeof(value);
	check("tcp option", getsockopt(tcp, IPPROTO_TCP, TCP_NODELAY, &value, &length) == 0 && value != 0);
	check("udp", read(udp, buffer, 1) < 0 && errno == EAGAIN);
	check("eventfd", read(event_fd, &count, 8) == 8 && count == 1);
	check("timerfd", timerfd_gettime(timer_fd, &left) == 0 && left.it_value.tv_sec > 800 && left.it_interval.tv_sec == 7);
	kill(getpid(), SIGUSR2);
	check("signalfd", read(signal_fd, &(struct signalfd_siginfo){ 0 }, sizeof(struct signalfd_siginfo)) > 0);
	check("memfd", pread(memory, buffer, 6, 0) == 6 && !memcmp(buffer, "memory", 6) &&
		fcntl(memory, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW));
	check("pidfd", syscall(SYS_pidfd_send_signal, pid_fd, SIGTERM, NULL, 0) == 0 && waitpid(child, &status, 0) == child);
	fprintf(log_file, "done\n");
	fflush(log_file);
	return 0;
}
