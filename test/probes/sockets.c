/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets, and states of other descriptors. */
#include "probe.h"
#include <arpa/inet.h>
#include <grp.h>
#include <dirent.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <sys/un.h>
#include <mqueue.h>

#define MUST(call) do { if ((call) < 0) return errno ? errno : EIO; } while (0)

static unsigned loopback(void) { return if_nametoindex("lo"); }

/* Where a group is joined, as the kernel lists it: users of the group. */
static int joined4(int fd, const char *group, struct group_filter *filter, socklen_t length)
{
	struct sockaddr_in *address = (void *)&filter->gf_group;

	memset(filter, 0, length);
	filter->gf_interface = loopback();
	address->sin_family = AF_INET;
	inet_pton(AF_INET, group, &address->sin_addr);
	filter->gf_numsrc = 4;
	return getsockopt(fd, IPPROTO_IP, MCAST_MSFILTER, filter, &length);
}

static int multicast4 = -1;
static int make_multicast4(void)
{
	struct ip_mreqn request = { .imr_ifindex = loopback() };

	inet_pton(AF_INET, "239.1.2.3", &request.imr_multiaddr);
	MUST(multicast4 = socket(AF_INET, SOCK_DGRAM, 0));
	MUST(setsockopt(multicast4, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));
	return 0;
}
static void tell_filter4(FILE *out, int fd, const char *group)
{
	char buffer[sizeof(struct group_filter) + 4 * sizeof(struct sockaddr_storage)];
	struct group_filter *filter = (void *)buffer;

	if (joined4(fd, group, filter, sizeof buffer) < 0) {
		fprintf(out, "%s", strerror(errno));
		return;
	}
	fprintf(out, "%s", filter->gf_fmode == MCAST_INCLUDE ? "include" : "exclude");
	for (unsigned index = 0; index < filter->gf_numsrc; index++)
		fprintf(out, " %s", inet_ntoa(((struct sockaddr_in *)&filter->gf_slist[index])->sin_addr));
}
static void tell_multicast4(FILE *out) { tell_filter4(out, multicast4, "239.1.2.3"); }

static int sources4 = -1;
static int make_sources4(void)
{
	struct ip_mreq_source request;

	inet_pton(AF_INET, "239.1.2.4", &request.imr_multiaddr);
	inet_pton(AF_INET, "127.0.0.1", &request.imr_interface);
	MUST(sources4 = socket(AF_INET, SOCK_DGRAM, 0));
	inet_pton(AF_INET, "10.0.0.7", &request.imr_sourceaddr);
	MUST(setsockopt(sources4, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof request));
	inet_pton(AF_INET, "10.0.0.8", &request.imr_sourceaddr);
	MUST(setsockopt(sources4, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof request));
	return 0;
}
static void tell_sources4(FILE *out) { tell_filter4(out, sources4, "239.1.2.4"); }

static int multicast6 = -1;
static int make_multicast6(void)
{
	struct ipv6_mreq request = { .ipv6mr_interface = loopback() };

	inet_pton(AF_INET6, "ff15::4711", &request.ipv6mr_multiaddr);
	MUST(multicast6 = socket(AF_INET6, SOCK_DGRAM, 0));
	MUST(setsockopt(multicast6, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request));
	return 0;
}
static void tell_multicast6(FILE *out)
{
	struct group_filter filter = { .gf_interface = loopback() };
	struct sockaddr_in6 *address = (void *)&filter.gf_group;
	socklen_t length = sizeof filter;

	address->sin6_family = AF_INET6;
	inet_pton(AF_INET6, "ff15::4711", &address->sin6_addr);
	if (getsockopt(multicast6, IPPROTO_IPV6, MCAST_MSFILTER, &filter, &length) < 0)
		fprintf(out, "%s", strerror(errno));
	else
		fprintf(out, "member %u", filter.gf_fmode);
}

