/*
 * feed.c - one watch stream: a connection on which the server tells
 * changes for as long as it lives.
 *
 * One stream for each watched prefix, not one for all: a stream's watches are
 * created by its request's body, so a shared one would have to be opened anew
 * for each watch that comes or goes, and a client that wants to see one node
 * would have to take what all others watch for.
 *
 * Streams hang silently: a server that is stopped keeps its connections, and
 * progress messages come every ten minutes. So the body creates a second watch
 * beside the first, on our session's key, which is written every third of the
 * session's timeout over another connection (session.c): the canary. A
 * stream that does not bring it within half a timeout is dropped, and the next
 * one begins where it ended; the second time in a row, at another endpoint.
 *
 * `position` is where the next stream begins. Changes are told as they come,
 * and a message may hold half a revision (fragments, and servers before 3.4.25
 * without saying so): therefore the next stream begins at the last revision
 * seen and not behind it. What is told twice changes nothing (diff.c).
 */
#include "registry/etcd/etcd_priv.h"

#include "base/log.h"

#include <stdio.h>
#include <utlist.h>

#define WATCH_ID  1
#define CANARY_ID 2

void etcd_feed_close(struct etcd_feed *f)
{
    if (!f->open)
        return;
    assert(f->e->feeds != NULL);
    f->open = false;
    (void)etcd_transfer_cancel(&f->transfer);
    DL_DELETE(f->e->feeds, f);
    buf_close(&f->body);
    etcd_stream_close(&f->split);
    assert(f->transfer == NULL);
}

void etcd_feed_hurry(struct etcd_feed *f)
{
    if (f->open && f->transfer != NULL)
        etcd_transfer_hurry(f->transfer);
}

static void end(struct etcd_feed *f, bool missed, const char *why)
{
    assert(f->open);
    assert(f->position > 0);
    etcd_feed_close(f);
    log_debug("=etcd-stream", LOG_S("ended", why),
              LOG_U("position", f->position));
    f->end(f->arg, missed, why);
}

/* --- messages ------------------------------------------------------------ */

static void canary_seen(struct etcd_feed *f, uint64_t revision)
{
    if (revision > f->canary_seen) {
        f->canary_seen = revision;
        f->behind_since = revision >= f->e->canary ? 0 : etcd_now(f->e);
        f->misses = 0;
    }
}

/* The callback may close the feed. */
static void tell_events(struct etcd_feed *f, const struct etcd_message *m)
{
    struct etcd_kv kv;
    bool gone;

    assert(f->open);
    for (const struct json *i = json_first(m->events); i != NULL && f->open;
         i = i->next) {
        if (!etcd_event_read(i, &gone, &kv)) {
            log_warn("!etcd-stream", LOG_S("reason", "an unreadable event"));
            end(f, true, "an unreadable event");
            return;
        }
        if (m->watch_id == CANARY_ID) {
            canary_seen(f, kv.modified);
            continue;
        }
        if (kv.modified > f->reached)
            f->reached = kv.modified;
        f->change(f->arg, gone, &kv);
    }
    if (f->open && !m->fragment && f->reached > f->position)
        f->position = f->reached;
}

static void tell(struct etcd_feed *f, const struct etcd_message *m)
{
    assert(f->open);
    if (m->cluster != 0 && m->cluster != f->e->cluster) {
        etcd_endpoint_failed(f->e, f->generation,
                             "it belongs to another cluster");
        end(f, false, "it belongs to another cluster");
    } else if (m->type == ETCD_MESSAGE_EVENTS) {
        etcd_note_revision(f->e, m->revision);
        tell_events(f, m);
    } else if (m->type == ETCD_MESSAGE_CANCELED ||
               m->type == ETCD_MESSAGE_ERROR) {
        if (m->verdict == ETCD_TOKEN)
            etcd_token_refused(f->e, f->token_generation);
        else if (m->type == ETCD_MESSAGE_ERROR)
            etcd_endpoint_failed(f->e, f->generation, m->why);
        end(f, m->type == ETCD_MESSAGE_CANCELED && m->verdict != ETCD_TOKEN,
            m->why);
    } /* the others' revision is not believed: before 3.4.25 it runs ahead */
}

