/*
 * A Socket.IO v4 load generator over raw WebSocket connections: one thread, epoll, Linux.
 *
 *     gcc -O2 -Wall -Wextra -o sioload sioload.c
 *     ./sioload PORT CONNECTIONS echo      WINDOW SECONDS PAYLOAD_BYTES
 *     ./sioload PORT CONNECTIONS broadcast WINDOW SECONDS PAYLOAD_BYTES
 *     ./sioload PORT CONNECTIONS idle      1      SECONDS 8
 *     ./sioload PORT CONNECTIONS deflate   1      SECONDS 8
 *
 * echo:       every connection keeps WINDOW acknowledged events "echo" in flight.
 * broadcast:  connection 0 keeps WINDOW events "broadcast" in flight; each is done when every connection got its "msg".
 * idle:       connect, hold for SECONDS, answer pings.
 * deflate:    connect as browsers do, with permessage-deflate if the server agrees; hold for SECONDS, less than a ping interval.
 *
 * Prints "ready" once all are connected, "measuring" and "measured" around what is counted, pings too, and one line of JSON at
 * the end. It does as little as it can per message, so that the server is the bottleneck: pin the two to different cores.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 1024
#define READ_SIZE 65536
#define MAX_HEADER 14        /* a masked frame with a 64-bit length */
#define MAX_OVERHEAD 64      /* what the packet adds to the payload */
#define HANDSHAKES_AT_ONCE 64
#define CONNECTIONS_PER_ADDRESS 20000
#define BROADCASTS 65536     /* a power of two, more than could be in flight */
#define WARM_UP 0.5
#define STALL_MS 20000

enum mode { ECHO = 'e', BROADCAST = 'b', IDLE = 'i', DEFLATE = 'd' };
enum state { UPGRADING, OPENING, CONNECTING, READY };
enum opcode { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, DEFLATED_TEXT = 0x41 };

struct connection {
    int fd;
    enum state state;
    bool deflates;
    unsigned char *buffer;
    size_t length, capacity;
    double *sent_at; /* a ring of WINDOW time stamps */
    long sent, acked, received;
};

#define HEAD \
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
static const char REQUEST[] = HEAD "\r\n";
static const char DEFLATE_REQUEST[] = HEAD "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
static const char DEFLATED_CONNECT[] = {0x32, 0x31, 0x00}; /* "40" */

static enum mode mode;
static int count, window, payload_length;
static char *payload, *packet;
static struct connection *connections;
static int ready;
static long acks, deliveries, pings;
static bool stopping;

static double *latencies;
static long latency_count, latency_capacity;

static double broadcast_sent_at[BROADCASTS];
static int broadcast_received[BROADCASTS];
static long broadcasts;

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static void refuse(const char *what, const unsigned char *data, size_t length) {
    fprintf(stderr, "%s: %.*s\n", what, (int)length, (const char *)data);
    exit(2);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void *allocate(void *old, size_t size) {
    void *memory = realloc(old, size);
    if (!memory) fail("realloc");
    return memory;
}

static void record_latency(double seconds) {
    if (latency_count == latency_capacity) {
        latency_capacity = latency_capacity ? latency_capacity * 2 : 1 << 16;
        latencies = allocate(latencies, latency_capacity * sizeof *latencies);
    }
    latencies[latency_count++] = seconds;
}

static void send_all(int fd, const void *data, size_t length) {
    for (const char *p = data; length;) {
        ssize_t n = send(fd, p, length, MSG_NOSIGNAL);
        if (n < 0) fail("send");
        p += n;
        length -= n;
    }
}

/* Write one frame to `out`; the masking key is zero, so that the payload is copied as it is. */
static size_t write_frame(unsigned char *out, enum opcode opcode, const void *data, size_t length) {
    size_t n = 0;
    out[n++] = 0x80 | opcode;
    if (length < 126) {
        out[n++] = 0x80 | length;
    } else if (length < 65536) {
        out[n++] = 0x80 | 126;
        out[n++] = length >> 8;
        out[n++] = length;
    } else {
        out[n++] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8) out[n++] = (uint64_t)length >> shift;
    }
    memset(out + n, 0, 4);
    memcpy(out + n + 4, data, length);
    return n + 4 + length;
}

