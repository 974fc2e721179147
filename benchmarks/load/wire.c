#include "wire.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_PER_ADDRESS 20000

void fail(const char *what) {
    perror(what);
    exit(2);
}

void refuse(const char *what, const unsigned char *data, size_t length) {
    fprintf(stderr, "%s: %.*s\n", what, (int)(length < 300 ? length : 300), (const char *)data);
    exit(2);
}

double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

void *allocate(void *old, size_t size) {
    void *memory = realloc(old, size);
    if (!memory) fail("realloc");
    return memory;
}

/* TLS: what is needed of OpenSSL is looked up when it runs, so that its headers need not be there. */

#define SSL_ERROR_WANT_READ 2
#define SSL_ERROR_WANT_WRITE 3

static struct {
    void *context;
    const void *(*method)(void);
    void *(*new_context)(const void *);
    void *(*new)(void *);
    int (*set_fd)(void *, int);
    int (*connect)(void *);
    int (*read)(void *, void *, int);
    int (*write)(void *, const void *, int);
    int (*error)(const void *, int);
    void (*free)(void *);
} tls;

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found) refuse("libssl lacks", (const unsigned char *)name, strlen(name));
    return found;
}

void use_tls(void) {
    void *library = dlopen("libssl.so.3", RTLD_NOW);
    if (!library) library = dlopen("libssl.so.1.1", RTLD_NOW);
    if (!library) refuse("there is neither libssl.so.3 nor libssl.so.1.1", NULL, 0);
    tls.method = symbol(library, "TLS_client_method");
    tls.new_context = symbol(library, "SSL_CTX_new");
    tls.new = symbol(library, "SSL_new");
    tls.set_fd = symbol(library, "SSL_set_fd");
    tls.connect = symbol(library, "SSL_connect");
    tls.read = symbol(library, "SSL_read");
    tls.write = symbol(library, "SSL_write");
    tls.error = symbol(library, "SSL_get_error");
    tls.free = symbol(library, "SSL_free");
    tls.context = tls.new_context(tls.method());
}

void open_wire(struct wire *wire, int index, int port) {
    /* One address has too few ports for tens of thousands of connections; 127.0.0.2 and on are loopback, too. */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + index / CONNECTIONS_PER_ADDRESS);
    wire->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (wire->fd < 0) fail("socket");
    setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(wire->fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    if (!tls.context) return;
    wire->tls = tls.new(tls.context);
    tls.set_fd(wire->tls, wire->fd);
    if (tls.connect(wire->tls) != 1) refuse("no handshake of TLS", NULL, 0);
    fcntl(wire->fd, F_SETFL, fcntl(wire->fd, F_GETFL) | O_NONBLOCK);
}

void close_wire(struct wire *wire) {
    if (wire->tls) tls.free(wire->tls);
    close(wire->fd);
    free(wire->buffer);
    *wire = (struct wire){.fd = -1};
}

static void send_encrypted(struct wire *wire, const void *data, size_t length) {
    for (;;) {
        int n = tls.write(wire->tls, data, (int)length);
        if (n == (int)length) return;
        int error = tls.error(wire->tls, n);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail("SSL_write");
        struct pollfd ready = {wire->fd, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, 0};
        poll(&ready, 1, 1000);
    }
}

void send_all(struct wire *wire, const void *data, size_t length) {
    if (wire->tls) {
        send_encrypted(wire, data, length);
        return;
    }
    for (const char *p = data; length;) {
        ssize_t n = send(wire->fd, p, length, MSG_NOSIGNAL);
        if (n < 0) fail("send");
        p += n;
        length -= n;
    }
}

void receive(struct wire *wire) {
    for (;;) {
        if (wire->capacity - wire->length < READ_SIZE) {
            wire->capacity = wire->length + 2 * READ_SIZE;
            wire->buffer = allocate(wire->buffer, wire->capacity);
        }
        ssize_t n;
        if (wire->tls) {
            n = tls.read(wire->tls, wire->buffer + wire->length, READ_SIZE);
            if (n <= 0 && tls.error(wire->tls, (int)n) == SSL_ERROR_WANT_READ) break;
        } else {
            n = recv(wire->fd, wire->buffer + wire->length, READ_SIZE, MSG_DONTWAIT);
            if (n < 0 && errno == EAGAIN) break;
        }
        if (n < 0) fail("recv");
        if (n == 0) refuse("the server closed a connection", NULL, 0);
        wire->length += n;
        if (!wire->tls && n < READ_SIZE) break;
    }
}

void consume(struct wire *wire, size_t length) {
    wire->length -= length;
    memmove(wire->buffer, wire->buffer + length, wire->length);
}

void give_back(struct wire *wire) {
    if (wire->length) return;
    free(wire->buffer);
    wire->buffer = NULL;
    wire->capacity = 0;
}

/* The masking key is zero, so that the payload is copied as it is. */
size_t write_frame(unsigned char *out, enum opcode opcode, const void *data, size_t length) {
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

void send_frame(struct wire *wire, enum opcode opcode, const void *data, size_t length) {
    static unsigned char *out;
    static size_t capacity;
    if (capacity < length + MAX_HEADER) {
        capacity = length + MAX_HEADER;
        out = allocate(out, capacity);
    }
    send_all(wire, out, write_frame(out, opcode, data, length));
}

size_t read_header(const unsigned char *data, size_t available, size_t *length) {
    if (available < 2) return 0;
    size_t extra = (data[1] & 127) == 126 ? 2 : (data[1] & 127) == 127 ? 8 : 0;
    if (available < 2 + extra) return 0;
    *length = extra ? 0 : data[1] & 127;
    for (size_t i = 0; i < extra; i++) *length = *length << 8 | data[2 + i];
    return 2 + extra;
}