static int netlink = -1;
static int make_netlink(void)
{
	struct { struct nlmsghdr header; struct rtgenmsg body; } request = {
		{ .nlmsg_len = sizeof request, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		{ .rtgen_family = AF_UNSPEC },
	};

	MUST(netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	MUST(send(netlink, &request, sizeof request, 0));
	return 0;
}
static void tell_waiting(FILE *out, int fd)
{
	struct pollfd one = { fd, POLLIN, 0 };

	fprintf(out, "%d waiting", poll(&one, 1, 200));
}
static void tell_netlink(FILE *out) { tell_waiting(out, netlink); }

static int raw = -1;
static int make_raw(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int sender;

	/* A protocol that nothing answers to. */
	MUST(raw = socket(AF_INET, SOCK_RAW, 253));
	MUST(sender = socket(AF_INET, SOCK_RAW, 253));
	MUST(sendto(sender, "packet", 6, 0, (void *)&to, sizeof to));
	close(sender);
	return 0;
}
static void tell_raw(FILE *out) { tell_waiting(out, raw); }

/* A connection over loopback that the other end has closed with a reset. */
static int closed = -1;
static int make_closed(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger linger = { 1, 0 };
	socklen_t length = sizeof address;
	int listener, client, error;

	MUST(listener = socket(AF_INET, SOCK_STREAM, 0));
	MUST(bind(listener, (void *)&address, length));
	MUST(listen(listener, 1));
	MUST(getsockname(listener, (void *)&address, &length));
	MUST(client = socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(client, (void *)&address, length));
	MUST(closed = accept(listener, NULL, NULL));
	setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(client);
	close(listener);
	usleep(20000);
	length = sizeof error;
	getsockopt(closed, SOL_SOCKET, SO_ERROR, &error, &length);
	return 0;
}
static void tell_closed(FILE *out)
{
	struct sockaddr_in address;
	socklen_t length = sizeof address;
	char byte;

	getsockname(closed, (void *)&address, &length);
	fprintf(out, "%s:%u", inet_ntoa(address.sin_addr), ntohs(address.sin_port));
	fprintf(out, " read %zd", recv(closed, &byte, 1, MSG_DONTWAIT));
	length = sizeof address;
	if (getpeername(closed, (void *)&address, &length) < 0)
		fprintf(out, " peer %s", strerror(errno));
}

/* A listener on the loopback, and a client that is connected to it; `accepted` may be NULL. */
static int connected(int protocol, int *client, int *accepted)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, protocol), yes = 1;

	/* the ends of a connection that is left out go on to hold the port */
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (listener < 0 || bind(listener, (void *)&address, length) || listen(listener, 3))
		return -1;
	getsockname(listener, (void *)&address, &length);
	*client = socket(AF_INET, SOCK_STREAM, protocol);
	if (*client < 0 || connect(*client, (void *)&address, length))
		return -1;
	if (accepted)
		*accepted = accept(listener, NULL, NULL);
	return listener;
}

/* State, ends and what waits of a TCP socket. */
static void tell_stream(FILE *out, int fd)
{
	struct sockaddr_in address;
	socklen_t length = sizeof address, info_length = 1;
	unsigned char state = 0;
	char bytes[64];
	ssize_t got = recv(fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);

	getsockopt(fd, IPPROTO_TCP, 11 /* TCP_INFO */, &state, &info_length);
	getsockname(fd, (void *)&address, &length);
	fprintf(out, "state %u port %u has %.*s", state, ntohs(address.sin_port), got > 0 ? (int)got : 0, bytes);
	length = sizeof address;
	if (getpeername(fd, (void *)&address, &length) == 0)
		fprintf(out, " peer %u", ntohs(address.sin_port));
}

static int stream[2];
static int make_stream(void)
{
	MUST(connected(0, &stream[0], &stream[1]));
	MUST(send(stream[0], "there", 5, 0));
	MUST(send(stream[1], "back", 4, 0));
	return 0;
}
static void tell_streams(FILE *out, const int *both)
{
	tell_stream(out, both[0]);
	fprintf(out, " and ");
	tell_stream(out, both[1]);
}
static void tell_both_streams(FILE *out) { tell_streams(out, stream); }

static int half[2];
static int make_half(void)
{
	MUST(connected(0, &half[0], &half[1]));
	MUST(send(half[0], "last", 4, 0));
	MUST(shutdown(half[0], SHUT_WR));
	usleep(100000);
	return 0;
}
static void tell_half(FILE *out) { tell_streams(out, half); }

static int unread[2];
static int make_unread(void)
{
	MUST(connected(0, &unread[0], &unread[1]));
	MUST(send(unread[0], "left", 4, 0));
	MUST(shutdown(unread[0], SHUT_WR));
	usleep(50000);
	MUST(shutdown(unread[1], SHUT_WR));
	usleep(50000);
	close(unread[0]);
	return 0;
}
static void tell_unread(FILE *out)
{
	char bytes[8];
	ssize_t got = recv(unread[1], bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);

	fprintf(out, "%.*s", got > 0 ? (int)got : 0, bytes);
}

