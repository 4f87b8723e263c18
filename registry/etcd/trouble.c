/*
 * trouble.c - what the members refuse, by name (reply.c), and whether
 * one that hangs up on every request speaks TLS: its port says nothing of it to
 * who speaks without, so it is asked once with it. What it answers is shown,
 * and decides nothing.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define ASK_EVERY_MS 10000
#define HTTP         "http://"

static void met(struct etcd *e, enum trouble what, const char *endpoint,
                const char *why)
{
    char detail[ERR_MSG_MAX];

    (void)snprintf(detail, sizeof(detail), "%s: %.*s", endpoint,
                   (int)strcspn(why, "\n"), why);
    registry_met(&e->base, what, detail);
}

static void on_answer(void *arg, const struct etcd_answer *answer)
{
    struct etcd *e = arg;
    const char *why = answer->status != 0 ? "" : answer->problem;

    e->trouble.asking = NULL;
    e->trouble.tls =
        answer->status != 0 || strstr(why, "certificate") != NULL ||
        strstr(why, "alert") != NULL || strstr(why, "verif") != NULL;
    e->trouble.next = etcd_now(e) + ASK_EVERY_MS;
}

static void ask(struct etcd *e, const char *endpoint)
{
    struct etcd_post post = {.path = "/version",
                             .body = &e->trouble.body,
                             .connect_ms = e->connect_ms,
                             .max_reply = ETCD_REPLY_MAX,
                             .done = on_answer,
                             .arg = e};

    if (e->trouble.asking != NULL || etcd_now(e) < e->trouble.next ||
        etcd_over(e))
        return;
    mem_free(e->trouble.endpoint);
    e->trouble.endpoint = mem_printf("https://%s", endpoint + strlen(HTTP));
    e->trouble.tls = false;
    post.endpoint = e->trouble.endpoint;
    buf_reset(&e->trouble.body);
    e->trouble.body.max = ETCD_BODY_MAX;
    buf_str(&e->trouble.body, "{}");
    e->trouble.asking = etcd_http_post(e->http, &post);
}

/* Does the port of this one, which just hung up on us, speak TLS? */
static bool hides_tls(struct etcd *e, const char *endpoint, const char *why)
{
    if (strstr(why, "Empty reply") == NULL ||
        strncmp(endpoint, HTTP, strlen(HTTP)) != 0)
        return false;
    ask(e, endpoint);
    return e->trouble.tls && strcmp(e->trouble.endpoint + strlen("https://"),
                                    endpoint + strlen(HTTP)) == 0;
}

void etcd_met(struct etcd *e, enum etcd_verdict verdict, const char *why,
              const char *endpoint, bool all)
{
    enum trouble what = etcd_trouble(verdict, why, e->user != NULL);
    bool of_one = verdict == ETCD_UNREACHED || verdict == ETCD_BROKEN ||
                  verdict == ETCD_NOT_HERE;

    if (of_one && e->base.session != 0 && !all)
        return;
    if (what == TROUBLE_UNREACHABLE && hides_tls(e, endpoint, why)) {
        met(e, TROUBLE_TLS_REQUIRED, endpoint,
            "the port speaks TLS; write https:// in the endpoint");
        return;
    }
    met(e, what, endpoint, why);
}

void etcd_trouble_close(struct etcd *e)
{
    etcd_transfer_cancel(&e->trouble.asking);
    MEM_FREE(e->trouble.endpoint);
    buf_close(&e->trouble.body);
}