static void send_frame(int fd, enum opcode opcode, const void *data, size_t length) {
    static unsigned char *out;
    static size_t capacity;
    if (capacity < length + MAX_HEADER) {
        capacity = length + MAX_HEADER;
        out = allocate(out, capacity);
    }
    send_all(fd, out, write_frame(out, opcode, data, length));
}

/* `times` events in one write, as a client does that emits in a loop. */
static void send_echoes(struct connection *c, int times) {
    static unsigned char *out;
    if (!out) out = allocate(NULL, (size_t)(payload_length + MAX_OVERHEAD + MAX_HEADER) * window);
    size_t n = 0;
    double time = now();
    for (int i = 0; i < times; i++) {
        int length = sprintf(packet, "42%ld[\"echo\",\"%s\"]", c->sent, payload);
        c->sent_at[c->sent++ % window] = time;
        n += write_frame(out + n, TEXT, packet, length);
    }
    send_all(c->fd, out, n);
}

static void send_broadcast(void) {
    int length = sprintf(packet, "42[\"broadcast\",\"%s\"]", payload);
    broadcast_sent_at[broadcasts++ % BROADCASTS] = now();
    send_frame(connections[0].fd, TEXT, packet, length);
}

static void count_delivery(struct connection *c) {
    long index = c->received++ % BROADCASTS;
    deliveries++;
    if (++broadcast_received[index] < count) return;
    broadcast_received[index] = 0;
    record_latency(now() - broadcast_sent_at[index]);
    if (!stopping) send_broadcast();
}

/* Handle one Engine.IO packet; return how many echoes it completed. */
static int handle_packet(struct connection *c, const unsigned char *data, size_t length) {
    if (length == 1 && data[0] == '2') {
        send_frame(c->fd, TEXT, "3", 1);
        pings++;
        return 0;
    }
    switch (c->state) {
    case OPENING:
        if (!c->deflates && (length < 1 || data[0] != '0')) refuse("not an open packet", data, length);
        c->state = CONNECTING;
        if (c->deflates)
            send_frame(c->fd, DEFLATED_TEXT, DEFLATED_CONNECT, sizeof DEFLATED_CONNECT);
        else
            send_frame(c->fd, TEXT, "40", 2);
        return 0;
    case CONNECTING:
        if (!c->deflates && (length < 2 || memcmp(data, "40", 2))) refuse("not connected", data, length);
        c->state = READY;
        ready++;
        return 0;
    default:
        break;
    }
    if (length >= 2 && !memcmp(data, "43", 2)) {
        acks++;
        record_latency(now() - c->sent_at[c->acked++ % window]);
        return 1;
    }
    if (mode == BROADCAST && length >= 2 && !memcmp(data, "42", 2)) count_delivery(c);
    return 0;
}

/* Length of the frame's header, with the payload's length in `*length`; 0: not all of it is here. */
static size_t read_header(const unsigned char *data, size_t available, size_t *length) {
    if (available < 2) return 0;
    size_t extra = (data[1] & 127) == 126 ? 2 : (data[1] & 127) == 127 ? 8 : 0;
    if (available < 2 + extra) return 0;
    *length = extra ? 0 : data[1] & 127;
    for (size_t i = 0; i < extra; i++) *length = *length << 8 | data[2 + i];
    return 2 + extra;
}

static void receive(struct connection *c) {
    for (;;) {
        if (c->capacity - c->length < READ_SIZE) {
            c->capacity = c->length + 2 * READ_SIZE;
            c->buffer = allocate(c->buffer, c->capacity);
        }
        ssize_t n = recv(c->fd, c->buffer + c->length, READ_SIZE, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) fail("recv");
        if (n == 0) refuse("the server closed a connection", c->buffer, 0);
        c->length += n;
        if (n < READ_SIZE) break;
    }
}

