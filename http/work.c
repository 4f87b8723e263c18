/*
 * work.c - work items. Every answer comes from the registry through the loop:
 * an item is the single truth and no cache stands in front of it.
 */
#include "http/http_priv.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct work *work_of(struct http_request *r)
{
    return coordinator_work(r->h->coordinator);
}

/* A refusal shows the item as it stands: who owns it, at which epoch. */
static void refuse_item(struct http_request *r, const struct work_reply *reply)
{
    assert(reply->code != PROBLEM_NONE);
    assert(r->handed);
    if (reply->code == PROBLEM_WORK_NOT_FOUND && reply->id != NULL)
        http_problem(r, reply->code,
                     "no work %.128s is known (done work is forgotten after "
                     "work.keep)",
                     reply->id);
    else if (reply->code == PROBLEM_WORK_NOT_FOUND)
        http_problem(r, reply->code, NULL);
    else
        http_refuse(r, reply->code, &reply->err, reply->retry_after_ms);
    if (reply->item == NULL && reply->id == NULL)
        return;
    assert(r->out.len > 0 && r->out.data[r->out.len - 1] == '}');
    r->out.len--; /* open the object again */
    if (reply->id != NULL && reply->id[0] != '\0')
        json_put_str(&r->out, "id", reply->id);
    if (reply->item != NULL) {
        http_put_text(&r->out, "owner", reply->item->owner);
        json_put_u64(&r->out, "epoch", reply->item->epoch);
        json_put_str(&r->out, "state", work_state_name(reply->item->state));
        if (r->action->handler == http_fence_check)
            json_put_u64(&r->out, "at_least", reply->item->epoch);
    }
    json_close(&r->out, '}');
}

/* What was written, and where the item is if nothing had to be. */
static void item_wrote(struct write_index *wrote,
                       const struct work_reply *reply)
{
    const struct work_item *item = reply->item;
    char key[REGISTRY_KEY_MAX + 1];

    assert(reply->code == PROBLEM_NONE);
    assert(reply->item != NULL);
    for (const char *at = reply->wrote; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, "\n");

        snprintf(key, sizeof(key), "%.*s", (int)n, at);
        coordinator_index_add(wrote, key);
        if (reply->made != 0)
            coordinator_index_made(wrote, key, reply->made);
        at += n + 1;
    }
    coordinator_index_add(
        wrote, work_marker_key(item->kind, item->owner[0] ? item->owner : NULL,
                               item->id, key));
}

static void item_done(void *arg, const struct work_reply *reply)
{
    struct http_request *r = http_ended(arg);
    struct write_index wrote = {0};

    if (r == NULL)
        return;
    if (reply->code != PROBLEM_NONE) {
        refuse_item(r, reply);
    } else {
        assert(reply->item != NULL);
        work_item_write(http_json(r, reply->created ? 201 : 200), reply->item);
        if (reply->created)
            snprintf(r->location, sizeof(r->location), "/v1/work/%s",
                     reply->item->id);
        if (r->method != HTTP_GET)
            item_wrote(&wrote, reply);
    }
    http_answer_write(r, &wrote);
}

/* --- submit and claim ---------------------------------------------------- */

static bool read_kind(struct http_request *r, enum node_kind *kind)
{
    const char *text;

    assert(r->json != NULL);
    if (!http_member(r, "kind", &text))
        return false;
    if (text == NULL)
        return http_problem(r, PROBLEM_INVALID_JSON,
                            "kind: master or worker is expected");
    return (node_kind_parse(text, kind) == 0 && *kind != NODE_ALERT_SERVER) ||
           http_problem(r, PROBLEM_INVALID_VALUE,
                        "kind: %.64s; only a master or a worker owns work",
                        text);
}

static bool read_policy(struct http_request *r, enum work_policy *policy)
{
    const char *text;

    assert(r->json != NULL);
    *policy = WORK_REASSIGN;
    if (!http_member(r, "policy", &text))
        return false;
    return text == NULL || work_policy_parse(text, policy) == 0 ||
           http_problem(r, PROBLEM_INVALID_VALUE,
                        "policy: %.64s; there are reassign, hold and drop",
                        text);
}

static bool read_group(struct http_request *r, const char **group)
{
    assert(r->json != NULL);
    if (!http_member(r, "group", group))
        return false;
    return *group == NULL || (*group)[0] != '\0' ||
           http_problem(r, PROBLEM_INVALID_VALUE,
                        "group: it is empty; name one, or leave it out");
}

