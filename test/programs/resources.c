// SPDX-License-Identifier: Apache-2.0
/*
 * A tree of processes that holds one of every kind of resource, and says whether it still has them all.
 *
 *   resources          in a directory of its own: writes "pid" when everything is set up, waits until "go" exists,
 *                      then prints "ok", or "broken: WHAT" with the first thing that changed, and ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Ends the program while it sets things up; afterwards says what is broken. */
static int checking;
#define need(condition) do { if (!(condition)) fail(#condition, __LINE__); } while (0)

static void fail(const char *what, int line)
{
    printf("%s: %s (line %d, errno %d)\n", checking ? "broken" : "cannot set up", what, line, errno);
    fflush(stdout);
    kill(0, SIGKILL);
    _exit(1);
}

static char buffer[80000];

/* Pipes */
static int pipe_ends[2], fifo;
static const int pipe_capacity = 1 << 20;

static void make_pipes(void)
{
    need(pipe2(pipe_ends, O_NONBLOCK) == 0);
    memset(buffer, 'a', 5000);
    need(write(pipe_ends[1], buffer, 5000) == 5000);
    need(fcntl(pipe_ends[0], F_SETPIPE_SZ, pipe_capacity) == pipe_capacity);
    need(mkfifo("fifo", 0600) == 0);
    need((fifo = open("fifo", O_RDWR)) >= 0);
    need(write(fifo, "fifo!", 5) == 5);
}

static void check_pipes(void)
{
    need(fcntl(pipe_ends[0], F_GETPIPE_SZ) == pipe_capacity);
    need(read(pipe_ends[0], buffer, sizeof buffer) == 5000 && buffer[4999] == 'a');
    need(read(fifo, buffer, 10) == 5 && memcmp(buffer, "fifo!", 5) == 0);
}

/* Descriptors of the kernel's own kinds */
static int event, timer, signals, epoll;
static const unsigned long long watch_mark = 0x1122334455667788ull;

static void make_events(void)
{
    struct itimerspec spec = { { 1000, 5 }, { 2000, 7 } };
    struct epoll_event watch = { .events = EPOLLIN, .data.u64 = watch_mark };
    sigset_t set;

    need((event = eventfd(7, EFD_NONBLOCK)) >= 0);
    need((timer = timerfd_create(CLOCK_MONOTONIC, 0)) >= 0);
    need(timerfd_settime(timer, 0, &spec, NULL) == 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    need(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    need((signals = signalfd(-1, &set, SFD_CLOEXEC)) >= 0);
    kill(getpid(), SIGUSR2);
    need((epoll = epoll_create1(0)) >= 0);
    need(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_ends[0], &watch) == 0);
    watch.events = EPOLLIN | EPOLLET;
    watch.data.u64 = 9;
    need(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &watch) == 0);
}