static int waiting, its_listener;
static int make_unaccepted(void) { MUST(its_listener = connected(0, &waiting, NULL)); return 0; }
static void tell_unaccepted(FILE *out)
{
	struct pollfd polled = { .fd = its_listener, .events = POLLIN };

	fprintf(out, "%d ", poll(&polled, 1, 0));
	tell_stream(out, waiting);
}
static int make_eager(void)
{
	int error = make_unaccepted();

	if (!error)
		MUST(send(waiting, "eager", 5, 0));
	return error;
}

static int multipath = -1;
static int make_multipath(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	MUST(multipath = socket(AF_INET, SOCK_STREAM, 262 /* IPPROTO_MPTCP */));
	MUST(bind(multipath, (void *)&address, sizeof address));
	MUST(listen(multipath, 7));
	return 0;
}
static void tell_multipath(FILE *out)
{
	int protocol = 0;
	socklen_t length = sizeof protocol;

	getsockopt(multipath, SOL_SOCKET, SO_PROTOCOL, &protocol, &length);
	fprintf(out, "protocol %d ", protocol);
	tell_stream(out, multipath);
}

static int paths[2];
static int make_paths(void) { MUST(connected(262, &paths[0], &paths[1])); return 0; }
static void tell_paths(FILE *out) { tell_streams(out, paths); }

static int urgent[2];
static int make_urgent(void)
{
	MUST(connected(0, &urgent[0], &urgent[1]));
	MUST(send(urgent[0], "!", 1, MSG_OOB));
	usleep(20000);
	return 0;
}
static void tell_urgent(FILE *out) { tell_streams(out, urgent); }

static int oob[2];
static int make_oob(void)
{
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, oob));
	MUST(send(oob[1], "ab", 2, 0));
	MUST(send(oob[1], "!", 1, MSG_OOB));
	MUST(send(oob[1], "cd", 2, 0));
	return 0;
}
static void tell_oob(FILE *out)
{
	char byte = 0;

	fprintf(out, "%zd %c", recv(oob[0], &byte, 1, MSG_OOB | MSG_PEEK), byte);
}
static int oob_alone[2];
static int make_oob_alone(void)
{
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, oob_alone));
	MUST(send(oob_alone[1], "!", 1, MSG_OOB));
	return 0;
}
static void tell_oob_alone(FILE *out)
{
	char byte = 0;

	fprintf(out, "%zd %c", recv(oob_alone[0], &byte, 1, MSG_OOB | MSG_PEEK), byte);
}

/* Two sockets on one port that may not share it any more. */
static int shared[2];
static int make_shared(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int on = 1, off = 0;

	for (int index = 0; index < 2; index++) {
		MUST(shared[index] = socket(AF_INET, SOCK_DGRAM, 0));
		MUST(setsockopt(shared[index], SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
		MUST(bind(shared[index], (void *)&address, length));
		MUST(getsockname(shared[index], (void *)&address, &length));
	}
	MUST(setsockopt(shared[0], SOL_SOCKET, SO_REUSEADDR, &off, sizeof off));
	return 0;
}
static void tell_shared(FILE *out)
{
	for (int index = 0; index < 2; index++) {
		struct sockaddr_in address;
		socklen_t length = sizeof address, size = sizeof(int);
		int reuse = -1;

		getsockname(shared[index], (void *)&address, &length);
		getsockopt(shared[index], SOL_SOCKET, SO_REUSEADDR, &reuse, &size);
		fprintf(out, "%u %d ", ntohs(address.sin_port), reuse);
	}
}

/* A unix socket that is bound under one name and then renamed, as haproxy does. Names are in the program's directory. */
static int renamed = -1;
static struct sockaddr_un final_name = { .sun_family = AF_UNIX };
static int make_renamed(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	char directory[80];

	if (!getcwd(directory, sizeof directory))
		return errno;
	snprintf(name.sun_path, sizeof name.sun_path, "%s/renamed.tmp", directory);
	snprintf(final_name.sun_path, sizeof final_name.sun_path, "%s/renamed", directory);
	MUST(renamed = socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(bind(renamed, (void *)&name, sizeof name));
	MUST(listen(renamed, 5));
	MUST(rename(name.sun_path, final_name.sun_path));
	return 0;
}
static void tell_renamed(FILE *out)
{
	struct sockaddr_un name = { 0 };
	socklen_t length = sizeof name;
	int client = socket(AF_UNIX, SOCK_STREAM, 0);

	getsockname(renamed, (void *)&name, &length);
	fprintf(out, "%s", strrchr(name.sun_path, '/'));
	fprintf(out, " connect %d", connect(client, (void *)&final_name, sizeof final_name));
	fprintf(out, " accepted %d", close(accept(renamed, NULL, NULL)));
	close(client);
}

/* SIGIO for one thread. */
static int owned[2];
static int owner_error;
static void own(FILE *out)
{
	struct f_owner_ex owner = { F_OWNER_TID, gettid() };

	(void)out;
	owner_error = fcntl(owned[0], F_SETOWN_EX, &owner) < 0 ? errno : 0;
}
static int make_owner(void)
{
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, owned));
	on_thread(own, NULL);
	return owner_error;
}
static void tell_owner(FILE *out)
{
	struct f_owner_ex owner = { 99, 0 };

	fcntl(owned[0], F_GETOWN_EX, &owner);
	fprintf(out, "%d %d", owner.type, owner.pid - getpid());
}
static int make_stranger(void)
{
	struct f_owner_ex owner = { F_OWNER_PID, getppid() };

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, owned));
	MUST(fcntl(owned[0], F_SETOWN_EX, &owner));
	return 0;
}

