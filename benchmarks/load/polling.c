#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEAD 512
#define TARGET "/socket.io/?EIO=4&transport=polling"

void get(struct connection *c) {
    char head[MAX_HEAD];
    int n = snprintf(head, sizeof head, "GET " TARGET "%s%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", *c->sid ? "&sid=" : "", c->sid);
    c->posting = false;
    send_all(&c->wire, head, n);
}

void post(struct connection *c, const char *packet, size_t length) {
    static char *request;
    request = allocate(request, MAX_HEAD + length);
    int n = snprintf(request, MAX_HEAD, "POST " TARGET "&sid=%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain;charset=UTF-8\r\n"
                     "Content-Length: %zu\r\n\r\n", c->sid, length);
    memcpy(request + n, packet, length);
    c->posting = true;
    send_all(&c->wire, request, n + length);
}

static int handle_body(struct connection *c, const char *body, size_t length) {
    if (c->posting) {
        get(c); /* it was answered with 200, mostly "ok" */
    } else if (c->state == UPGRADING) {
        const char *sid = memmem(body, length, "\"sid\":\"", 7);
        if (!sid) refuse("no session", (const unsigned char *)body, length);
        snprintf(c->sid, sizeof c->sid, "%.*s", (int)strcspn(sid + 7, "\""), sid + 7);
        c->state = CONNECTING;
        post(c, "40", 2);
    } else if (c->state == CONNECTING) {
        if (length < 2 || memcmp(body, "40", 2)) refuse("not connected", (const unsigned char *)body, length);
        c->state = READY;
        ready++;
    } else if (length == 1 && *body == '2') {
        post(c, "3", 1);
    } else if (length >= 2 && !memcmp(body, "43", 2)) {
        count_ack(c);
        return 1;
    } else {
        refuse("not an answer", (const unsigned char *)body, length);
    }
    return 0;
}

/* Find the body of the response in front, put together if it came in chunks; return the length of the whole, 0: not all is here. */
static size_t find_body(struct wire *wire, char **body, size_t *length) {
    char *head = (char *)wire->buffer, *end = memmem(head, wire->length, "\r\n\r\n", 4);
    if (!end) return 0;
    if (!memmem(head, end - head, " 200 ", 5)) refuse("no 200", wire->buffer, wire->length);
    *end = 0;
    char *field = strcasestr(head, "content-length:"), *chunked = strcasestr(head, "transfer-encoding: chunked");
    *end = '\r';
    size_t left = wire->length - (end + 4 - head);
    *body = end + 4;
    *length = 0;
    if (field) {
        *length = strtoul(field + 15, NULL, 10);
        return left < *length ? 0 : end + 4 - head + *length;
    }
    if (!chunked) refuse("neither Content-Length nor chunks", wire->buffer, end - head);
    char *chunk = *body, *last = memmem(chunk, left, "\r\n0\r\n\r\n", 7);
    if (!last) return 0;
    while (chunk < last) {
        size_t size = strtoul(chunk, &chunk, 16);
        memmove(*body + *length, chunk + 2, size);
        *length += size;
        chunk += size + 4;
    }
    return last + 7 - head;
}

int feed_responses(struct connection *c) {
    int completed = 0;
    char *body;
    size_t length, whole;
    while ((whole = find_body(&c->wire, &body, &length))) {
        completed += handle_body(c, body, length);
        consume(&c->wire, whole);
    }
    return completed;
}