static void check_events(void)
{
    unsigned long long count = 0;
    struct itimerspec left;
    struct signalfd_siginfo info;
    struct epoll_event ready[4];
    int found = 0, number;

    need(write(pipe_ends[1], "x", 1) == 1);
    need((number = epoll_wait(epoll, ready, 4, 1000)) >= 1);
    for (int index = 0; index < number; index++)
        found |= ready[index].data.u64 == watch_mark;
    need(found);
    need(read(event, &count, 8) == 8 && count == 7);
    need(timerfd_gettime(timer, &left) == 0 && left.it_interval.tv_sec == 1000 && left.it_interval.tv_nsec == 5);
    need(left.it_value.tv_sec > 1900);
    need(read(signals, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR2);
    need(fcntl(signals, F_GETFD) == FD_CLOEXEC);
}

/* Memory: files of it, shared, private, hidden */
static int sealed, plain;
static char *sealed_view, *shared, *kept_out, *not_inherited, *hidden;

static void make_memory(void)
{
    need((sealed = memfd_create("sealed", MFD_ALLOW_SEALING)) >= 0);
    need(ftruncate(sealed, 20000) == 0 && pwrite(sealed, "memfd data", 10, 9000) == 10);
    sealed_view = mmap(NULL, 20000, PROT_READ | PROT_WRITE, MAP_SHARED, sealed, 0);
    need(sealed_view != MAP_FAILED);
    strcpy(sealed_view, "mapped");
    need(fcntl(sealed, F_ADD_SEALS, F_SEAL_GROW) == 0);
    need((plain = memfd_create("plain", 0)) >= 0 && ftruncate(plain, 8192) == 0 && lseek(plain, 100, SEEK_SET) == 100);
    shared = mmap(NULL, 40960, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    kept_out = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    not_inherited = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    hidden = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED && kept_out != MAP_FAILED && not_inherited != MAP_FAILED && hidden != MAP_FAILED);
    strcpy(shared + 8192, "shared");
    kept_out[5] = 5;
    need(madvise(kept_out, 16384, MADV_DONTDUMP) == 0);
    not_inherited[1] = 1;
    need(madvise(not_inherited, 16384, MADV_DONTFORK) == 0);
    strcpy(hidden, "hidden");
    need(mprotect(hidden, 8192, PROT_NONE) == 0);
}

static void check_memory(void)
{
    struct stat stat;

    need(strcmp(sealed_view, "mapped") == 0);
    need(pread(sealed, buffer, 10, 9000) == 10 && memcmp(buffer, "memfd data", 10) == 0);
    need(fcntl(sealed, F_GET_SEALS) == F_SEAL_GROW && fstat(sealed, &stat) == 0 && stat.st_size == 20000);
    sealed_view[50] = 'Q';
    need(pread(sealed, buffer, 1, 50) == 1 && buffer[0] == 'Q');
    need(lseek(plain, 0, SEEK_CUR) == 100);
    need(strcmp(shared + 8192, "shared") == 0);
    need(kept_out[5] == 5 && not_inherited[1] == 1);
    need(mprotect(hidden, 8192, PROT_READ) == 0 && strcmp(hidden, "hidden") == 0);
}

/* Files: with names and without */
static int small_ghost, big_ghost, file, file_again, log_file, directory, path_only;
static char *ghost_view, *file_view;

static void make_files(void)
{
    need((small_ghost = open("ghost.small", O_RDWR | O_CREAT, 0640)) >= 0 && write(small_ghost, "small ghost", 11) == 11);
    need((big_ghost = open("ghost.big", O_RDWR | O_CREAT, 0640)) >= 0);
    memset(buffer, 'G', 50000);
    need(pwrite(big_ghost, buffer, 50000, 200000) == 50000 && ftruncate(big_ghost, 400001) == 0);
    need(unlink("ghost.small") == 0 && unlink("ghost.big") == 0);
    ghost_view = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, big_ghost, 196608);
    need((file = open("file", O_RDWR | O_CREAT, 0644)) >= 0 && write(file, "0123456789", 10) == 10);
    need(lseek(file, 4, SEEK_SET) == 4 && (file_again = dup(file)) >= 0);
    file_view = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    need(ghost_view != MAP_FAILED && file_view != MAP_FAILED);
    need((log_file = open("log", O_WRONLY | O_APPEND | O_CREAT, 0644)) >= 0);
    need((directory = open(".", O_RDONLY | O_DIRECTORY)) >= 0 && (path_only = open("file", O_PATH)) >= 0);
}

static void check_files(void)
{
    struct stat stat;

    need(pread(small_ghost, buffer, 100, 0) == 11 && memcmp(buffer, "small ghost", 11) == 0);
    need(fstat(small_ghost, &stat) == 0 && stat.st_nlink == 0 && (stat.st_mode & 0777) == 0640);
    need(pread(big_ghost, buffer, 10, 199995) == 10 && buffer[0] == 0 && buffer[5] == 'G');
    need(fstat(big_ghost, &stat) == 0 && stat.st_size == 400001 && stat.st_nlink == 0);
    need(ghost_view[3392] == 'G');
    ghost_view[0] = 'W';
    need(pread(big_ghost, buffer, 1, 196608) == 1 && buffer[0] == 'W');
    need(lseek(file_again, 0, SEEK_CUR) == 4 && lseek(file, 6, SEEK_SET) == 6 && lseek(file_again, 0, SEEK_CUR) == 6);
    need(memcmp(file_view, "0123", 4) == 0 && write(log_file, "l", 1) == 1);
    need(fstat(directory, &stat) == 0 && S_ISDIR(stat.st_mode) && (fcntl(path_only, F_GETFL) & O_PATH) != 0);
}

/* Sockets */
static int stream[2], datagram[2], packet[2], listener, client, accepted, abstract, tcp_listener, udp6, unbound;
static struct sockaddr_un listener_name = { .sun_family = AF_UNIX }, abstract_name = { .sun_family = AF_UNIX };
static int rights[2];
static socklen_t abstract_length;
static in_port_t tcp_port, udp_port;
static const int on = 1, send_buffer = 50000;