/* SO_PEERCRED, with the ids of this program and its child as words. */
static pid_t child;
static void tell_peer(FILE *out, int fd)
{
	struct ucred peer = { -1, -1, -1 };
	socklen_t length = sizeof peer;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		fprintf(out, "%s", strerror(errno));
	else
		fprintf(out, "%s %d %d", peer.pid == getpid() ? "self" : peer.pid == child ? "child" : "other", peer.uid, peer.gid);
}
static int peers[2];
static int make_peers(void) { MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, peers)); return 0; }
static void tell_peers(FILE *out) { tell_peer(out, peers[0]); }

/* A child of another user and group connects, and stays. */
static int served = -1, serving = -1;
static int make_served(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t length = sizeof(sa_family_t) + 1 + snprintf(name.sun_path + 1, 90, "crimg-probe-%d", getpid());

	MUST(serving = socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(bind(serving, (void *)&name, length));
	MUST(listen(serving, 1));
	MUST(child = fork());
	if (child == 0) {
		int client = socket(AF_UNIX, SOCK_STREAM, 0);

		if (setgroups(0, NULL) || setresgid(4711, 4711, 4711) || setresuid(1234, 1234, 1234))
			_exit(1);
		connect(client, (void *)&name, length);
		for (;;)
			pause();
	}
	MUST(served = accept(serving, NULL, NULL));
	return 0;
}
/* The process that SO_PEERPIDFD gives. */
static int handled[2];
static int make_handle(void)
{
	int fd = -1;
	socklen_t length = sizeof fd;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, handled));
	MUST(getsockopt(handled[0], SOL_SOCKET, 77, &fd, &length));
	close(fd);
	return 0;
}
static void tell_handle(FILE *out)
{
	int fd = -1;
	socklen_t length = sizeof fd;

	if (getsockopt(handled[0], SOL_SOCKET, 77, &fd, &length) < 0)
		fprintf(out, "%s", strerror(errno));
	else
		fprintf(out, "%s", syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) < 0 ? "gone" : "alive");
	close(fd);
}