/* A payload is the client's bytes: taken as it was sent.
 * `*payload` is the caller's to free. */
static bool read_payload(struct http_request *r, char **payload)
{
    const struct json *value = json_get(r->json, "payload");

    assert(r->json != NULL);
    assert(r->body.len > 0);
    *payload = NULL;
    if (value == NULL)
        return true;
    if (value->len > (size_t)WORK_PAYLOAD_MAX)
        return http_problem(r, PROBLEM_TOO_LARGE,
                            "payload: at most 64 KiB of JSON");
    *payload = mem_strndup(value->text, value->len);
    return true;
}

/* Of a claim: which process at the address it speaks for. */
static bool read_startup(struct http_request *r, struct work_submit *what)
{
    const struct json *number = json_get(r->json, "startupTime");

    return number == NULL ||
           (json_whole(number, &what->startup_time) &&
            what->startup_time > 0) ||
           http_problem(r, PROBLEM_INVALID_JSON,
                        "startupTime: a whole number above 0 is expected");
}

/* What does not need the loop to be wrong. */
static bool read_submit(struct http_request *r, struct work_submit *what,
                        char **payload)
{
    assert(r->action->members != NULL);
    *payload = NULL;
    if (!read_kind(r, &what->kind) || !read_policy(r, &what->policy) ||
        !read_group(r, &what->group) || !http_member(r, "id", &what->id) ||
        !http_member(r, "owner", &what->owner) || !read_startup(r, what) ||
        !read_payload(r, payload))
        return false;
    what->payload = *payload;
    return true;
}

static void submit(struct http_request *r)
{
    struct work_submit what = {0};
    char *payload;

    assert(r->handed);
    assert(r->json != NULL);
    assert(r->method == HTTP_PUT || r->method == HTTP_POST);
    if (!read_submit(r, &what, &payload)) {
        http_answer(r);
        return;
    }
    if (r->method == HTTP_PUT) {
        what.id = r->param[0];
        what.age_ms = http_conn_waited_ms(r->conn);
        work_claim(work_of(r), &what, item_done, r);
    } else {
        work_submit(work_of(r), &what, item_done, r);
    }
    mem_free(payload);
}

void http_work_post(struct http_request *r)
{
    assert(r->method == HTTP_POST);
    assert(!r->handed);
    if (!http_body(r, false))
        return;
    if (json_get(r->json, "owner") != NULL)
        http_problem(r, PROBLEM_INVALID_VALUE,
                     "owner: the balancer chooses; PUT /v1/work/{id} claims");
    else if (http_members(r, "id kind group policy payload"))
        http_on_loop(r, submit);
}

void http_work_put(struct http_request *r)
{
    const char *owner, *id;

    assert(r->method == HTTP_PUT);
    assert(!r->handed);
    if (!http_member(r, "owner", &owner) || !http_member(r, "id", &id))
        return;
    if (owner == NULL)
        http_problem(r, PROBLEM_INVALID_JSON,
                     "owner: the address of the node that claims it");
    else if (id != NULL && strcmp(id, r->param[0]) != 0)
        http_problem(r, PROBLEM_INVALID_VALUE,
                     "id: differs from that of the path");
    else if (http_address(r, PROBLEM_INVALID_VALUE, owner))
        http_on_loop(r, submit);
}

/* --- one item ------------------------------------------------------------ */

void http_work_get(struct http_request *r)
{
    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_GET);
    work_get(work_of(r), r->param[0], item_done, r);
}

void http_work_done(struct http_request *r)
{
    assert(r->handed);
    assert(r->method == HTTP_DELETE);
    assert(r->epoch > 0);
    work_done(work_of(r), r->param[0], r->epoch, item_done, r);
}

void http_work_handover(struct http_request *r)
{
    assert(r->handed);
    assert(r->method == HTTP_POST);
    assert(r->epoch > 0);
    work_handover(work_of(r), r->param[0], r->epoch, item_done, r);
}

/* By whoever says at which epoch the item is his. */
void http_work_at(struct http_request *r)
{
    assert(!r->handed);
    if (http_query_epoch(r, &r->epoch))
        http_on_loop(r, r->action->on_loop);
}

static void release_item(struct http_request *r)
{
    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_POST);
    work_release(work_of(r), r->param[0], r->epoch, item_done, r);
}

