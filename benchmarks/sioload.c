/*
 * A Socket.IO v4 load generator over raw connections: one thread, epoll, Linux.
 *
 *     gcc -O2 -Wall -Wextra -o sioload sioload.c load/wire.c load/polling.c -ldl
 *     ./sioload [OPTIONS] PORT[,PORT...] CONNECTIONS MODE WINDOW SECONDS PAYLOAD_BYTES
 *
 * Modes:
 *   echo       every connection keeps WINDOW acknowledged events "echo" in flight.
 *   typed      the same with an event whose argument is an object.
 *   polling    as echo with a WINDOW of 1, over long polling: a POST, then a GET that brings the answer.
 *   broadcast  connection 0 keeps WINDOW events "broadcast" in flight; each is done when every connection got its "msg".
 *   room       the same with an event "shout", in a room that all have joined.
 *   mixed      as broadcast; meanwhile connections 1 to 50 send --rate echoes a second, whose latency is told. A WINDOW of 0: no broadcasts.
 *   idle       connect, hold for SECONDS, answer pings.
 *   deflate    connect as browsers do, with permessage-deflate if the server agrees; hold for SECONDS, less than a ping interval.
 *   leave      join ten rooms each; then WINDOW connections are closed, one after the other.
 *
 * Options:
 *   --rate N      echoes, or broadcasts, are sent N times a second, whenever answers come; latencies count from when one was due.
 *   --each        broadcasts: the latency of each delivery counts, not only of the last of each broadcast.
 *   --binary      broadcasts carry an attachment.
 *   --tls         wss://, https://; certificates are not looked at.
 *   --warm-up S   how long the load runs before it is measured.
 *
 * Prints "ready" once all are connected, "measuring" and "measured" around what is counted, pings too, and one line of JSON at
 * the end. It does as little as it can per message, so that the server is the bottleneck: pin the two to different cores.
 */
#include "load/load.h"

#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define EVENTS 1024
#define EVENTS_BETWEEN_ECHOES 64 /* mixed: after so many an echo gets its turn */
#define MAX_OVERHEAD 256         /* what the packet adds to the payload */
#define HANDSHAKES_AT_ONCE 64
#define PORTS 16
#define BROADCASTS 65536 /* a power of two, more than could be in flight */
#define MIXED_ECHOERS 50
#define MIXED_WINDOW 64 /* of each of them */
#define STALL_MS 20000
#define ROOMS 10
#define PAUSE_BETWEEN_LEAVING 0.002
#define QUIET 0.5

enum mode mode;
static int ports[PORTS], port_count;
static int count, window, payload_length;
static double rate, warm_up = 0.5;
static bool each, binary, encrypted;
static char *payload, *body; /* `body`: the event and its argument as JSON, without brackets */
static struct connection *connections;
int ready;
static long acks, deliveries, pings;
static bool stopping;
static int main_epoll, echo_epoll;

static double *latencies;
static long latency_count, latency_capacity;

static double broadcast_sent_at[BROADCASTS];
static int broadcast_received[BROADCASTS];
static long broadcasts, completed_broadcasts;
static double due; /* when the next is to be sent, with --rate */
static long paced;

#define HEAD \
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
static const char REQUEST[] = HEAD "\r\n";
static const char DEFLATE_REQUEST[] = HEAD "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
static const char DEFLATED_CONNECT[] = {0x32, 0x31, 0x00}; /* "40" */

static bool echoes(void) { return mode == ECHO || mode == TYPED || mode == POLLING; }
static bool broadcasts_things(void) { return mode == BROADCAST || mode == ROOM || mode == MIXED; }

static void record_latency(double seconds) {
    if (latency_count == latency_capacity) {
        latency_capacity = latency_capacity ? latency_capacity * 2 : 1 << 16;
        latencies = allocate(latencies, latency_capacity * sizeof *latencies);
    }
    latencies[latency_count++] = seconds;
}