/* A datagram of this program's that waits, with credentials; looked at without taking it. */
static int letters[2];
static int make_letter(void)
{
	int on = 1;

	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, letters));
	MUST(setsockopt(letters[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	MUST(send(letters[1], "letter", 6, 0));
	return 0;
}
static void tell_letter(FILE *out)
{
	char data[16], control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec part = { data, sizeof data };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	ssize_t length = recvmsg(letters[0], &message, MSG_PEEK | MSG_DONTWAIT);
	struct cmsghdr *header = length < 0 ? NULL : CMSG_FIRSTHDR(&message);
	struct ucred *sender = header ? (void *)CMSG_DATA(header) : NULL;

	fprintf(out, "%zd bytes of ", length);
	if (sender)
		fprintf(out, "%s %d %d", sender->pid == getpid() ? "self" : "other", sender->uid, sender->gid);
	else
		fprintf(out, "nobody");
}
static void tell_served(FILE *out) { tell_peer(out, served); }
static void tell_serving(FILE *out) { tell_peer(out, serving); }
static void tell_both(FILE *out)
{
	tell_served(out);
	fprintf(out, ", listening ");
	tell_serving(out);
}

struct busy { uint32_t microseconds; uint16_t budget; uint8_t prefer, padding; };
static int busy = -1;
static int make_busy(void)
{
	struct busy parameters = { 77, 16, 1, 0 };

	MUST(busy = epoll_create1(0));
	MUST(ioctl(busy, _IOW(0x8A, 1, struct busy), &parameters));
	return 0;
}
static void tell_busy(FILE *out)
{
	struct busy parameters = { 0 };

	ioctl(busy, _IOR(0x8A, 2, struct busy), &parameters);
	fprintf(out, "%u %u %u", parameters.microseconds, parameters.budget, parameters.prefer);
}

static int secret = -1;
static int make_secret(void) { MUST(secret = syscall(447, 0)); return ftruncate(secret, 4096) ? errno : 0; }
static void tell_descriptor(FILE *out, int fd) { fprintf(out, "%s", fcntl(fd, F_GETFL) < 0 ? "gone" : "there"); }
static void tell_secret(FILE *out) { tell_descriptor(out, secret); }
static char *secret_memory;
static int make_secret_memory(void)
{
	int fd;

	MUST(fd = syscall(447, 0));
	MUST(ftruncate(fd, 4096));
	secret_memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (secret_memory == MAP_FAILED)
		return errno;
	*secret_memory = 'x';
	return 0;
}
static void tell_secret_memory(FILE *out) { fprintf(out, "%c", *secret_memory); }

/* What waits is read, told, and sent again, so that it waits at the next dump too. */
static void tell_datagrams_of(FILE *out, int fd)
{
	static char data[65536], control[256];
	struct sockaddr_in6 from;
	struct iovec piece = { data, sizeof data };

	for (;;) {
		struct msghdr message = { &from, sizeof from, &piece, 1, control, sizeof control, 0 };
		ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT);
		struct cmsghdr *one = length < 0 ? NULL : CMSG_FIRSTHDR(&message);
		char text[64] = "";

		if (length < 0)
			return;
		inet_ntop(from.sin6_family, from.sin6_family == AF_INET ? (void *)&((struct sockaddr_in *)&from)->sin_addr : (void *)&from.sin6_addr,
			text, sizeof text);
		fprintf(out, "%zd:%.3s from %s:%d", length, length ? data : "", text, ntohs(from.sin6_port));
		if (one && one->cmsg_level == IPPROTO_IP)
			fprintf(out, " to %s", inet_ntoa(((struct sockaddr_in *)CMSG_DATA(one))->sin_addr));
		fprintf(out, "; ");
	}
}

/* To a port that it has asked for: any other is gone with the first AF_UNSPEC. */
static int bound(int family, const char *address)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct sockaddr_in four = { .sin_family = AF_INET };
	void *name = family == AF_INET ? (void *)&four : (void *)&six;
	socklen_t size = family == AF_INET ? sizeof four : sizeof six;
	int fd = -1;

	inet_pton(family, address, family == AF_INET ? (void *)&four.sin_addr : (void *)&six.sin6_addr);
	for (int round = 0; round < 2; round++) {
		close(fd);
		fd = socket(family, SOCK_DGRAM, 0);
		if (fd < 0 || bind(fd, name, size) || getsockname(fd, name, &size))
			return -1;
	}
	return fd;
}

static void send_to(int from, int to, int family, const char *address, const char *data, size_t length)
{
	struct sockaddr_in6 name;
	socklen_t size = sizeof name;

	getsockname(to, (void *)&name, &size);
	if (family == AF_INET) {
		struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = name.sin6_port };

		inet_pton(AF_INET, address, &four.sin_addr);
		sendto(from, data, length, 0, (void *)&four, sizeof four);
		return;
	}
	name.sin6_family = AF_INET6;
	inet_pton(AF_INET6, address, &name.sin6_addr);
	sendto(from, data, length, 0, (void *)&name, sizeof name);
}

static int receiver = -1, senders[2];
static char much[9000] = "much";
static void fill_datagrams(void)
{
	send_to(senders[0], receiver, AF_INET, "127.0.0.1", "one", 3);
	send_to(senders[1], receiver, AF_INET, "127.0.0.9", "", 0);
	send_to(senders[0], receiver, AF_INET, "127.0.0.3", much, sizeof much);
	send_to(senders[1], receiver, AF_INET, "127.0.0.1", "odd", 3);
}
static int make_datagrams(void)
{
	int on = 1;

	MUST(receiver = bound(AF_INET, "0.0.0.0"));
	MUST(senders[0] = bound(AF_INET, "127.0.0.1"));
	MUST(senders[1] = bound(AF_INET, "127.0.0.2"));
	MUST(setsockopt(receiver, IPPROTO_IP, IP_RECVORIGDSTADDR, &on, sizeof on));
	fill_datagrams();
	return 0;
}
static void tell_datagrams(FILE *out) { tell_datagrams_of(out, receiver); fill_datagrams(); }