/* False: the feed has ended. */
static bool messages(struct etcd_feed *f, bool ended)
{
    struct etcd_message message;
    const char *text;
    size_t len;

    assert(f->open);
    while (f->open && etcd_stream_next(&f->split, ended, &text, &len)) {
        const struct json *root = NULL;

        if (json_parse(text, len, &root, NULL) == 0 &&
            etcd_message_read(root, &message))
            tell(f, &message);
        else
            end(f, true, "a message that is not etcd's");
        json_free(root);
    }
    return f->open;
}

static void on_piece(void *arg, const char *data, size_t len)
{
    struct etcd_feed *f = arg;

    assert(f->open);
    if (etcd_stream_feed(&f->split, data, len))
        (void)messages(f, false);
    else
        end(f, true, "a message that is too large");
}

/* The stream has no end by itself. */
static void on_end(void *arg, const struct etcd_answer *answer)
{
    bool refused = answer->status != 0 && answer->status != 200;
    struct etcd_feed *f = arg;
    char why[ETCD_WHY_MAX];

    assert(f->open);
    assert(f->transfer != NULL);
    f->transfer = NULL;
    if (!refused && !messages(f, true))
        return; /* its last message has ended it */
    if (refused && etcd_refusal(answer->status, answer->body, answer->len,
                                why) == ETCD_TOKEN) {
        etcd_token_refused(f->e, f->token_generation);
    } else {
        if (!refused) {
            (void)snprintf(why, sizeof(why), "%s",
                           answer->status == 200 ? "the server closed it"
                                                 : answer->problem);
        }
        etcd_endpoint_failed(f->e, f->generation, why);
    }
    end(f, false, why);
}

void etcd_feed_open(struct etcd *e, struct etcd_feed *f,
                    const struct etcd_key *key, const struct etcd_key *to,
                    uint64_t position, bool canary)
{
    struct etcd_post post = {.endpoint = etcd_endpoint(e),
                             .path = "/v3/watch",
                             .token = e->token,
                             .body = &f->body,
                             .connect_ms = etcd_call_ms(e),
                             .max_reply = ETCD_MESSAGE_MAX,
                             .done = on_end,
                             .piece = on_piece,
                             .arg = f};

    assert(!f->open);
    assert(position > 0);
    assert(f->change != NULL && f->end != NULL);
    f->open = true;
    f->e = e;
    f->generation = e->generation;
    f->token_generation = e->token_generation;
    f->position = position;
    f->reached = 0;
    f->canary = canary;
    f->canary_seen = e->canary; /* it brings those that come from now on */
    f->behind_since = 0;
    etcd_stream_init(&f->split, ETCD_MESSAGE_MAX);
    buf_init(&f->body, ETCD_BODY_MAX);
    etcd_put_watch(&f->body, WATCH_ID, key, to, position);
    if (canary)
        etcd_put_watch(&f->body, CANARY_ID, &e->session.key, NULL, 0);
    f->transfer = etcd_http_post(e->http, &post);
    DL_APPEND(e->feeds, f);
    assert(f->transfer != NULL);
}

/* --- the canary ---------------------------------------------------------- */

void etcd_feeds_expect_canary(struct etcd *e, uint64_t revision)
{
    struct etcd_feed *f;

    assert(revision > 0);
    e->canary = revision;
    DL_FOREACH (e->feeds, f)
        if (f->canary && f->canary_seen < revision && f->behind_since == 0)
            f->behind_since = etcd_now(e);
}

/* Ending one may close or open others: begin anew. */
void etcd_feeds_tick(struct etcd *e)
{
    int64_t patience =
        etcd_clamp(e->base.session_timeout_ms / 2, 1000, INT64_MAX);
    struct etcd_feed *f;

    do {
        DL_FOREACH (e->feeds, f) {
            if (f->behind_since != 0 &&
                etcd_now(e) - f->behind_since > patience) {
                if (++f->misses % 2 == 0)
                    etcd_endpoint_failed(e, f->generation, "a silent stream");
                end(f, false, "it does not bring the canary");
                break;
            }
            if (f->generation != e->generation) {
                end(f, false, "its endpoint was given up");
                break;
            }
        }
    } while (f != NULL);
}