/* `times` events in one write, as a client does that emits in a loop. */
static void send_echoes(struct connection *c, int times, double time) {
    static unsigned char *out;
    static char *packet;
    if (!out) {
        packet = allocate(NULL, payload_length + MAX_OVERHEAD);
        out = allocate(NULL, (size_t)(payload_length + MAX_OVERHEAD + MAX_HEADER) * (window ? window : 1));
    }
    size_t n = 0;
    for (int i = 0; i < times; i++) {
        int length = sprintf(packet, "42%ld[%s]", c->sent, body);
        c->sent_at[c->sent++ % c->ring] = time;
        if (mode == POLLING) {
            post(c, packet, length);
            return;
        }
        n += write_frame(out + n, TEXT, packet, length);
    }
    send_all(&c->wire, out, n);
}

static void send_broadcast(double time) {
    static char *packet;
    if (!packet) packet = allocate(NULL, payload_length + MAX_OVERHEAD);
    const char *event = mode == ROOM ? "shout" : "broadcast";
    int length = binary ? sprintf(packet, "451-[\"%s\",{\"_placeholder\":true,\"num\":0}]", event)
                        : sprintf(packet, "42[\"%s\",\"%s\"]", event, payload);
    broadcast_sent_at[broadcasts++ % BROADCASTS] = time;
    send_frame(&connections[0].wire, TEXT, packet, length);
    if (binary) send_frame(&connections[0].wire, BINARY, payload, payload_length);
}

static void count_delivery(struct connection *c) {
    long index = c->received++ % BROADCASTS;
    deliveries++;
    if (each) record_latency(now() - broadcast_sent_at[index]);
    if (++broadcast_received[index] < count) return;
    broadcast_received[index] = 0;
    completed_broadcasts++;
    if (!each && mode != MIXED) record_latency(now() - broadcast_sent_at[index]);
    if (!stopping && (!rate || mode == MIXED)) send_broadcast(now());
}

void count_ack(struct connection *c) {
    acks++;
    record_latency(now() - c->sent_at[c->acked++ % c->ring]);
}

static void join(struct connection *c) {
    char packet[512];
    int n = sprintf(packet, "420[\"join\",[");
    int index = (int)(c - connections);
    if (mode == ROOM) n += sprintf(packet + n, "\"lobby\"");
    for (int i = 0; mode == LEAVE && i < ROOMS; i++)
        n += i % 2 ? sprintf(packet + n, "%s\"all-%d\"", i ? "," : "", i) : sprintf(packet + n, "%s\"ten-%d-%d\"", i ? "," : "", i, index / 10);
    n += sprintf(packet + n, "]]");
    send_frame(&c->wire, TEXT, packet, n);
}

/* Handle one Engine.IO packet; return how many echoes it completed. */
static int handle_packet(struct connection *c, const unsigned char *data, size_t length) {
    if (length == 1 && data[0] == '2') {
        send_frame(&c->wire, TEXT, "3", 1);
        pings++;
        return 0;
    }
    switch (c->state) {
    case OPENING:
        if (!c->deflates && (length < 1 || data[0] != '0')) refuse("not an open packet", data, length);
        c->state = CONNECTING;
        if (c->deflates)
            send_frame(&c->wire, DEFLATED_TEXT, DEFLATED_CONNECT, sizeof DEFLATED_CONNECT);
        else
            send_frame(&c->wire, TEXT, "40", 2);
        return 0;
    case CONNECTING:
        if (!c->deflates && (length < 2 || memcmp(data, "40", 2))) refuse("not connected", data, length);
        if (mode == ROOM || mode == LEAVE) {
            c->state = JOINING;
            join(c);
            return 0;
        }
        c->state = READY;
        ready++;
        return 0;
    case JOINING:
        if (length < 2 || memcmp(data, "43", 2)) refuse("not joined", data, length);
        c->state = READY;
        ready++;
        return 0;
    default:
        break;
    }
    if (length >= 2 && !memcmp(data, "43", 2)) {
        count_ack(c);
        return 1;
    }
    if (broadcasts_things() && length >= 2 && !memcmp(data, "42", 2)) count_delivery(c);
    return 0;
}