static int receiver6 = -1, senders6[2];
static void fill_datagrams6(void)
{
	struct sockaddr_in6 name;
	socklen_t size = sizeof name;

	connect(receiver6, (struct sockaddr *)&(struct sockaddr_in6){ .sin6_family = AF_UNSPEC }, sizeof name);
	send_to(senders6[0], receiver6, AF_INET6, "::1", "six", 3);
	send_to(senders6[1], receiver6, AF_INET, "127.0.0.1", "four", 4);
	getsockname(senders6[0], (void *)&name, &size);
	connect(receiver6, (void *)&name, sizeof name);
	send_to(senders6[0], receiver6, AF_INET6, "::1", "again", 5);
}
static int make_datagrams6(void)
{
	MUST(receiver6 = bound(AF_INET6, "::"));
	MUST(senders6[0] = bound(AF_INET6, "::1"));
	MUST(senders6[1] = bound(AF_INET, "127.0.0.1"));
	fill_datagrams6();
	return 0;
}
static void tell_datagrams6(FILE *out) { tell_datagrams_of(out, receiver6); fill_datagrams6(); }

/* The console under a name of its own: where it was, and its modes. */
static int console = -1;
static int make_console(void)
{
	mknod("console", S_IFCHR | 0600, makedev(5, 1));
	MUST(console = open("console", O_RDONLY | O_NOCTTY | O_NONBLOCK));
	return 0;
}
static void tell_console(FILE *out)
{
	struct termios modes;
	struct stat is;

	tell_descriptor(out, console);
	fstat(console, &is);
	fprintf(out, " %d:%d", major(is.st_rdev), minor(is.st_rdev));
	if (tcgetattr(console, &modes) == 0)
		fprintf(out, " %x %x", modes.c_lflag, modes.c_iflag);
}

static int queue = -1;
static int make_queue(void)
{
	char name[32];

	snprintf(name, sizeof name, "/crimg-probe-%d", getpid());
	MUST(queue = mq_open(name, O_RDWR | O_CREAT, 0600, NULL));
	mq_unlink(name);
	return 0;
}
static void tell_queue(FILE *out) { tell_descriptor(out, queue); }

static int tree = -1;
static int make_tree(void) { MUST(tree = syscall(428, AT_FDCWD, "/tmp", 1 | O_CLOEXEC)); return 0; }
static void tell_tree(FILE *out) { tell_descriptor(out, tree); }

PROBES({ "multicast4", make_multicast4, tell_multicast4 }, { "sources4", make_sources4, tell_sources4 },
       { "multicast6", make_multicast6, tell_multicast6 }, { "netlink", make_netlink, tell_netlink },
       { "raw", make_raw, tell_raw }, { "closed", make_closed, tell_closed }, { "oob", make_oob, tell_oob },
       { "oob-alone", make_oob_alone, tell_oob_alone }, { "shared", make_shared, tell_shared },
       { "renamed", make_renamed, tell_renamed }, { "owner", make_owner, tell_owner },
       { "handle", make_handle, tell_handle }, { "letter", make_letter, tell_letter },
       { "peers", make_peers, tell_peers }, { "served", make_served, tell_both },
       { "stranger", make_stranger, tell_owner }, { "busy", make_busy, tell_busy }, { "secret", make_secret, tell_secret },
       { "secret-memory", make_secret_memory, tell_secret_memory }, { "queue", make_queue, tell_queue },
       { "datagrams", make_datagrams, tell_datagrams }, { "datagrams6", make_datagrams6, tell_datagrams6 },
       { "console", make_console, tell_console },
       { "tree", make_tree, tell_tree }, { "tcp", make_stream, tell_both_streams }, { "half", make_half, tell_half },
       { "unread", make_unread, tell_unread }, { "unaccepted", make_unaccepted, tell_unaccepted },
       { "eager", make_eager, tell_unaccepted }, { "mptcp", make_multipath, tell_multipath },
       { "multipath", make_paths, tell_paths }, { "urgent", make_urgent, tell_urgent })