static void feed(struct connection *c) {
    receive(c);
    size_t offset = 0;
    int completed = 0;
    if (c->state == UPGRADING) {
        unsigned char *end = memmem(c->buffer, c->length, "\r\n\r\n", 4);
        if (!end) return;
        if (!memmem(c->buffer, end - c->buffer, " 101 ", 5)) refuse("no upgrade", c->buffer, c->length);
        offset = end + 4 - c->buffer;
        c->deflates = memmem(c->buffer, offset, "permessage-deflate", 18);
        c->state = OPENING;
    }
    for (;;) {
        unsigned char *frame = c->buffer + offset;
        size_t length, header = read_header(frame, c->length - offset, &length);
        if (!header || c->length - offset < header + length) break;
        enum opcode opcode = frame[0] & 15;
        if (opcode == CLOSE) refuse("close frame", frame + header, length);
        if (opcode == PING) send_frame(c->fd, PONG, frame + header, length);
        if (opcode == TEXT || opcode == BINARY) completed += handle_packet(c, frame + header, length);
        offset += header + length;
    }
    c->length -= offset;
    memmove(c->buffer, c->buffer + offset, c->length);
    if (completed && mode == ECHO && !stopping) send_echoes(c, completed);
    if ((mode == IDLE || mode == DEFLATE) && c->state == READY && !c->length) {
        free(c->buffer);
        c->buffer = NULL;
        c->capacity = 0;
    }
}

static int poll_all(int epoll, int timeout_ms) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, timeout_ms);
    if (n < 0) fail("epoll_wait");
    for (int i = 0; i < n; i++) feed(events[i].data.ptr);
    return n;
}

/* Connect everybody; return how long that took. */
static double connect_all(int epoll, int port) {
    double start = now();
    for (int i = 0; i < count; i++) {
        struct connection *c = connections + i;
        /* One address has too few ports for tens of thousands of connections; 127.0.0.2 and on are loopback, too. */
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i / CONNECTIONS_PER_ADDRESS);
        c->sent_at = calloc(window, sizeof *c->sent_at);
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (c->fd < 0) fail("socket");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
        if (mode == DEFLATE)
            send_all(c->fd, DEFLATE_REQUEST, sizeof DEFLATE_REQUEST - 1);
        else
            send_all(c->fd, REQUEST, sizeof REQUEST - 1);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll_ctl");
        while (i + 1 - ready > HANDSHAKES_AT_ONCE || (i == count - 1 && ready < count)) {
            if (!poll_all(epoll, STALL_MS)) {
                fprintf(stderr, "stalled with %d of %d connected\n", ready, count);
                exit(2);
            }
        }
    }
    return now() - start;
}

static void say(const char *what) {
    puts(what);
    fflush(stdout);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(int percent) {
    return latency_count ? latencies[latency_count * percent / 100] * 1e3 : 0;
}

int main(int argc, char **argv) {
    if (argc != 7 || !strchr("ebid", argv[3][0])) {
        fprintf(stderr, "usage: sioload PORT CONNECTIONS echo|broadcast|idle|deflate WINDOW SECONDS PAYLOAD_BYTES\n");
        return 1;
    }
    int port = atoi(argv[1]);
    count = atoi(argv[2]);
    mode = argv[3][0];
    window = atoi(argv[4]);
    double seconds = atof(argv[5]);
    payload_length = atoi(argv[6]);
    if (count < 1 || window < 1 || payload_length < 0) return 1;

    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    payload = allocate(NULL, payload_length + 1);
    memset(payload, 'x', payload_length);
    payload[payload_length] = 0;
    packet = allocate(NULL, payload_length + MAX_OVERHEAD);
    connections = calloc(count, sizeof *connections);
    int epoll = epoll_create1(0);

    double connecting = connect_all(epoll, port);
    say("ready");

    if (mode == ECHO)
        for (int i = 0; i < count; i++) send_echoes(connections + i, window);
    if (mode == BROADCAST)
        for (int i = 0; i < window; i++) send_broadcast();

    double start = now();
    for (double warm = start + (mode == ECHO || mode == BROADCAST ? WARM_UP : 0); now() < warm;) poll_all(epoll, 200);
    say("measuring");
    acks = deliveries = pings = latency_count = 0;
    start = now();
    while (now() - start < seconds) poll_all(epoll, 200);
    double elapsed = now() - start;
    long messages = mode == ECHO ? acks : deliveries;
    stopping = true;
    say("measured");

    qsort(latencies, latency_count, sizeof *latencies, compare);
    printf("{\"mode\": \"%s\", \"connections\": %d, \"window\": %d, \"payload\": %d, \"connects_per_s\": %.0f, "
           "\"messages\": %ld, \"per_s\": %.0f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"pings\": %ld}\n",
           argv[3], count, window, payload_length, count / connecting,
           messages, messages / elapsed, percentile(50), percentile(99), pings);
    return 0;
}