static int feed_frames(struct connection *c) {
    struct wire *wire = &c->wire;
    size_t offset = 0;
    int completed = 0;
    if (c->state == UPGRADING) {
        unsigned char *end = memmem(wire->buffer, wire->length, "\r\n\r\n", 4);
        if (!end) return 0;
        if (!memmem(wire->buffer, end - wire->buffer, " 101 ", 5)) refuse("no upgrade", wire->buffer, wire->length);
        offset = end + 4 - wire->buffer;
        c->deflates = memmem(wire->buffer, offset, "permessage-deflate", 18);
        c->state = OPENING;
    }
    for (;;) {
        unsigned char *frame = wire->buffer + offset;
        size_t length, header = read_header(frame, wire->length - offset, &length);
        if (!header || wire->length - offset < header + length) break;
        enum opcode opcode = frame[0] & 15;
        if (opcode == CLOSE) refuse("close frame", frame + header, length);
        if (opcode == PING) send_frame(wire, PONG, frame + header, length);
        if (opcode == TEXT) completed += handle_packet(c, frame + header, length);
        if (opcode == BINARY) count_delivery(c);
        offset += header + length;
    }
    consume(wire, offset);
    return completed;
}

static void feed(struct connection *c) {
    receive(&c->wire);
    int completed = mode == POLLING ? feed_responses(c) : feed_frames(c);
    if (completed && echoes() && !stopping && !rate) send_echoes(c, completed, now());
    if (c->state == READY && (mode == IDLE || mode == DEFLATE || mode == LEAVE)) give_back(&c->wire);
}

/* With --rate: send what is due. Who has WINDOW in flight makes everybody wait, and the clock goes on. */
static void pace(void) {
    double time;
    while (rate && !stopping && due <= (time = now())) {
        if (broadcasts_things() && mode != MIXED) {
            send_broadcast(due);
        } else {
            int echoers = mode == MIXED ? (count - 1 < MIXED_ECHOERS ? count - 1 : MIXED_ECHOERS) : count;
            struct connection *c = connections + (mode == MIXED) + paced % echoers;
            if (c->sent - c->acked >= c->ring) return;
            send_echoes(c, 1, due);
        }
        paced++;
        due += 1 / rate;
    }
}

static int poll_epoll(int epoll, int most, int timeout_ms) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, most, timeout_ms);
    if (n < 0) fail("epoll_wait");
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr) feed(events[i].data.ptr);
    return n;
}

static int poll_all(int timeout_ms) {
    if (mode != MIXED) return poll_epoll(main_epoll, EVENTS, timeout_ms);
    int n = poll_epoll(main_epoll, EVENTS_BETWEEN_ECHOES, timeout_ms);
    return n + poll_epoll(echo_epoll, EVENTS, 0);
}

/* Poll until something happens or something is due. */
static void turn(void) {
    if (!rate || stopping) {
        poll_all(200);
        return;
    }
    pace();
    double wait = due - now();
    if (wait < 0) wait = 0.0001;
    if (wait > 0.2) wait = 0.2;
    struct pollfd any = {main_epoll, POLLIN, 0};
    if (ppoll(&any, 1, &(struct timespec){0, (long)(wait * 1e9)}, NULL) > 0) poll_all(0);
}

static void run_for(double seconds) {
    for (double end = now() + seconds; now() < end;) turn();
}

static void start_connection(int index) {
    struct connection *c = connections + index;
    c->ring = mode == MIXED ? MIXED_WINDOW : window;
    c->sent_at = calloc(c->ring, sizeof *c->sent_at);
    open_wire(&c->wire, index, ports[index % port_count]);
    if (mode == POLLING)
        get(c);
    else if (mode == DEFLATE)
        send_all(&c->wire, DEFLATE_REQUEST, sizeof DEFLATE_REQUEST - 1);
    else
        send_all(&c->wire, REQUEST, sizeof REQUEST - 1);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int epoll = mode == MIXED && 1 <= index && index <= MIXED_ECHOERS ? echo_epoll : main_epoll;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->wire.fd, &event)) fail("epoll_ctl");
}

