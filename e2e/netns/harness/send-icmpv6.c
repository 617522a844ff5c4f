/*
 * Sends one ICMPv6 message as it is: send-icmpv6 IFNAME DESTINATION HEX
 *
 * The kernel fills in the checksum (RFC 3542, section 3.1). The hop limit is 255, without which no host would look at a
 * neighbour discovery message (RFC 4861, section 6.1.2).
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: send-icmpv6 IFNAME DESTINATION HEX\n");
		return 2;
	}
	unsigned char message[1024];
	size_t length = strlen(argv[3]) / 2;
	if (length > sizeof message) {
		fprintf(stderr, "send-icmpv6: the message has more than %zu bytes\n", sizeof message);
		return 2;
	}
	for (size_t i = 0; i < length; i++) {
		if (sscanf(argv[3] + 2 * i, "%2hhx", &message[i]) != 1) {
			fprintf(stderr, "send-icmpv6: the message is not hexadecimal\n");
			return 2;
		}
	}
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_scope_id = if_nametoindex(argv[1]) };
	if (to.sin6_scope_id == 0)
		return fail(argv[1]);
	if (inet_pton(AF_INET6, argv[2], &to.sin6_addr) != 1) {
		fprintf(stderr, "send-icmpv6: %s is no IPv6 address\n", argv[2]);
		return 2;
	}
	int fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	if (fd < 0)
		return fail("socket");
	int hops = 255;
	int index = (int)to.sin6_scope_id;
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) < 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &hops, sizeof hops) < 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index) < 0)
		return fail("setsockopt");
	if (sendto(fd, message, length, 0, (struct sockaddr *)&to, sizeof to) != (ssize_t)length)
		return fail("sendto");
	return 0;
}