/* A descriptor on its way: of the file, whose offset its receiver will share. */
static void send_file(void)
{
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec data = { "take", 4 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &file, sizeof(int));
    need(sendmsg(rights[0], &message, 0) == 4);
}

static int receive_file(void)
{
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec data = { buffer, 10 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    int received = -1;

    need(recvmsg(rights[1], &message, 0) == 4 && CMSG_FIRSTHDR(&message) != NULL);
    memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    return received;
}

static void make_sockets(void)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    socklen_t length;

    need(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0);
    need(write(stream[0], "to one", 6) == 6 && write(stream[1], "to zero", 7) == 7);
    need(setsockopt(stream[0], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer) == 0);
    need(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram) == 0);
    need(send(datagram[0], "one", 3, 0) == 3 && send(datagram[0], "second", 6, 0) == 6);
    need(socketpair(AF_UNIX, SOCK_DGRAM, 0, rights) == 0);
    send_file();
    need(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packet) == 0);
    need(setsockopt(packet[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    need(getcwd(listener_name.sun_path, 80) != NULL);
    strcat(listener_name.sun_path, "/socket");
    need((listener = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
    need(bind(listener, (void *)&listener_name, sizeof listener_name) == 0 && listen(listener, 17) == 0);
    need((client = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
    need(connect(client, (void *)&listener_name, sizeof listener_name) == 0 && (accepted = accept(listener, NULL, NULL)) >= 0);
    need(write(accepted, "hello", 5) == 5 && shutdown(client, SHUT_WR) == 0);
    sprintf(abstract_name.sun_path + 1, "resources-%d", getpid());
    abstract_length = sizeof(sa_family_t) + 1 + strlen(abstract_name.sun_path + 1);
    need((abstract = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) >= 0);
    need(bind(abstract, (void *)&abstract_name, abstract_length) == 0);
    need((tcp_listener = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
    need(setsockopt(tcp_listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
    need(bind(tcp_listener, (void *)&in, sizeof in) == 0 && listen(tcp_listener, 33) == 0);
    length = sizeof in;
    need(getsockname(tcp_listener, (void *)&in, &length) == 0);
    tcp_port = in.sin_port;
    need((udp6 = socket(AF_INET6, SOCK_DGRAM, 0)) >= 0 && bind(udp6, (void *)&in6, sizeof in6) == 0);
    length = sizeof in6;
    need(getsockname(udp6, (void *)&in6, &length) == 0);
    udp_port = in6.sin6_port;
    need((unbound = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
    need(setsockopt(unbound, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
}

static int option(int socket, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;

    need(getsockopt(socket, level, name, &value, &length) == 0);
    return value;
}

static void check_sockets(void)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = tcp_port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 in6;
    socklen_t length = sizeof in6;
    int one, other;

    need(read(stream[1], buffer, 99) == 6 && memcmp(buffer, "to one", 6) == 0 && read(stream[0], buffer, 99) == 7);
    need(write(stream[0], "q", 1) == 1 && read(stream[1], buffer, 9) == 1);
    need(option(stream[0], SOL_SOCKET, SO_SNDBUF) == 2 * send_buffer);
    need(recv(datagram[1], buffer, 99, 0) == 3 && recv(datagram[1], buffer, 99, 0) == 6 && memcmp(buffer, "second", 6) == 0);
    need(option(packet[0], SOL_SOCKET, SO_PASSCRED) == 1);
    need(read(client, buffer, 9) == 5 && memcmp(buffer, "hello", 5) == 0 && read(accepted, buffer, 9) == 0);
    need((one = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && connect(one, (void *)&listener_name, sizeof listener_name) == 0);
    need((other = accept(listener, NULL, NULL)) >= 0 && close(one) == 0 && close(other) == 0);
    need((one = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
    need(sendto(one, "abs", 3, 0, (void *)&abstract_name, abstract_length) == 3 && recv(abstract, buffer, 9, 0) == 3);
    need((one = socket(AF_INET, SOCK_STREAM, 0)) >= 0 && connect(one, (void *)&in, sizeof in) == 0);
    need((other = accept(tcp_listener, NULL, NULL)) >= 0 && close(one) == 0 && close(other) == 0);
    need(getsockname(udp6, (void *)&in6, &length) == 0 && in6.sin6_port == udp_port);
    need(option(unbound, IPPROTO_TCP, TCP_NODELAY) == 1);
    need((one = receive_file()) >= 0 && lseek(one, 7, SEEK_SET) == 7 && lseek(file, 0, SEEK_CUR) == 7);
}

/* Signals and timers */
static timer_t posix_timer;

static void handler(int signal)
{
    (void)signal;
}

static void make_signals(void)
{
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART | SA_ONSTACK };
    stack_t stack = { .ss_sp = malloc(32768), .ss_size = 32768 };
    struct sigevent notice = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77 };
    struct itimerspec spec = { { 0, 0 }, { 5000, 0 } };
    struct itimerval interval = { { 300, 0 }, { 300, 0 } };

    sigaddset(&action.sa_mask, SIGTERM);
    need(sigaction(SIGUSR1, &action, NULL) == 0);
    signal(SIGHUP, SIG_IGN);
    need(sigaltstack(&stack, NULL) == 0);
    need(timer_create(CLOCK_MONOTONIC, &notice, &posix_timer) == 0 && timer_settime(posix_timer, 0, &spec, NULL) == 0);
    need(setitimer(ITIMER_REAL, &interval, NULL) == 0);
}

static void check_signals(void)
{
    struct sigaction action;
    stack_t stack;
    struct itimerspec spec;
    struct itimerval interval;

    need(sigaction(SIGUSR1, NULL, &action) == 0 && action.sa_handler == handler && (action.sa_flags & SA_ONSTACK) != 0);
    need(sigismember(&action.sa_mask, SIGTERM));
    need(sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
    need(sigaltstack(NULL, &stack) == 0 && stack.ss_size == 32768);
    need(timer_gettime(posix_timer, &spec) == 0 && spec.it_value.tv_sec > 4000);
    need(getitimer(ITIMER_REAL, &interval) == 0 && interval.it_interval.tv_sec == 300);
}

/* Threads and processes */
static pid_t dead, stopped, child;
static int commands[2], child_fd;

static _Noreturn void *wait_for_ever(void *unused)
{
    sigset_t all;

    (void)unused;
    prctl(PR_SET_NAME, "worker");
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (;;)
        pause();
}

/* A child in a process group of its own, with a child that leads a session; it copies commands to shared memory. */
static void run_child(void)
{
    char command;

    prctl(PR_SET_NAME, "child");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    umask(077);
    need(chdir("/") == 0);
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setsid();
        for (;;)
            sleep(1);
    }
    while (read(commands[0], &command, 1) == 1)
        shared[8000] = command;
    for (;;)
        pause();
}

static void make_processes(void)
{
    pthread_t thread;

    for (int index = 0; index < 3; index++)
        need(pthread_create(&thread, NULL, wait_for_ever, NULL) == 0);
    need(pipe(commands) == 0);
    if ((dead = fork()) == 0)
        _exit(37);
    if ((stopped = fork()) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    if ((child = fork()) == 0)
        run_child();
    need((child_fd = syscall(SYS_pidfd_open, child, 0)) >= 0);
    usleep(50000);
    need(kill(stopped, SIGSTOP) == 0);
    usleep(50000);
}

static void check_processes(void)
{
    int status, fields;
    char path[64], state = 0;
    FILE *stat;

    need(write(commands[1], "Z", 1) == 1);
    for (int index = 0; index < 200 && shared[8000] != 'Z'; index++)
        usleep(10000);
    need(shared[8000] == 'Z');
    need(waitpid(dead, &status, 0) == dead && WIFEXITED(status) && WEXITSTATUS(status) == 37);
    sprintf(path, "/proc/%d/stat", stopped);
    need((stat = fopen(path, "r")) != NULL);
    fields = fscanf(stat, "%*d %*s %c", &state);
    fclose(stat);
    need(fields == 1 && state == 'T');
    need(getpgid(child) == child);
    need(syscall(SYS_pidfd_send_signal, child_fd, 0, NULL, 0) == 0);
}

int main(void)
{
    FILE *pid;

    setvbuf(stdout, NULL, _IOLBF, 0);
    make_pipes();
    make_events();
    make_memory();
    make_files();
    make_sockets();
    make_signals();
    make_processes();
    need((pid = fopen("pid.new", "w")) != NULL && fprintf(pid, "%d\n", getpid()) > 0 && fclose(pid) == 0 && rename("pid.new", "pid") == 0);
    while (access("go", F_OK) != 0)
        usleep(20000);
    checking = 1;
    check_pipes();
    check_events();
    check_memory();
    check_files();
    check_sockets();
    check_signals();
    check_processes();
    printf("ok\n");
    return 0;
}