/* Connect everybody; return how long that took. */
static double connect_all(void) {
    double start = now();
    for (int i = 0; i < count; i++) {
        start_connection(i);
        while (i + 1 - ready > HANDSHAKES_AT_ONCE || (i == count - 1 && ready < count)) {
            if (!poll_all(STALL_MS)) {
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

static void leave(void) {
    for (double quiet = now() + QUIET; now() < quiet;) poll_all(50);
    say("measuring");
    for (int i = 0; i < window && i < count; i++) {
        close_wire(&connections[count - 1 - i].wire);
        usleep(PAUSE_BETWEEN_LEAVING * 1e6);
        poll_all(0);
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(int percent) {
    return latency_count ? latencies[latency_count * percent / 100] * 1e3 : 0;
}

static void read_options(int argc, char **argv) {
    static const struct option options[] = {{"rate", 1, 0, 'r'},   {"warm-up", 1, 0, 'w'}, {"each", 0, 0, 'e'},
                                            {"binary", 0, 0, 'b'}, {"tls", 0, 0, 't'},     {0, 0, 0, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'r') rate = atof(optarg);
        else if (option == 'w') warm_up = atof(optarg);
        else if (option == 'e') each = true;
        else if (option == 'b') binary = true;
        else if (option == 't') encrypted = true;
        else exit(1);
    }
}

static const char *const MODES[] = {"echo", "typed", "polling", "broadcast", "room", "mixed", "idle", "deflate", "leave"};

static bool read_arguments(char **argv) {
    for (char *port = strtok(argv[0], ","); port && port_count < PORTS; port = strtok(NULL, ",")) ports[port_count++] = atoi(port);
    count = atoi(argv[1]);
    for (mode = ECHO; mode <= LEAVE && strcmp(argv[2], MODES[mode]);) mode++;
    window = atoi(argv[3]);
    payload_length = atoi(argv[5]);
    return port_count && count > 0 && mode <= LEAVE && window >= (mode == MIXED ? 0 : 1) && payload_length >= 0;
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    if (argc - optind != 6 || !read_arguments(argv + optind)) {
        fprintf(stderr, "usage: sioload [--rate N] [--each] [--binary] [--tls] [--warm-up S] "
                        "PORT[,PORT...] CONNECTIONS MODE WINDOW SECONDS PAYLOAD_BYTES\n");
        return 1;
    }
    double seconds = atof(argv[optind + 4]);

    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1);
    if (encrypted) use_tls();

    payload = allocate(NULL, payload_length + 1);
    memset(payload, 'x', payload_length);
    payload[payload_length] = 0;
    body = allocate(NULL, payload_length + MAX_OVERHEAD);
    if (mode == TYPED)
        sprintf(body, "\"typed\",{\"id\":17,\"text\":\"%s\",\"tags\":[\"a\",\"b\"]}", payload);
    else
        sprintf(body, "\"echo\",\"%s\"", payload);
    connections = calloc(count, sizeof *connections);
    main_epoll = epoll_create1(0);
    echo_epoll = epoll_create1(0);
    struct epoll_event nested = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(main_epoll, EPOLL_CTL_ADD, echo_epoll, &nested)) fail("epoll_ctl");

    double connecting = connect_all();
    say("ready");

    due = now();
    if (!rate)
        for (int i = 0; echoes() && i < count; i++) send_echoes(connections + i, window, now());
    if (!rate || mode == MIXED)
        for (int i = 0; broadcasts_things() && i < window; i++) send_broadcast(now());
    if (echoes() || broadcasts_things()) run_for(warm_up);
    if (mode == LEAVE)
        leave();
    else
        say("measuring");
    acks = deliveries = pings = latency_count = completed_broadcasts = 0;
    double start = now();
    run_for(seconds);
    double elapsed = now() - start;
    long messages = mode == LEAVE ? window : echoes() || mode == MIXED ? acks : deliveries;
    stopping = true;
    say("measured");

    qsort(latencies, latency_count, sizeof *latencies, compare);
    printf("{\"mode\": \"%s\", \"connections\": %d, \"window\": %d, \"payload\": %d, \"connects_per_s\": %.0f, "
           "\"messages\": %ld, \"per_s\": %.0f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"pings\": %ld, \"broadcasts\": %ld}\n",
           MODES[mode], count, window, payload_length, count / connecting, messages, messages / elapsed,
           percentile(50), percentile(99), pings, completed_broadcasts);
    return 0;
}