void http_work_release(struct http_request *r)
{
    assert(!r->handed);
    if (http_query(r, "epoch") == NULL || http_query_epoch(r, &r->epoch))
        http_on_loop(r, release_item);
}

static void fence_checked(void *arg, const struct work_reply *reply)
{
    struct http_request *r = http_ended(arg);
    struct buf *b;

    if (r == NULL)
        return;
    if (reply->code != PROBLEM_NONE) {
        refuse_item(r, reply);
    } else {
        b = http_object(r, 200);
        json_put_str(b, "work", reply->item->id);
        json_put_u64(b, "epoch", reply->item->epoch);
        json_put_str(b, "owner", reply->item->owner);
        json_put_u64(b, "at_least", reply->item->epoch);
        json_close(b, '}');
    }
    http_answer(r);
}

static void check_fence(struct http_request *r)
{
    const char *id;

    assert(r->handed);
    assert(r->epoch > 0);
    assert(r->json != NULL);
    if (!http_member(r, "work", &id))
        http_answer(r);
    else
        work_fence_check(work_of(r), id, r->epoch, fence_checked, r);
}

void http_fence_check(struct http_request *r)
{
    const char *id;

    assert(r->method == HTTP_POST);
    assert(!r->handed);
    if (!http_member(r, "work", &id))
        return;
    if (id == NULL)
        http_problem(r, PROBLEM_INVALID_JSON, "work: the id of the work item");
    else if (http_member_epoch(r, &r->epoch))
        http_on_loop(r, check_fence);
}

/* --- lists --------------------------------------------------------------- */

static void listed(void *arg, const struct work_page *page)
{
    struct http_request *r = http_ended(arg);
    struct buf *b;

    if (r == NULL)
        return;
    if (page->code != PROBLEM_NONE) {
        http_refuse(r, page->code, &page->err, 0);
    } else {
        b = http_list(r, NULL);
        for (size_t i = 0; i < page->n; i++) {
            if (i > 0)
                buf_char(b, ',');
            work_item_write(b, &page->items[i]);
        }
        http_list_end(r, page->next);
    }
    http_answer(r);
}

static const char *state_word(int value)
{
    assert(value >= 0);
    assert(value <= (int)WORK_DROPPED);
    return work_state_name((enum work_state)value);
}

static bool read_list(struct http_request *r, struct work_list *list)
{
    int64_t limit = HTTP_LIMIT;
    struct err err;

    assert(r->handed);
    list->owner = http_query(r, "owner");
    list->after = http_query(r, "cursor");
    if (!http_query_kind(r, &list->kind) ||
        !http_query_word(r, "state", WORK_DROPPED, state_word, &list->state) ||
        !http_query_int(r, "limit", 1, HTTP_LIMIT_MAX, &limit))
        return false;
    list->limit = (size_t)limit;
    if (list->after != NULL && work_check_id(list->after, &err) != 0)
        return http_problem(r, PROBLEM_INVALID, HTTP_BAD_CURSOR);
    if (list->owner != NULL && list->kind < 0)
        return http_problem(r, PROBLEM_INVALID,
                            "owner needs kind=master or kind=worker: an "
                            "address may be both");
    if (list->owner == NULL)
        return true;
    if (!http_address(r, PROBLEM_INVALID, list->owner))
        return false;
    list->owner = node_canonical(list->owner, r->address);
    return true;
}

static void list_work(struct http_request *r)
{
    struct work_list list;

    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_GET);
    if (!read_list(r, &list)) {
        http_answer(r);
        return;
    }
    http_put_index(
        r, NULL,
        coordinator_index(r->h->coordinator, COORDINATOR_WORK,
                          list.owner ? (enum node_kind)list.kind : NODE_MASTER,
                          list.owner));
    work_list(work_of(r), &list, listed, r);
}

static void wait_for_work(struct http_request *r)
{
    struct work_list list;

    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_GET);
    if (!read_list(r, &list))
        http_answer(r);
    else
        http_wait(r, COORDINATOR_WORK,
                  list.owner != NULL ? (enum node_kind)list.kind : NODE_MASTER,
                  list.owner, list_work);
}

void http_work_list(struct http_request *r)
{
    bool waits;

    assert(r->method == HTTP_GET);
    if (http_query_waits(r, &waits))
        http_on_loop(r, wait_for_work);
}
